"""What a user is told of an error: one line with the key and the cause, out of whatever the libraries make of it."""

import re
from collections.abc import Iterator

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from r1lit.errors import InputError, TrainingError

_UNION = "Does not validate against any of the Union subtypes"
_PLAINER = (
    (r"^Type (?:typing|collections\.abc)\.Callable\[.*?\] expects a function or a callable class: ", ""),
    (r"Option ('[^']*') is not accepted", r"there is no key \1"),
    (r"Subcommand '[^']*' does not accept option ('[^']*')", r"there is no key \1"),
    (r"^Expected a dot import path string: (.*)", r"there is no class '\1'; check the name, or write its dotted path"),
)
_GIVEN = re.compile(r"\. Got value: (.*)", re.DOTALL)
_WRONG_TYPE = re.compile(r"^Expected an? (<class .*>|typing\..*)$")
_LONGEST_VALUE = 80


def deliberate(error: BaseException | None) -> InputError | TrainingError | None:
    """The error of ours that another one was raised from: jsonargparse wraps what a class raises in its own."""
    while error is not None and not isinstance(error, InputError | TrainingError):
        error = error.__cause__
    return error


def user_message(error: BaseException) -> str | None:
    """The one line for an error that is the user's to mend; None for any other, which deserves its traceback."""
    ours = deliberate(error)
    if ours is not None:
        return one_line(str(ours))
    if isinstance(error, ArgumentError) or str(error).startswith(_UNION):
        return one_line(parser_message(str(error)))
    return one_line(str(error)) if isinstance(error, MisconfigurationException) else None


def one_line(text: str, most: int = 600) -> str:
    """A text without line breaks, cut where it is endless."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]} [...]"


def parser_message(text: str) -> str:
    """What is wrong, and at which key, out of the outline that jsonargparse makes of a nested failure.

    Args:
        text: Its message; where values of several types are allowed, it has a branch for each that was tried.

    Returns:
        The innermost cause, after its keys joined by points and the class they belong to.
    """
    statements = list(_statements(text))
    if _UNION not in text and not any(labels for labels, _ in statements):
        return _plain(text)
    depth = max((len(labels) for labels, _ in statements), default=0)
    innermost = [(labels, *_split(cause)) for labels, cause in statements if len(labels) == depth]
    if not innermost:
        return text
    others = [found for found in innermost if not _WRONG_TYPE.match(found[1])]
    if others:
        labels, cause, value = others[0]
        message = _plain(cause)
    else:
        labels, _, value = innermost[0]
        types = dict.fromkeys(_type_name(cause) for _, cause, _ in innermost)
        message = f"expected {' or '.join(name for name in types if name != 'NoneType' or len(types) == 1)}"
        whole = re.search(r"^ *Given value: (.*)$", text, re.MULTILINE)
        value = whole[1] if whole and len(innermost) > 1 else value
    if match := re.fullmatch(r"Group '([^']*)' does not accept option ('[^']*')", message):
        labels, message = (*labels, match[1]), f"there is no key {match[2]}"
    if value and len(value) <= _LONGEST_VALUE and not value.startswith("Namespace("):
        message += f", got {value}"
    keys = ".".join(label for label in labels if not label.startswith("("))
    owner = next((f" {label}" for label in reversed(labels) if label.startswith("(")), "")
    return f"{keys}{owner}: {message}" if keys else message


def _statements(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields each statement of an outline with the labels above it: keys, and classes in brackets."""
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        content = line.strip().removeprefix("- ")
        indent = len(line) - len(content)
        above = [(place, label) for place, label in above if place < indent]
        if match := re.fullmatch(r'Parser key "([^"]*)":\s*(.*)', content):
            above.append((indent, match[1]))
            content = match[2]
        elif match := re.fullmatch(r"Problem with given class_path '([^']*)':", content):
            above.append((indent, f"({match[1].rpartition('.')[2]})"))
            continue
        if content and not content.startswith((_UNION, "Subtypes: ", "Errors:", "Given value")):
            yield tuple(label for _, label in above), content


def _split(cause: str) -> tuple[str, str]:
    """Takes the value off the end of a statement."""
    match = _GIVEN.search(cause)
    return (cause[: match.start()], match[1]) if match else (cause, "")


def _type_name(cause: str) -> str:
    """The type that was expected: ``int``, ``one of 'a', 'b'``."""
    match = _WRONG_TYPE.match(cause)
    assert match is not None
    choices = re.fullmatch(r"typing\.Literal\[(.*)\]", match[1])
    return f"one of {choices[1]}" if choices else match[1].removeprefix("<class '").removesuffix("'>")


def _plain(cause: str) -> str:
    for pattern, replacement in _PLAINER:
        cause = re.sub(pattern, replacement, cause)
    return cause
