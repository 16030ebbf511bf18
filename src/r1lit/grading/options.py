"""Letters of options: a text that is one, and a reply that states one."""

import re

from r1lit.grading.normalize import MAX_LENGTH, unwrap

_OPTION = re.compile(r"(?:(?:the )?(?:answer|option|choice)(?: is)?\s*:?\s*)?[(\[]?([A-Za-z])[)\].:]?", re.IGNORECASE)
_TEXT_COMMAND = re.compile(r"\\(?:text(?:bf|rm|it)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
LETTERS = "ABCDEFGHIJ"
_LETTER = r"(?:(?-i:([A-J]))(?![A-Za-z0-9'\u2019])|[(\[{]([A-Ja-j])[)\]}])"
_STATED = re.compile(
    r"(?:\b(?:final\s+)?(?:answer|choice|option)\s*(?:is\s*:?|:|=)|答案\s*(?:是|为|选|：|:)+|答え\s*(?:は|：|:)+)"
    r"[\s*_$`]*(?:(?:option|choice|letter)\s+)?(?:\\boxed\s*\{|\\text\s*\{)*[\s*_]*" + _LETTER,
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"\b(?:so|is|are|be|choose|pick|select|option|choice|hence|thus|therefore)[\s,:*_]+" + _LETTER + r"[\s.)*_}$]*$",
    re.IGNORECASE,
)
_ANOTHER = re.compile(
    r"[\s*_)\]}$]*(?:,|/|&|\bor\b|\band\b|或|和)[\s*_(\[{]*(?:or\s+|and\s+)?(?-i:[A-J])(?![A-Za-z0-9'])", re.IGNORECASE
)
_GOES_ON = re.compile(r"\s+(?!(?:because|since|as|which|is|due|for|with|and|here|being)\b)[a-z]")
"""After A or I: it was an article or a pronoun."""


def stated_letter(text: str, options: int = 0) -> str | None:
    """The letter that a reply states last, such as ``ANSWER: B``; None where none, or several at once, are stated.

    Args:
        text: The reply.
        options: How many options there are; 0 if that is not known.
    """
    allowed = LETTERS[:options] if options else LETTERS
    found: str | None = None
    for match in _STATED.finditer(text):
        letter = (match[1] or match[2]).upper()
        rest = text[match.end() :]
        if letter not in allowed or (match[1] in ("A", "I") and _GOES_ON.match(rest)):
            continue
        found = None if _ANOTHER.match(rest) else letter
        if found is None:
            return None
    closing = _CLOSING.search(text.rstrip().rpartition("\n")[2]) if found is None else None
    if closing is not None and (letter := (closing[1] or closing[2]).upper()) in allowed:
        return letter
    return found


def read_option(text: str) -> str | None:
    """The letter of the option that a text names and nothing else, in capitals; None for any other text."""
    if len(text) > MAX_LENGTH:
        return None
    text = unwrap(_TEXT_COMMAND.sub(r"\1", text))
    match = _OPTION.fullmatch(text)
    return match.group(1).upper() if match else None
