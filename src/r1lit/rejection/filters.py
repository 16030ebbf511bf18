"""What makes a sampled completion unfit to be trained on: one small class for each rule, each with its name.

The paper drops reasoning with mixed languages, long paragraphs and code blocks (B.3.3), and for the cold start keeps
what is correct and readable, by rules against repetition and mixing (B.3.2). It gives no thresholds; those here are
ours.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from r1lit.errors import InputError
from r1lit.grading.format import Style, follows_format
from r1lit.grading.language import language_consistency
from r1lit.grading.scripts import count_words
from r1lit.rejection.ngrams import ngrams, words
from r1lit.types import ScoredCompletion


class Filter(ABC):
    """A named rule; ``name`` heads its count in the manifest."""

    name: str

    @abstractmethod
    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Whether a candidate passes."""


class Correct(Filter):
    """Keeps what a reward scores high enough: correct answers.

    Args:
        reward: The reward's name.
        at_least: The least score.
        unchecked: Whether completions pass which the reward does not apply to, such as those of a chat.
        name: The filter's name; a second one needs another.
    """

    def __init__(
        self, reward: str = "accuracy", at_least: float = 1.0, unchecked: bool = False, name: str = "incorrect"
    ) -> None:
        self.reward, self.at_least, self.unchecked, self.name = reward, at_least, unchecked, name

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Looks at the reward's score.

        Raises:
            InputError: If no reward has that name.
        """
        if self.reward not in candidate.scores:
            raise InputError(
                f"filter {self.name!r}: there is no reward {self.reward!r}, only {', '.join(candidate.scores)}"
            )
        score = candidate.scores[self.reward]
        return self.unchecked if score is None else score >= self.at_least


class Finished(Filter):
    """Drops completions that were cut off by the length limit."""

    name = "truncated"

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Looks at the finish reason."""
        return candidate.completion.finish_reason == "stop"


class WellFormed(Filter):
    """Drops what is not in the format, or does not reason at all.

    Args:
        style: See ``FormatReward``.
        allow_empty_reasoning: Whether a blank think part passes.
    """

    name = "format"

    def __init__(self, style: Style = "think_answer", allow_empty_reasoning: bool = False) -> None:
        self.style: Style = style
        self.allow_empty_reasoning = allow_empty_reasoning

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Looks at the whole text."""
        return follows_format(candidate.completion.text, self.style, self.allow_empty_reasoning)


class Reasons(Filter):
    """Drops completions that hardly reason, such as with a bare "Easy" between the tags.

    Args:
        at_least: The least number of words, numbers and signs.
    """

    name = "no_reasoning"

    def __init__(self, at_least: int = 8) -> None:
        self.at_least = _positive("no_reasoning", "at_least", at_least)

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Counts the words of the reasoning."""
        return len(words(candidate.reasoning)) >= self.at_least


class OneLanguage(Filter):
    """Drops reasoning that mixes languages, or is in another one than the prompt's.

    Languages are told apart by script, as by the language-consistency reward. Names and terms of another language are
    common in good texts, hence not all words are asked for.

    Args:
        at_least: The least share of words in the prompt's language.
        wordless: Whether reasoning without any words passes, such as a chain of equations.
    """

    name = "mixed_language"

    def __init__(self, at_least: float = 0.9, wordless: bool = False) -> None:
        if not 0 < at_least <= 1:
            raise InputError(f"filter 'mixed_language': at_least is {at_least}; give a share above 0, up to 1")
        self.at_least, self.wordless = at_least, wordless

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Looks at the reasoning.

        Raises:
            InputError: If the prompt's language is not known; names the prompt.
        """
        if not count_words(candidate.reasoning):
            return self.wordless
        prompt = candidate.completion.prompt
        try:
            return language_consistency(candidate.reasoning, prompt.language) >= self.at_least
        except InputError as error:
            raise InputError(f"prompt {prompt.id!r}: {error}") from error


class ShortParagraphs(Filter):
    """Drops reasoning with an over-long paragraph.

    Args:
        max_characters: The most characters between two line breaks.
    """

    name = "long_paragraph"

    def __init__(self, max_characters: int = 2000) -> None:
        self.max_characters = _positive("long_paragraph", "max_characters", max_characters)

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Looks at each paragraph of the reasoning."""
        return all(len(paragraph) <= self.max_characters for paragraph in candidate.reasoning.splitlines())


