"""Language consistency of the reasoning (paper section 2.3.2, eq. 7)."""

import re
from collections.abc import Sequence

from r1lit.errors import InputError
from r1lit.rewards.base import Reward
from r1lit.types import Completion, Kind, Task

# What is written the same in every language: code, formulas, commands, addresses.
_NEUTRAL = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\(.*?\\\)|\\\[.*?\\\]"
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
}
_CHARACTERS = {
    "han": r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]",
    "kana": r"[\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff]",
    "thai": r"[\u0e01-\u0e2e]",
}
_WORD = re.compile(
    "|".join(
        [rf"(?P<{name}>{letters}+(?:['\u2019]{letters}+)*)" for name, letters in _SCRIPTS.items()]
        + [rf"(?P<{name}>{characters})" for name, characters in _CHARACTERS.items()]
    )
)
_ENGLISH_LETTERS = frozenset("aAIO")

_LATIN = (
    "en", "fr", "de", "es", "it", "pt", "nl", "sv", "da", "no", "nb", "fi", "pl", "cs", "ro", "hu", "tr", "vi",
    "id", "sw",
)  # fmt: skip
_LANGUAGES: dict[str, frozenset[str]] = {
    "zh": frozenset({"han"}),
    "ja": frozenset({"han", "kana"}),
    "ko": frozenset({"hangul"}),
    "el": frozenset({"greek"}),
    "he": frozenset({"hebrew"}),
    "hi": frozenset({"devanagari"}),
    "th": frozenset({"thai"}),
    **dict.fromkeys(("ru", "uk", "bg", "sr"), frozenset({"cyrillic"})),
    **dict.fromkeys(("ar", "fa", "ur"), frozenset({"arabic"})),
    **dict.fromkeys(_LATIN, frozenset({"latin"})),
}


def count_words(text: str) -> dict[str, int]:
    r"""Counts words by script, leaving out code, formulas, LaTeX commands, numbers and signs.

    A run of letters is one word in scripts that put spaces between words; each Han, kana or Thai character counts as
    one. A single Latin letter is a word only where English has it (a, I, O), otherwise a variable.

    Returns:
        Counts of the scripts that occur.
    """
    counts: dict[str, int] = {}
    for match in _WORD.finditer(_NEUTRAL.sub(" ", text)):
        script, word = match.lastgroup, match.group()
        if script is None or (script in ("latin", "greek") and len(word) == 1 and word not in _ENGLISH_LETTERS):
            continue
        counts[script] = counts.get(script, 0) + 1
    return counts


def language_consistency(text: str, language: str) -> float:
    """Num(words in the target language) / Num(words), paper eq. 7, with languages told apart by script only.

    Args:
        text: The reasoning.
        language: Target language, ISO 639-1, with or without a region (``zh-CN``).

    Returns:
        A share in [0, 1]; 0 for a text without words, so that silence is not the way to be consistent.

    Raises:
        InputError: If the language is not known.
    """
    scripts = _LANGUAGES.get(re.split("[-_]", language.lower())[0])
    if scripts is None:
        raise InputError(f"language {language!r} is not known; choose from {', '.join(sorted(_LANGUAGES))}")
    counts = count_words(text)
    total = sum(counts.values())
    return sum(counts.get(script, 0) for script in scripts) / total if total else 0.0


class LanguageConsistencyReward(Reward):
    """Share of the reasoning's words that are in the prompt's language (paper eq. 7), 0 where there is no reasoning.

    The paper adds it to the final reward for reasoning and other data alike (section 2.3.2).

    Args:
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
    """

    def __init__(
        self,
        name: str = "language_consistency",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight, kinds, tasks, from_step)

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """Scores the ``reasoning`` of each completion.

        Raises:
            InputError: If a prompt's language is not known; names the prompt.
        """
        return [_score(completion) for completion in completions]


def _score(completion: Completion) -> float:
    try:
        return language_consistency(completion.reasoning or "", completion.prompt.language)
    except InputError as error:
        raise InputError(f"prompt {completion.prompt.id!r}: {error}") from error
