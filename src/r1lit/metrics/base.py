"""What all metrics share: values by prompt, the same from any number of processes, and their mean with an interval."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from r1lit.functional.estimators import Interval, mean_interval


class PromptMetric(Metric):
    """One or more values for each prompt, averaged over prompts with a 95 % bootstrap interval.

    Prompts are told apart by their *place* in the data set. At the end they are put in that order, and a prompt that
    several processes report, as samplers that pad do, counts once. So the result is the same, to the last bit, for any
    number of processes and any order of updates.

    Args:
        columns: Values for each prompt.
        seed: Of the bootstrap.
        kwargs: Passed to ``torchmetrics.Metric``.
    """

    full_state_update = False
    is_differentiable = False
    places: Any
    values: Any

    def __init__(self, columns: int = 1, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns, self.seed = columns, seed
        self.add_state("places", default=[], dist_reduce_fx="cat")
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def _add(self, places: Tensor | Sequence[int], values: Sequence[Sequence[float]]) -> None:
        """Takes the values of prompts.

        Args:
            places: [P] integers.
            values: [P][columns]; NaN where a prompt has no such value.
        """
        # Also of no prompts: then this process has an empty state of the right type, which others can be joined to.
        table = torch.tensor(values, dtype=torch.float64, device=self.device).reshape(-1, self.columns)
        index = torch.as_tensor(places, dtype=torch.int64, device=self.device).reshape(-1)
        if len(index) != len(table):
            raise ValueError(f"{type(self).__name__}: {len(index)} places for the values of {len(table)} prompts")
        self.places.append(index)
        self.values.append(table)

    def by_place(self) -> dict[int, list[float]]:
        """The values of each prompt that this process knows (all of them while synchronised), in order."""
        if isinstance(self.places, list) and not self.places:
            return {}
        found: dict[int, list[float]] = {}
        # Lists of tensors, which torchmetrics joins to one tensor while it has all processes' values here.
        for place, values in zip(dim_zero_cat(self.places).tolist(), dim_zero_cat(self.values).tolist(), strict=True):
            found.setdefault(place, values)
        return dict(sorted(found.items()))

    def intervals(self) -> list[Interval]:
        """The interval of each column."""
        rows = list(self.by_place().values())
        return [mean_interval([row[column] for row in rows], self.seed) for column in range(self.columns)]

    def compute(self) -> Interval:
        """``{"value", "low", "high", "n"}``; n counts the prompts that have a value."""
        return self.intervals()[0]


def mean(values: Sequence[float]) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
