"""What is measured of completions: the figures that every stage reports, and the signs of self-evolution.

pass@1 and cons@k are the paper's (D.1); the reflection words are its list (C.2) with Chinese equivalents.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence

import torch.distributed as dist

from r1lit.functional.estimators import Interval, bootstrap_interval, cons_at_k
from r1lit.rewards import Reward
from r1lit.rewards.accuracy import AccuracyReward
from r1lit.rewards.format import FormatReward
from r1lit.rewards.language import count_words, language_consistency
from r1lit.types import Completion

REFLECTION_WORDS = (
    "wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check",
)  # fmt: skip
REFLECTION_WORDS_ZH = (
    "等等", "等一下", "错误", "错了", "不对", "然而", "但是", "但", "重试", "再试", "验证", "检查", "评估",
)  # fmt: skip
STEPWISE_PIECES = 8
"""A reasoning of this many words, numbers and signs with an equals sign among them counts as stepwise,"""
STEPWISE_WORDS = 20
"""and so does one of this many words."""

_PIECES = re.compile(r"\w+|[^\w\s]")
_REFLECTION = re.compile(rf"\b(?:{'|'.join(REFLECTION_WORDS)})\b", re.IGNORECASE)
_REFLECTION_ZH = re.compile("|".join(sorted(REFLECTION_WORDS_ZH, key=len, reverse=True)))


def reflection_count(text: str) -> int:
    """Reflection words in a text, English and Chinese."""
    return len(_REFLECTION.findall(text)) + len(_REFLECTION_ZH.findall(text))


def word_count(text: str) -> int:
    """Words in a text: a run of letters counts one, as does each Han character."""
    return sum(count_words(text).values())


def reasoning_of(completion: Completion) -> str:
    """What a completion says before its answer; without think tags, all that stands before an answer tag."""
    return completion.text.partition("<answer>")[0] if completion.reasoning is None else completion.reasoning


def is_stepwise(completion: Completion) -> bool:
    """Whether a completion reasons at all before it answers: an equation within some pieces, or many words."""
    reasoning = reasoning_of(completion)
    return ("=" in reasoning and len(_PIECES.findall(reasoning)) >= STEPWISE_PIECES) or (
        word_count(reasoning) >= STEPWISE_WORDS
    )


def consistency(completion: Completion) -> float | None:
    """Language consistency of a completion that reasons at all (paper eq. 7); None for one that does not.

    Words are due where there is reasoning: there, signs and numbers alone score 0. A direct answer is in no language;
    counting it as 0 would make longer answers look like a more consistent language.
    """
    if not is_stepwise(completion):
        return None
    return language_consistency(reasoning_of(completion), completion.prompt.language)


def by_prompt(completions: Iterable[Completion]) -> dict[str, list[Completion]]:
    """Groups completions by prompt id, samples in order."""
    groups: dict[str, list[Completion]] = {}
    for completion in sorted(completions, key=lambda c: (c.prompt.id, c.sample)):
        groups.setdefault(completion.prompt.id, []).append(completion)
    return groups


def _interval(means: Sequence[float]) -> Interval:
    """A mean over prompts with its interval; of no prompt, n is 0 and the figures are NaN, which JSON has as null."""
    return bootstrap_interval(means) if means else Interval(value=math.nan, low=math.nan, high=math.nan, n=0)


def _per_prompt(groups: Sequence[Sequence[Completion]], value: Callable[[Completion], float | None]) -> Interval:
    """Mean over prompts of the means over their completions that have a value."""
    columns = [[v for c in group if (v := value(c)) is not None] for group in groups]
    return _interval([sum(values) / len(values) for values in columns if values])


def measure(
    completions: Sequence[Completion], accuracy: AccuracyReward, style: FormatReward | None = None
) -> dict[str, Interval]:
    """The figures of a set of completions, each with a 95 % bootstrap interval over prompts.

    Args:
        completions: n of each prompt.
        accuracy: Judges correctness. What it cannot judge in time is left out.
        style: Judges the format; R1-Zero's if None.

    Returns:
        ``pass@1``, ``cons@n``, ``format``, ``truncated``, ``mean_length`` (tokens), ``stepwise`` (share of completions
        that reason at all), and of those ``mean_length_stepwise`` and ``language_consistency``;
        ``reflection_per_1k_words``. What no prompt has a value for has n = 0 and NaN.

    Raises:
        InputError: If a reasoning prompt has no reference answer.
    """
    groups = list(by_prompt(completions).values())
    marks = _marks(completions, accuracy)
    style = style or FormatReward()
    n = max((len(group) for group in groups), default=0)
    return {
        "pass@1": _per_prompt(groups, lambda c: marks.get((c.prompt.id, c.sample))),
        f"cons@{n}": _consensus(groups, marks),
        "format": _per_prompt(groups, lambda c: style.score([c])[0]),
        "truncated": _per_prompt(groups, lambda c: float(c.finish_reason == "length")),
        "mean_length": _per_prompt(groups, lambda c: float(len(c.token_ids))),
        "mean_length_stepwise": _per_prompt(groups, lambda c: float(len(c.token_ids)) if is_stepwise(c) else None),
        "stepwise": _per_prompt(groups, lambda c: float(is_stepwise(c))),
        "language_consistency": _per_prompt(groups, consistency),
        "reflection_per_1k_words": _reflection(groups),
    }


Marks = dict[tuple[str, int], float]
"""Correctness by prompt id and sample, of the completions that could be judged."""


def _marks(completions: Sequence[Completion], accuracy: AccuracyReward) -> Marks:
    judged = [c for c in completions if accuracy.applies_to(c.prompt, accuracy.from_step) and _checkable(c)]
    scores = zip(judged, accuracy.score(judged), strict=True)
    return {(c.prompt.id, c.sample): float(score) for c, score in scores if isinstance(score, int | float)}


def _checkable(completion: Completion) -> bool:
    return completion.prompt.kind == "reasoning" or completion.prompt.answer is not None


def _consensus(groups: Sequence[Sequence[Completion]], marks: Marks) -> Interval:
    """Correctness of the majority vote; answers are one vote where they differ in white space alone."""
    votes = []
    for group in groups:
        judged = [(c.answer, marks[c.prompt.id, c.sample]) for c in group if (c.prompt.id, c.sample) in marks]
        if judged:
            answers = [None if answer is None else "".join(answer.split()) for answer, _ in judged]
            votes.append(cons_at_k(answers, [mark for _, mark in judged]))
    return _interval(votes)


def _reflection(groups: Sequence[Sequence[Completion]]) -> Interval:
    """Reflection words per 1,000 words; a prompt's figure is that of all its completions together."""
    rates = []
    for group in groups:
        words = sum(word_count(c.text) for c in group)
        if words:
            rates.append(1000.0 * sum(reflection_count(c.text) for c in group) / words)
    return _interval(rates)


