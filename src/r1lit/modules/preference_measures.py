"""How well scores tell good replies from bad ones, on held-out prompts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_accuracy, binary_auroc, binary_calibration_error

from r1lit.data.preference_data import Item
from r1lit.functional.estimators import Interval
from r1lit.functional.preferences import clustered_interval

BINS = 10
RESAMPLES = 500


class Judged(NamedTuple):
    """What is known of n held-out items; all float64 or bool."""

    scores: Tensor
    """[n, 2] of pairs (chosen, rejected), [n, 1] of labelled replies."""
    good: Tensor
    """[n, 2] or [n, 1] bool: which of them are the chosen or safe ones."""
    characters: Tensor
    """Lengths, as ``scores``."""
    prompts: list[str]


def judged(items: Sequence[Item], scores: Sequence[Sequence[float]]) -> Judged:
    """Puts items and their scores side by side."""
    good = [[True, False] if item.safe is None else [item.safe] for item in items]
    return Judged(
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(good),
        torch.tensor([item.characters for item in items], dtype=torch.float64),
        [item.prompt for item in items],
    )


def preference_measures(data: Judged, train: Judged) -> dict[str, Interval]:
    """The figures of a reward model, each with a 95 % bootstrap interval over prompts.

    Args:
        data: Of the held-out items.
        train: Of the training items, whose scores are not looked at: which way length tells and which label is the
            most frequent is learnt from them.

    Returns:
        ``accuracy``: pairs in which the chosen reply has the higher score, or replies that are safe just where the
        score is positive; ``auroc``: the chance that a good reply, to whatever prompt, has a higher score than a bad
        one; ``calibration_error``: expected error of sigmoid(difference), or sigmoid(score), as a probability, in 10
        bins; ``score_mean``, ``score_std``. For comparison, what can be told without reading: ``accuracy_length`` (of
        pairs) and ``auroc_length`` by the replies' lengths alone, ``accuracy_majority`` (of labelled replies) by the
        most frequent label.
    """
    is_pairs = data.scores.shape[1] == 2
    longer_is_better = _auroc(train.characters, train.good) >= 0.5
    length = data.characters if longer_is_better else -data.characters

    def interval(statistic: str, values: Tensor) -> Interval:
        compute = _STATISTICS[statistic]
        return clustered_interval(
            lambda rows: compute(values[rows], data.good[rows]), data.prompts, resamples=RESAMPLES
        )

    found = {
        "accuracy": interval("accuracy", data.scores),
        "auroc": interval("auroc", data.scores),
        "calibration_error": interval("calibration", data.scores),
        "auroc_length": interval("auroc", length),
    }
    if is_pairs:
        found["accuracy_length"] = interval("accuracy", length)
    else:
        most = 1.0 if train.good.double().mean() >= 0.5 else -1.0
        found["accuracy_majority"] = interval("accuracy", torch.full_like(data.scores, most))
    return found | {"score_mean": interval("mean", data.scores), "score_std": interval("std", data.scores)}


def _odds(values: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
    """Log odds and labels [m]: of pairs, each in both orders, so that neither label is the rarer."""
    if values.shape[1] == 1:
        return values[:, 0], good[:, 0]
    difference = values[:, 0] - values[:, 1]
    return torch.cat([difference, -difference]), torch.cat([good[:, 0], good[:, 1]])


def _accuracy(values: Tensor, good: Tensor) -> float:
    if values.shape[1] == 2:  # a tie is an error
        right = (values[:, 0] > values[:, 1]).int()
        return float(binary_accuracy(right, good[:, 0].int(), validate_args=False))
    return float(binary_accuracy((values[:, 0] > 0).int(), good[:, 0].int(), validate_args=False))


def _auroc(values: Tensor, good: Tensor) -> float:
    labels = good.flatten()
    if labels.all() or not labels.any():
        return float("nan")
    # torchmetrics takes a sigmoid, which makes ties of large values; the places in their order are as good.
    _, places = values.flatten().unique(return_inverse=True)
    return float(binary_auroc(places / places.max().clamp_min(1), labels.int(), validate_args=False))


def _calibration(values: Tensor, good: Tensor) -> float:
    odds, labels = _odds(values, good)
    return float(binary_calibration_error(odds.sigmoid(), labels.int(), n_bins=BINS, validate_args=False))


_STATISTICS = {
    "accuracy": _accuracy,
    "auroc": _auroc,
    "calibration": _calibration,
    "mean": lambda values, good: float(values.mean()),
    "std": lambda values, good: float(values.std(unbiased=False)),
}
