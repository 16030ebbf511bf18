"""What is measured of completions: the figures that every stage reports, and the signs of self-evolution.

pass@1 and cons@k are the paper's (D.1); the reflection words are its list (C.2) with Chinese equivalents. What is
measured of other prompts than reasoning stands in ``general``. Reasoning prompts may lie in tiers of difficulty
(``Prompt.tier``), as AIME stands beside GSM8K: each has its own ``pass@1_TIER`` and ``cons@n_TIER``, and all other
figures are those of the main tier, whose prompts name none.
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from r1lit.distributed import gathered
from r1lit.functional.estimators import Interval, bootstrap_interval, cons_at_k
from r1lit.grading.language import language_consistency
from r1lit.grading.scripts import count_words
from r1lit.metrics.requests import FIGURES as GENERAL
from r1lit.metrics.requests import helpfulness
from r1lit.metrics.votes import votes
from r1lit.rewards import Reward
from r1lit.rewards.accuracy import AccuracyReward
from r1lit.rewards.base import UNSCORED, Score
from r1lit.rewards.format import FormatReward
from r1lit.samples.table import completion_row
from r1lit.types import Completion

log = logging.getLogger(__name__)
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


def first_reflection(text: str) -> tuple[int, int] | None:
    """Where the first reflection word begins and ends; None where there is none."""
    found = [match.span() for pattern in (_REFLECTION, _REFLECTION_ZH) if (match := pattern.search(text))]
    return min(found, default=None)


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


Figures = dict[str, float | None]
"""What is known of one completion by itself, by column of ``samples.parquet``; None where a figure is not due."""
Row = Mapping[str, Any]
"""A completion as it is stored: at least ``prompt_id``, ``sample``, ``answer``, ``tokens`` and its figures."""

ACCURACY = "reward/accuracy"
MEANS = {
    "format": "reward/format",
    "truncated": "figure/truncated",
    "mean_length": "figure/length",
    "mean_length_stepwise": "figure/length_stepwise",
    "stepwise": "figure/stepwise",
    "language_consistency": "figure/language_consistency",
}
"""Measures of reasoning, beside correctness, that are means over prompts of the means over their completions, and the
column of each."""
GENERAL_MEANS = {name: f"figure/{name}" for name in GENERAL}
"""The same of other requests; a measure that no prompt has a value for is left out."""


def judge(completions: Sequence[Completion], accuracy: AccuracyReward, style: FormatReward) -> list[Figures]:
    """The figures of each completion: all that :func:`summarize` needs in addition to its answer.

    They are stored with the completion, so that every measure of a stage can be counted again from its samples.
    """
    marks = _marks(completions, accuracy)
    return [
        _of_reasoning(c, marks.get((c.prompt.id, c.sample)), style) if c.prompt.kind == "reasoning" else _of_request(c)
        for c in completions
    ]


def _of_reasoning(completion: Completion, mark: float | None, style: FormatReward) -> Figures:
    length = float(len(completion.token_ids))
    stepwise = is_stepwise(completion)
    return {
        "reward/accuracy": mark,
        "reward/format": _number(style.score([completion])[0]),
        "figure/truncated": float(completion.finish_reason == "length"),
        "figure/length": length,
        "figure/length_stepwise": length if stepwise else None,
        "figure/stepwise": float(stepwise),
        "figure/language_consistency": consistency(completion),
        "figure/words": float(word_count(completion.text)),
        "figure/reflections": float(reflection_count(completion.text)),
    }


def _of_request(completion: Completion) -> Figures:
    """Of a prompt that is not reasoning; ``figure/helpfulness`` is the grade that win rates compare."""
    return {f"figure/{name}": value(completion) for name, value in GENERAL.items()} | {
        "figure/helpfulness": helpfulness(completion)
    }


def rows_by_prompt(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Groups stored completions by prompt id, samples in order."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["prompt_id"], row["sample"])):
        groups.setdefault(row["prompt_id"], []).append(row)
    return groups


def prompt_values(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Every measure's value by prompt; a measure has no value for a prompt none of whose completions has one."""
    groups = rows_by_prompt(rows)
    tiers: dict[str | None, dict[str, list[Row]]] = {None: {}}
    for prompt, group in groups.items():
        if group[0]["kind"] == "reasoning":
            tiers.setdefault(group[0].get("tier"), {})[prompt] = group
    found: dict[str, dict[str, float]] = {}
    for tier, group_of in tiers.items():
        found |= _correctness(group_of, "" if tier is None else f"_{tier}")
    reasoning = tiers[None]
    found |= {name: _means(reasoning, column) for name, column in MEANS.items()}
    found["reflection_per_1k_words"] = {}
    for prompt, group in reasoning.items():
        # Reflection words of all of a prompt's completions together, per 1,000 words.
        if words := sum(row["figure/words"] for row in group):
            found["reflection_per_1k_words"][prompt] = 1000.0 * sum(row["figure/reflections"] for row in group) / words
    general = {name: _means(groups, column) for name, column in GENERAL_MEANS.items()}
    return found | {name: values for name, values in general.items() if values}


def _correctness(groups: Mapping[str, Sequence[Row]], suffix: str) -> dict[str, dict[str, float]]:
    """The measures that every tier has."""
    n = max(map(len, groups.values()), default=0)
    voted = {prompt: vote for prompt, group in groups.items() if (vote := _consensus(group)) is not None}
    return {f"pass@1{suffix}": _means(groups, ACCURACY), f"cons@{n}{suffix}": voted}


