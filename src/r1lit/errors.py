"""The two errors that r1lit raises on purpose: bad input, and a run that must not go on."""


class InputError(ValueError):
    """Bad input from the user: a file, a row, a key or a value.

    The message is one line that names the culprit and says what to do; the command line prints it without a
    traceback and exits with status 2.
    """


class TrainingError(RuntimeError):
    """A run that must stop: a loss that is not finite, a reward that failed.

    The message is one line; what was saved before it stays valid.
    """