_FENCE = re.compile(r"^\s*(?:```|~~~)", re.MULTILINE)


class NoCode(Filter):
    """Drops reasoning that contains a fenced code block; code in the answer is fine."""

    name = "code_block"

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Looks for a fence in the reasoning."""
        return _FENCE.search(candidate.reasoning) is None


class WithoutPhrases(Filter):
    """Drops reasoning that contains one of some phrases, such as "I give up" before a lucky guess.

    Args:
        phrases: Looked for in any case of letters.
        name: The filter's name; a second one needs another.

    Raises:
        InputError: If there is no phrase, or an empty one.
    """

    def __init__(self, phrases: list[str], name: str = "phrase") -> None:
        if not phrases or not all(phrases):
            raise InputError(f"filter {name!r}: phrases is {phrases}; give at least one, and none empty")
        self.phrases, self.name = [phrase.lower() for phrase in phrases], name

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Looks at the reasoning."""
        reasoning = candidate.reasoning.lower()
        return not any(phrase in reasoning for phrase in self.phrases)


class NoRepetition(Filter):
    """Drops texts that run in circles.

    Two signs count: much of the text has stood there before (the share of n-grams that are repeats), or a piece of up
    to ``LONGEST_LOOP`` words is said many times in direct succession.

    Args:
        n: Words in an n-gram.
        max_share: The largest share of n-grams that occurred earlier in the text.
        max_loops: How often a piece may follow on itself.
    """

    name = "repetition"
    LONGEST_LOOP = 64
    SHORTEST = 12
    """Words a loop must cover in all: ``no no no`` is emphasis."""

    def __init__(self, n: int = 8, max_share: float = 0.4, max_loops: int = 3) -> None:
        if not 0 <= max_share <= 1:
            raise InputError(f"filter 'repetition': max_share is {max_share}; give 0 to 1")
        self.n = _positive("repetition", "n", n)
        self.max_share = max_share
        self.max_loops = _positive("repetition", "max_loops", max_loops)

    def keeps(self, candidate: ScoredCompletion) -> bool:
        """Looks at the whole text."""
        found = words(candidate.completion.text)
        return repeated_share(found, self.n) <= self.max_share and not self._loops(found)

    def _loops(self, found: Sequence[str]) -> bool:
        numbers: dict[str, int] = {}
        ids = np.array([numbers.setdefault(word, len(numbers)) for word in found])
        for period in range(1, min(self.LONGEST_LOOP, len(ids) // (self.max_loops + 1)) + 1):
            same = longest_run(ids[period:] == ids[:-period])
            if same >= self.max_loops * period and same + period >= self.SHORTEST:
                return True
        return False


def repeated_share(sequence: Sequence[str], n: int) -> float:
    """Share of a sequence's n-grams that occurred earlier in it, in [0, 1)."""
    runs = list(ngrams(sequence, n))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def longest_run(marks: np.ndarray) -> int:
    """Length of the longest run of true values in a vector."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _positive(name: str, argument: str, value: int) -> int:
    if value < 1:
        raise InputError(f"filter {name!r}: {argument} is {value}; give at least 1")
    return value


def paper_filters() -> list[Filter]:
    """The rules of the paper's second SFT data (B.3.3), the cheapest first."""
    return [Finished(), Correct(), WellFormed(), NoCode(), ShortParagraphs(), OneLanguage(), NoRepetition()]
