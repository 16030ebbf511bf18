"""Multiple choice: which option does a reply name? The paper's GPQA and MMLU end with a line ``ANSWER: X``."""

import re
from collections.abc import Sequence

from r1lit.grading.normalize import unwrap
from r1lit.grading.options import LETTERS, read_option, stated_letter
from r1lit.grading.parsing import summary
from r1lit.types import Completion


def choice_answer(completion: Completion) -> str | None:
    """The letter of the option that a reply names in the end.

    Read in this order: the extracted answer (``<answer>`` tags or a box), being a letter or the text of an option; the
    last ``ANSWER: X`` after the reasoning; the last line, being the text of an option or its letter alone.

    Args:
        completion: The completion; the option's texts stand in its prompt's ``meta["options"]``, if anywhere.

    Returns:
        A capital letter, or None where no option is named.
    """
    options = [str(option) for option in completion.prompt.meta.get("options") or ()]
    if completion.answer is not None:
        return _named(completion.answer, options)
    text = summary(completion.text)
    if (stated := stated_letter(text[-2000:], len(options))) is not None:
        return stated
    lines = text.splitlines()
    return _named(lines[-1].strip(" *_"), options) if lines else None


def _named(text: str, options: Sequence[str]) -> str | None:
    letter = read_option(text) or stated_letter(text, len(options))
    if letter is not None:
        return letter
    plain = _plain(text)
    same = [i for i, option in enumerate(options) if _plain(option) == plain]
    if len(same) == 1:
        return LETTERS[same[0]]
    # "B) the text of B", or "B. 5": the letter decides, and the text must not be another option's.
    match = re.match(r"[(\[]?([A-J])[)\].:]\s*(.+)", text.strip(), re.DOTALL)
    if match is None:
        return None
    others = [option for i, option in enumerate(options) if LETTERS[i] != match[1]]
    return None if _plain(match[2]) in map(_plain, others) else match[1]


def _plain(text: str) -> str:
    return " ".join(unwrap(text).rstrip(".").split()).casefold()
