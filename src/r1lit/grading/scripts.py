"""Words by script, and which languages are written in which script."""

import re

# What is written the same in every language: code, formulas, commands, addresses. A formula ends at the next opening
# sign at the latest, so that many openings without an end take linear time.
_NEUTRAL = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\((?:(?!\\\().)*?\\\)|\\\[(?:(?!\\\[).)*?\\\]"
    r"|\\(?:begin|end)\{[^{}]*\}|\\[A-Za-z]+|https?://\S+|</?[A-Za-z_]+>",
    re.DOTALL,
)
# Scripts with spaces count runs of letters (an apostrophe inside belongs to the word), the others single characters.
_SCRIPTS = {
    "latin": r"[A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]",
    "cyrillic": r"[\u0400-\u052f]",
    "greek": r"[\u0370-\u03ff\u1f00-\u1fff]",
    "arabic": r"[\u0620-\u064a\u066e-\u06d3\u0750-\u077f]",
    "hebrew": r"[\u05d0-\u05ea]",
    "devanagari": r"[\u0900-\u0963\u0970-\u097f]",
    "hangul": r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]",
    "armenian": r"[\u0531-\u0556\u0561-\u0587]",
    "georgian": r"[\u10a0-\u10ff\u1c90-\u1cbf]",
    "ethiopic": r"[\u1200-\u135a]",
    "bengali": r"[\u0980-\u09e3]",
    "gurmukhi": r"[\u0a01-\u0a5e]",
    "gujarati": r"[\u0a81-\u0ae3]",
    "tamil": r"[\u0b82-\u0bd7]",
    "telugu": r"[\u0c00-\u0c63]",
    "kannada": r"[\u0c80-\u0ce3]",
    "malayalam": r"[\u0d00-\u0d63]",
    "sinhala": r"[\u0d81-\u0df3]",
}
_CHARACTERS = {
    "han": r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]",
    "kana": r"[\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff]",
    "thai": r"[\u0e01-\u0e2e]",
    "lao": r"[\u0e81-\u0eae]",
    "burmese": r"[\u1000-\u102a]",
    "khmer": r"[\u1780-\u17b3]",
}
_WORD = re.compile(
    "|".join(
        [rf"(?P<{name}>{letters}+(?:['\u2019]{letters}+)*)" for name, letters in _SCRIPTS.items()]
        + [rf"(?P<{name}>{characters})" for name, characters in _CHARACTERS.items()]
    )
)
_NAMES = re.compile(
    r"(?<![A-Za-z])(?:[A-Z]{2,5}[0-9']*"  # points, segments, triangles
    r"|(?<=\d)\s?(?:[kcmd]?m|km/h|m/s|[kmc]?g|[mk]?l|[mk]?L|mm|cm|kWh?|[kM]?Hz|k?Pa|k?N|k?J|mol|min|ms|s|h|kg/m)"
    r"|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|lg|exp|max|min|lim|gcd|lcm|mod|det"
    r"|[A-Za-z])(?![A-Za-z])"  # variables
)
"""Points, units and functions, which a text of another script writes in Latin letters, too."""
_ENGLISH_LETTERS = frozenset("aAIO")

_BY_SCRIPTS = {
    "latin": "en fr de es it pt nl sv da no nb nn fi pl cs ro hu tr vi id sw af az bs ca cy eo et eu ga gl hr is la lt "
    "lv ms mt sk sl sq tl xh zu",
    "cyrillic": "ru uk bg sr be kk ky mk mn",
    "arabic": "ar fa ur ps ug",
    "devanagari": "hi mr ne",
    "han": "zh",
    "han kana": "ja",
    "hangul": "ko",
    "greek": "el",
    "hebrew": "he",
    "thai": "th",
    "lao": "lo",
    "burmese": "my",
    "khmer": "km",
    "armenian": "hy",
    "georgian": "ka",
    "ethiopic": "am",
    "bengali": "bn as",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
    "sinhala": "si",
}
LANGUAGES: dict[str, frozenset[str]] = {
    language: frozenset(scripts.split()) for scripts, names in _BY_SCRIPTS.items() for language in names.split()
}
"""The scripts of each known language, by its ISO 639-1 code."""


def without_neutral(text: str) -> str:
    """The text without code, formulas, LaTeX commands, tags and addresses."""
    return _NEUTRAL.sub(" ", text)


def count_words(text: str) -> dict[str, int]:
    r"""Counts words by script, leaving out code, formulas, LaTeX commands, numbers and signs.

    A run of letters is one word in scripts that put spaces between words; each Han, kana or Thai character counts as
    one. A single Latin letter is a word only where English has it (a, I, O), otherwise a variable.

    Returns:
        Counts of the scripts that occur.
    """
    return count_plain(without_neutral(text))


def without_names(text: str) -> str:
    """The text without names of points, units and functions; for languages that are not written in Latin letters."""
    return _NAMES.sub(" ", text)


def count_plain(text: str) -> dict[str, int]:
    """``count_words`` of a text from which ``without_neutral`` has taken the rest."""
    counts: dict[str, int] = {}
    for match in _WORD.finditer(text):
        script, word = match.lastgroup, match.group()
        if script is None or (script in ("latin", "greek") and len(word) == 1 and word not in _ENGLISH_LETTERS):
            continue
        counts[script] = counts.get(script, 0) + 1
    return counts


def words(text: str, scripts: frozenset[str]) -> list[str]:
    """The words of some scripts, single letters left out."""
    return [match.group() for match in _WORD.finditer(text) if match.lastgroup in scripts and len(match.group()) > 1]
