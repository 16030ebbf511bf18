"""Language consistency of the reasoning (paper section 2.3.2, eq. 7)."""

import re
from collections.abc import Sequence

from r1lit.errors import InputError
from r1lit.rewards.base import Reward
from r1lit.rewards.identify import is_foreign, sentences
from r1lit.rewards.scripts import LANGUAGES, count_plain, count_words, without_neutral
from r1lit.types import Completion, Kind, Task

__all__ = ["LanguageConsistencyReward", "count_words", "language_consistency"]


def language_consistency(text: str, language: str, identify: bool = False) -> float:
    """Num(words in the target language) / Num(words), paper eq. 7.

    Args:
        text: The reasoning.
        language: Target language, ISO 639-1, with or without a region (``zh-CN``).
        identify: Tell languages of one script apart too, sentence by sentence: Chinese from Japanese by its kana,
            others by py3langid. Without, languages are told apart by script alone, which is quicker by far.

    Returns:
        A share in [0, 1]; 0 for a text without words, so that silence is not the way to be consistent.

    Raises:
        InputError: If the language is not known, or py3langid is needed and not installed.
    """
    language = re.split("[-_]", language.lower())[0]
    scripts = LANGUAGES.get(language)
    if scripts is None:
        raise InputError(f"language {language!r} is not known; choose from {', '.join(sorted(LANGUAGES))}")
    counts = count_words(text)
    total = sum(counts.values())
    consistent = sum(counts.get(script, 0) for script in scripts)
    if identify and consistent:
        for sentence in sentences(without_neutral(text)):
            if is_foreign(sentence, language):
                found = count_plain(sentence)
                consistent -= sum(found.get(script, 0) for script in scripts)
    return consistent / total if total else 0.0


class LanguageConsistencyReward(Reward):
    """Share of the reasoning's words that are in the prompt's language (paper eq. 7), 0 where there is no reasoning.

    The paper adds it to the final reward for reasoning and other data alike (section 2.3.2). It does not say how words
    are told apart. Here numbers, formulas, code, commands, addresses and variables belong to no language; what remains
    is told apart by script and, within a script, sentence by sentence.

    Args:
        identify: See ``language_consistency``. Off where the prompts' languages all have scripts of their own: it costs
            some 10 ms for each thousand words.
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
    """

    def __init__(
        self,
        identify: bool = True,
        name: str = "language_consistency",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight, kinds, tasks, from_step)
        self.identify = identify
        self.concurrency = int(identify)  # by script it is too cheap for a thread of its own

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """Scores the ``reasoning`` of each completion.

        Raises:
            InputError: If a prompt's language is not known; names the prompt.
        """
        return [self._one(completion) for completion in completions]

    def _one(self, completion: Completion) -> float:
        try:
            return language_consistency(completion.reasoning or "", completion.prompt.language, self.identify)
        except InputError as error:
            raise InputError(f"prompt {completion.prompt.id!r}: {error}") from error