def _means(groups: Mapping[str, Sequence[Row]], column: str) -> dict[str, float]:
    found = {}
    for prompt, group in groups.items():
        if values := [float(value) for row in group if (value := row.get(column)) is not None]:
            found[prompt] = sum(values) / len(values)
    return found


def summarize(rows: Iterable[Row]) -> dict[str, Interval]:
    """Every measure with a 95 % bootstrap interval over prompts; of no prompt, n is 0 and the figures are NaN."""
    return {name: _interval(list(values.values())) for name, values in prompt_values(rows).items()}


def _interval(means: Sequence[float]) -> Interval:
    """A mean over prompts with its interval; NaN, which JSON has as null, of no prompt."""
    return bootstrap_interval(means) if means else Interval(value=math.nan, low=math.nan, high=math.nan, n=0)


def _consensus(group: Sequence[Row]) -> float | None:
    """Correctness of the majority vote; see ``votes``."""
    judged = [row for row in group if row["reward/accuracy"] is not None]
    if not judged:
        return None
    keys = votes([row["answer"] for row in judged], judged[0]["task"])
    return cons_at_k(keys, [row["reward/accuracy"] for row in judged])


def measure(
    completions: Sequence[Completion], accuracy: AccuracyReward, style: FormatReward | None = None
) -> dict[str, Interval]:
    """The figures of a set of completions, each with a 95 % bootstrap interval over prompts.

    Args:
        completions: n of each prompt.
        accuracy: Judges correctness. What it cannot judge in time is left out.
        style: Judges the format; R1-Zero's if None.

    Returns:
        ``pass@1`` and ``cons@n``, both for each tier too; of the main one ``format``, ``truncated``, ``mean_length``
        (tokens), ``stepwise`` (share of completions that reason at all), and of those ``mean_length_stepwise`` and
        ``language_consistency``;
        ``reflection_per_1k_words``: all of reasoning prompts alone; what none has a value for has n = 0 and NaN. Then
        those of ``general.FIGURES`` that some other prompt has a value for.

    Raises:
        InputError: If a reasoning prompt has no reference answer.
    """
    return summarize(judged_rows(completions, accuracy, style or FormatReward()))


def judged_rows(completions: Sequence[Completion], accuracy: AccuracyReward, style: FormatReward) -> list[Row]:
    """Completions as they are stored, with their figures."""
    figures = judge(completions, accuracy, style)
    return [completion_row(c) | found for c, found in zip(completions, figures, strict=True)]


Marks = dict[tuple[str, int], float]
"""Correctness by prompt id and sample, of the completions that could be judged."""


def _marks(completions: Sequence[Completion], accuracy: AccuracyReward) -> Marks:
    reasoning = [c for c in completions if c.prompt.kind == "reasoning"]
    judged = [c for c in reasoning if accuracy.applies_to(c.prompt, accuracy.from_step)]
    scores = accuracy.score(judged)
    if late := sum(score is UNSCORED for score in scores):  # else answers that hang the judge would raise pass@1
        log.warning("%d of %d answers could not be judged in time; they count as wrong", late, len(judged))
    marks = [0.0 if score is UNSCORED else _number(score) for score in scores]
    return {(c.prompt.id, c.sample): mark for c, mark in zip(judged, marks, strict=True) if mark is not None}


def _number(score: Score) -> float | None:
    return float(score) if isinstance(score, int | float) else None


class Measures:
    """Collects completions under two splits and measures them: ``eval`` and, at temperature 1, ``t1``.

    Args:
        rewards: Where the judges of correctness and format are taken from: the first ``AccuracyReward`` and
            ``FormatReward``, or new ones.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        self.accuracy = next((r for r in rewards if isinstance(r, AccuracyReward)), None) or AccuracyReward()
        self.style = next((r for r in rewards if isinstance(r, FormatReward)), None) or FormatReward()
        self.completions: dict[str, list[Completion]] = {}
        self.rows: dict[str, list[Row]] = {}

    def add(self, split: str, completions: Sequence[Completion]) -> None:
        """Takes this rank's completions."""
        self.completions.setdefault(split, []).extend(completions)

    def compute(self) -> dict[str, Interval]:
        """Measures what all ranks took; of the second split only pass@1 is kept, as ``pass@1_t1``.

        Leaves in ``rows`` the completions as they are stored, by split and in order of prompts.
        """
        self.rows = {}
        for split in sorted(self.completions):
            completions = self._gathered(split)
            judged = judged_rows(completions, self.accuracy, self.style)
            self.rows[split] = [row for group in rows_by_prompt(judged).values() for row in group]
        found = summarize(self.rows["eval"]) if self.rows.get("eval") else {}
        if self.rows.get("t1"):
            at_one = summarize(self.rows["t1"])["pass@1"]
            found = {"pass@1": found.pop("pass@1"), "pass@1_t1": at_one, **found} if found else {"pass@1_t1": at_one}
        return found

    def reset(self) -> None:
        """Forgets all completions; ``rows`` stay until the next measuring."""
        self.completions.clear()

    def _gathered(self, split: str) -> list[Completion]:
        return [completion for part in gathered(self.completions[split]) for completion in part]
