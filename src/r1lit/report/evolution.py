"""Self-evolution of a stage of reinforcement learning (paper 2.3, C): curves over policy updates, and the "aha" sample.

The paper shows one moment of R1-Zero that its authors chose. Here a stated rule chooses (:data:`RULE`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from r1lit.callbacks.evolution import running_mean
from r1lit.grading.language import language_consistency
from r1lit.metrics.measures import first_reflection, reflection_count
from r1lit.report.runs import Stage

PANELS = (
    ("Accuracy", "share of completions", {"reward/accuracy": "accuracy", "reward/format": "format"}),
    ("Length", "tokens", {"mean_length": "all", "mean_length_stepwise": "those that reason"}),
    ("Reflection", "words per 1,000 words", {"reflection_per_1k_words": "reflection words"}),
    ("Entropy", "nats per token", {"entropy": "entropy"}),
    (
        "Language",
        "share",
        {"language_consistency": "words in the prompt's language", "mixed": "completions that mix languages"},
    ),
    ("Trying again", "share of correct completions", {"retry": "reflect after one equation and write another"}),
)
"""Heading, unit and series of each chart of curves."""
WINDOW = 5
RISE = 0.1
"""Smallest rise of the share, from the first tenth of the rollouts to the last, that counts."""
RULE = (
    "The first update at which the share of correct completions that try again (an equation, a reflection word after "
    f"it, another equation after that), as a running mean over {WINDOW} rollouts, passes half the way from its level "
    "in the first tenth of the rollouts to its level in the last tenth. Of the correct completions that try again in "
    "that rollout, the one with the most reflection words is shown; of equals, the shortest. Where the level rises by "
    f"less than {RISE}, nothing became common and none is shown; a rollout without such a completion is passed over."
)
MIXED = 0.1
"""A completion mixes languages if at least this share of its words is in the prompt's, and as much is not."""
_LATIN = re.compile("[A-Za-z]")
_COLUMNS = ("step", "prompt_id", "sample", "question", "reference", "language", "text", "tokens", "reward/accuracy")

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Aha:
    """The sample at which trying again first becomes common."""

    step: int
    share: float
    """Of that update's correct completions."""
    first: float
    last: float
    """The share in the first and in the last tenth of the rollouts."""
    sample: dict[str, Any]


@dataclass(frozen=True)
class Evolution:
    """What a stage's training shows."""

    curves: dict[str, Points]
    """Figures over policy updates."""
    aha: Aha | None
    missing: str = ""
    """Why there is no such sample."""


@dataclass
class _Update:
    """What is counted of one update's completions."""

    total: int = 0
    mixed: int = 0
    correct: int = 0
    again: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    rank: tuple[int, int, str, int] | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        self.total += 1
        self.mixed += mixes_languages(row["text"], row["language"])
        if row["reward/accuracy"] != 1.0:
            return
        self.correct += 1
        if tries_again(row["text"]):
            self.again += 1
            rank = (-reflection_count(row["text"]), row["tokens"], row["prompt_id"], row["sample"])
            if self.rank is None or rank < self.rank:
                self.rank, self.best = rank, dict(row)


def tries_again(text: str) -> bool:
    """Whether a completion reflects after an equation and writes another one, before it answers."""
    reasoning = text.partition("</think>")[0]
    place = first_reflection(reasoning)
    while place is not None:
        if "=" in reasoning[: place[0]]:
            return "=" in reasoning[place[1] :]
        rest = first_reflection(reasoning[place[1] :])
        place = rest and (rest[0] + place[1], rest[1] + place[1])
    return False


def mixes_languages(text: str, language: str) -> bool:
    """Whether a completion's reasoning has Latin and other letters, of which neither language is nearly all.

    Args:
        text: The completion.
        language: Of the prompt, ISO 639-1.
    """
    reasoning = text.partition("</think>")[0].removeprefix("<think>")
    if reasoning.isascii() or not _LATIN.search(reasoning):  # told without counting words, which takes its time
        return False
    return MIXED <= language_consistency(reasoning, language) <= 1 - MIXED


def evolve(stage: Stage) -> Evolution:
    """Reads a stage's metrics and samples of training.

    Raises:
        InputError: If one of the files cannot be read.
    """
    curves: dict[str, Points] = {}
    for row in stage.metrics():
        for name, value in row.items():
            curves.setdefault(name, []).append((row["step"], value))
    updates: dict[int, _Update] = {}
    for sample in stage.training(_COLUMNS):
        updates.setdefault(int(sample["step"]), _Update()).add(sample)
    if updates:
        curves["mixed"] = [(step, u.mixed / u.total) for step, u in updates.items()]
        curves["retry"] = [(step, u.again / u.correct) for step, u in updates.items() if u.correct]
    aha, missing = _find_aha(updates)
    return Evolution(curves, aha, missing)


def _find_aha(updates: Mapping[int, _Update]) -> tuple[Aha | None, str]:
    known = {step: u for step, u in sorted(updates.items()) if u.correct}
    if len(known) < 2:
        return None, "its training samples are not there" if not updates else "too few of its rollouts have a success"
    shares = [u.again / u.correct for u in known.values()]
    tenth = max(1, len(shares) // 10)
    first, last = _mean(shares[:tenth]), _mean(shares[-tenth:])
    if last - first < RISE:
        return None, f"trying again is hardly more common at the end ({last:.2f}) than at the beginning ({first:.2f})"
    half = (first + last) / 2
    for (step, update), share in zip(known.items(), running_mean(tuple(shares), WINDOW), strict=True):
        if share >= half and update.best:
            return Aha(step, update.again / update.correct, first, last, update.best), ""
    return None, "no rollout passes half the way"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def has_rl(stage: Stage) -> bool:
    """Whether a stage learned from rewards."""
    return bool(stage.record.get("rollouts")) and any("reward" in row for row in stage.metrics()[:1])
