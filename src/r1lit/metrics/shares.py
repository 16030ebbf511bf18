"""What answers are like apart from being right: their length, and how many were cut off, unreadable or not judged."""

from collections.abc import Sequence

from torch import Tensor

from r1lit.metrics.accuracy import rows_of
from r1lit.metrics.base import PromptMetric, mean

Rows = Tensor | Sequence[Sequence[float]]
"""[P][n]: a number for each sample of each prompt; NaN where it has none. True and False count as 1 and 0."""


class SampleMean(PromptMetric):
    """The mean over prompts of the mean over their samples that have a value: any reward, any sign of a text."""

    def update(self, places: Tensor | Sequence[int], values: Rows) -> None:
        """Takes the values of prompts at their places in the data set."""
        self._add(places, [[mean(row)] for row in rows_of(values)])


class MeanLength(SampleMean):
    """Mean length of completions in tokens."""


class TruncatedShare(SampleMean):
    """Share of completions that reached the length limit."""

    higher_is_better = False


class UnparsableShare(SampleMean):
    """Share of completions in which no final answer was found."""

    higher_is_better = False


class UnscoredShare(SampleMean):
    """Share of completions that could not be judged within the judge's limits; they count nowhere else."""

    higher_is_better = False
