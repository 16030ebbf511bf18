"""How often answers are right: pass@1, pass@k and the majority vote (paper, section 3 and D.1)."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from r1lit.errors import InputError
from r1lit.functional.estimators import Interval, cons_at_k, pass_at_k
from r1lit.metrics.base import PromptMetric, mean
from r1lit.metrics.votes import votes
from r1lit.types import Task

Grades = Tensor | Sequence[Sequence[float]]
"""[P, n]: for each prompt 1 or 0 for each sample; NaN where a sample could not be judged, or is missing."""


def rows_of(grades: Grades) -> list[list[float]]:
    """Grades as lists."""
    rows = grades.tolist() if isinstance(grades, Tensor) else grades
    return [[float(grade) for grade in row] for row in rows]


class PassAt1(PromptMetric):
    """The mean over prompts of the share of right samples: pass@1 = mean over k (paper, section 3)."""

    higher_is_better = True

    def update(self, places: Tensor | Sequence[int], correct: Grades) -> None:
        """Takes the grades of prompts at their places in the data set."""
        self._add(places, [[mean(row)] for row in rows_of(correct)])


class PassAtK(PromptMetric):
    """The chance that any of k samples is right, unbiased (Chen et al., arXiv 2107.03374), for several k.

    A prompt with fewer than k judged samples has no value for that k.

    Args:
        ks: Values of k.
        seed: Of the bootstrap.
        kwargs: Passed to ``torchmetrics.Metric``.
    """

    higher_is_better = True

    def __init__(self, ks: Sequence[int], seed: int = 0, **kwargs: Any) -> None:
        if not ks or min(ks) < 1:
            raise InputError(f"pass@k: k is {list(ks)}; give at least one, each 1 or more")
        super().__init__(len(ks), seed, **kwargs)
        self.ks = tuple(ks)

    def update(self, places: Tensor | Sequence[int], correct: Grades) -> None:
        """Takes the grades of prompts at their places in the data set.

        Raises:
            InputError: If a grade is neither 0 nor 1.
        """
        self._add(places, [self._row([grade for grade in row if not math.isnan(grade)]) for row in rows_of(correct)])

    def _row(self, grades: list[float]) -> list[float]:
        if other := [grade for grade in grades if grade not in (0.0, 1.0)]:
            raise InputError(f"pass@k: a sample's grade is {other[0]}; it must be 0 or 1")
        right = round(sum(grades))
        return [pass_at_k(len(grades), right, k) if k <= len(grades) else math.nan for k in self.ks]

    def compute(self) -> dict[str, Interval]:  # type: ignore[override]
        """``{"pass@k": interval}``."""
        return {f"pass@{k}": interval for k, interval in zip(self.ks, self.intervals(), strict=True)}


class ConsAtK(PromptMetric):
    """Correctness of the majority vote over all samples of a prompt (paper: cons@64).

    Answers that the judge calls equal are one vote (``votes``), as 0.5, 1/2 and 50/100. A sample without an answer does
    not vote; several winners count by expectation, so that the order of samples does not matter.
    """

    higher_is_better = True

    def update(
        self,
        places: Tensor | Sequence[int],
        answers: Sequence[Sequence[str | None]],
        correct: Grades,
        tasks: Sequence[Task] | None = None,
    ) -> None:
        """Takes what was answered.

        Args:
            places: [P], in the data set.
            answers: [P][n], the final answers as they were written.
            correct: [P, n].
            tasks: [P], of what kind the answers are; mathematics if None.
        """
        kinds: Sequence[Task] = tasks or ["math"] * len(answers)
        rows = zip(answers, rows_of(correct), kinds, strict=True)
        self._add(places, [[self._vote(answer, grades, task)] for answer, grades, task in rows])

    def _vote(self, answers: Sequence[str | None], grades: Sequence[float], task: Task) -> float:
        judged = [(answer, grade) for answer, grade in zip(answers, grades, strict=True) if not math.isnan(grade)]
        if not judged:
            return math.nan
        return cons_at_k(votes([answer for answer, _ in judged], task), [grade for _, grade in judged])
