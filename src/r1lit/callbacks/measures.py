"""What is measured of completions: the figures that every stage reports, and the signs of self-evolution.

pass@1 and cons@k are the paper's (D.1); the reflection words are its list (C.2) with Chinese equivalents.
"""

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
REFLECTION_WORDS_ZH = ("等等", "等一下", "错误", "错了", "不对", "然而", "但是", "但", "重试", "再试", "验证", "检查", "评估")
STEPWISE_TOKENS = 8
"""A reasoning of this many words, numbers and signs or more counts as stepwise."""

_PIECES = re.compile(r"\w+|[^\w\s]")
_REFLECTION = re.compile(rf"\b(?:{'|'.join(REFLECTION_WORDS)})\b", re.IGNORECASE)
_REFLECTION_ZH = re.compile("|".join(sorted(REFLECTION_WORDS_ZH, key=len, reverse=True)))


def reflection_count(text: str) -> int:
    """Reflection words in a text, English and Chinese."""
    return len(_REFLECTION.findall(text)) + len(_REFLECTION_ZH.findall(text))


def word_count(text: str) -> int:
    """Words in a text: a run of letters counts one, as does each Han character."""
    return sum(count_words(text).values())


def is_stepwise(completion: Completion) -> bool:
    """Whether a completion reasons at all before it answers."""
    reasoning = completion.reasoning if completion.reasoning is not None else completion.text
    return len(_PIECES.findall(reasoning)) >= STEPWISE_TOKENS and "=" in reasoning or word_count(reasoning) >= 20


def by_prompt(completions: Iterable[Completion]) -> dict[str, list[Completion]]:
    """Groups completions by prompt id, samples in order."""
    groups: dict[str, list[Completion]] = {}
    for completion in sorted(completions, key=lambda c: (c.prompt.id, c.sample)):
        groups.setdefault(completion.prompt.id, []).append(completion)
    return groups


def _interval(groups: Sequence[Sequence[Completion]], value: Callable[[Completion], float | None]) -> Interval | None:
    """Mean over prompts of the means over their completions that have a value; None where none has."""
    means = []
    for group in groups:
        values = [v for c in group if (v := value(c)) is not None]
        if values:
            means.append(sum(values) / len(values))
    return bootstrap_interval(means) if means else None


def _consistency(completion: Completion) -> float | None:
    reasoning = completion.reasoning if completion.reasoning is not None else completion.text
    return language_consistency(reasoning, completion.prompt.language)


def measure(completions: Sequence[Completion], accuracy: AccuracyReward) -> dict[str, Interval]:
    """The figures of a set of completions, each with a 95 % bootstrap interval over prompts.

    Args:
        completions: n of each prompt.
        accuracy: Judges correctness.

    Returns:
        ``pass@1``, ``cons@n``, ``format``, ``truncated``, ``mean_length`` (tokens), ``mean_length_stepwise``,
        ``stepwise``, ``language_consistency`` and ``reflection_per_1k_words``; those without a value are left out.
    """
    checkable = [c for c in completions if accuracy.applies_to(c.prompt, accuracy.from_step) and c.prompt.answer]
    marks = dict(zip(((c.prompt.id, c.sample) for c in checkable), accuracy.score(checkable), strict=True))

    def correct(completion: Completion) -> float | None:
        mark = marks.get((completion.prompt.id, completion.sample))
        return float(mark) if isinstance(mark, int | float) else None

    groups = list(by_prompt(completions).values())
    votes = []
    for group in groups:
        judged = [(c.answer, mark) for c in group if (mark := correct(c)) is not None]
        if judged:
            answers = [None if a is None else "".join(a.split()) for a, _ in judged]
            votes.append(cons_at_k(answers, [mark for _, mark in judged]))
    n = max((len(group) for group in groups), default=0)
    style = FormatReward()
    found = {
        "pass@1": _interval(groups, correct),
        f"cons@{n}": bootstrap_interval(votes) if votes else None,
        "format": _interval(groups, lambda c: _number(style.score([c])[0])),
        "truncated": _interval(groups, lambda c: float(c.finish_reason == "length")),
        "mean_length": _interval(groups, lambda c: float(len(c.token_ids))),
        "mean_length_stepwise": _interval(groups, lambda c: float(len(c.token_ids)) if is_stepwise(c) else None),
        "stepwise": _interval(groups, lambda c: float(is_stepwise(c))),
        "language_consistency": _interval(groups, _consistency),
        "reflection_per_1k_words": _reflection(groups),
    }
    return {name: interval for name, interval in found.items() if interval is not None}


def _reflection(groups: Sequence[Sequence[Completion]]) -> Interval | None:
    """Reflection words per 1,000 words; a prompt's figure is that of all its completions together."""
    rates = []
    for group in groups:
        words = sum(word_count(c.text) for c in group)
        if words:
            rates.append(1000.0 * sum(reflection_count(c.text) for c in group) / words)
    return bootstrap_interval(rates) if rates else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


class Measures:
    """Collects completions under two headings and measures them: ``eval`` and, at temperature 1, ``t1``.

    Args:
        rewards: Where the judge of correctness is taken from: the first ``AccuracyReward``, or a new one.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        found = [reward for reward in rewards if isinstance(reward, AccuracyReward)]
        self.accuracy = found[0] if found else AccuracyReward()
        self.completions: dict[str, list[Completion]] = {}

    def add(self, heading: str, completions: Sequence[Completion]) -> None:
        """Takes this rank's completions."""
        self.completions.setdefault(heading, []).extend(completions)

    def compute(self) -> dict[str, Interval]:
        """Measures what all ranks took; of the second heading only pass@1 is kept, as ``pass@1_t1``."""
        results = {name: self._gathered(name) for name in sorted(self.completions)}
        found = measure(results["eval"], self.accuracy) if results.get("eval") else {}
        if results.get("t1"):
            at_one = measure(results["t1"], self.accuracy)
            if "pass@1" in at_one:
                found["pass@1_t1"] = at_one["pass@1"]
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