class Measures:
    """Collects completions under two headings and measures them: ``eval`` and, at temperature 1, ``t1``.

    Args:
        rewards: Where the judges of correctness and format are taken from: the first ``AccuracyReward`` and
            ``FormatReward``, or new ones.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        self.accuracy = next((r for r in rewards if isinstance(r, AccuracyReward)), None) or AccuracyReward()
        self.style = next((r for r in rewards if isinstance(r, FormatReward)), None) or FormatReward()
        self.completions: dict[str, list[Completion]] = {}

    def add(self, heading: str, completions: Sequence[Completion]) -> None:
        """Takes this rank's completions."""
        self.completions.setdefault(heading, []).extend(completions)

    def compute(self) -> dict[str, Interval]:
        """Measures what all ranks took; of the second heading only pass@1 is kept, as ``pass@1_t1``."""
        results = {name: self._gathered(name) for name in sorted(self.completions)}
        found = measure(results["eval"], self.accuracy, self.style) if results.get("eval") else {}
        if results.get("t1"):
            groups = list(by_prompt(results["t1"]).values())
            marks = _marks(results["t1"], self.accuracy)
            at_one = _per_prompt(groups, lambda c: marks.get((c.prompt.id, c.sample)))
            found = {"pass@1": found.pop("pass@1"), "pass@1_t1": at_one, **found} if found else {"pass@1_t1": at_one}
        return found

    def reset(self) -> None:
        """Forgets all completions."""
        self.completions.clear()

    def _gathered(self, heading: str) -> list[Completion]:
        mine = self.completions[heading]
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return mine
        everyone: list[list[Completion]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(everyone, mine)
        return [completion for part in everyone for completion in part]
