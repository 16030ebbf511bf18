"""The figures of a benchmark: all metrics together, over prompts with their judged samples."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from torch import nn

from r1lit.errors import InputError
from r1lit.functional.estimators import Interval
from r1lit.metrics.accuracy import ConsAtK, PassAt1, PassAtK
from r1lit.metrics.rating import codeforces_rating
from r1lit.metrics.shares import MeanLength, SampleMean, TruncatedShare, UnparsableShare, UnscoredShare
from r1lit.rewards import Reward
from r1lit.tasks.base import ANSWER_TASKS
from r1lit.types import Prompt, ScoredCompletion

LABELS = ("level", "subject", "type", "category")
"""Entries of a prompt's ``meta`` by which pass@1 is broken down."""
MOST_LABELS = 20
"""An entry with more values than this is no label."""
NOT_JUDGED = math.nan


Groups = Iterator[tuple[int, Sequence[ScoredCompletion]]]
"""Scored groups, each with the index of its prompt in the data set."""


class BenchmarkMetrics(nn.Module):
    """pass@1, pass@k, cons@n, mean length, truncated, unparsable and unscored share, and the means of other rewards.

    Correct is a sample whose judge gave at least 1: partial credit is none (its mean is reported under the judge's
    name). Samples that it could not judge in time come with a score of 0 and without a total: they count as wrong, and
    as unscored.

    Args:
        rewards: Names of all rewards.
        judge: The one that tells correctness.
        n: Samples of each prompt.
        ks: Of pass@k; powers of two up to n, and n, if None.
        seed: Of the bootstrap.
    """

    def __init__(
        self, rewards: Sequence[str], judge: str, n: int, ks: Sequence[int] | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.judge, self.n = judge, n
        self.pass_at_1 = PassAt1(seed=seed)
        self.pass_at_k = PassAtK(powers(n) if ks is None else ks, seed) if n > 1 or ks else None
        self.consensus = ConsAtK(seed=seed)
        self.mean_length = MeanLength(seed=seed)
        self.truncated = TruncatedShare(seed=seed)
        self.unparsable = UnparsableShare(seed=seed)
        self.unscored = UnscoredShare(seed=seed)
        # A list, since names of rewards may hold points, which names of submodules may not.
        self.rewards = tuple(rewards)
        self._means = [SampleMean(seed=seed) for _ in rewards]
        self.means = nn.ModuleList(self._means)

    def update(self, groups: Iterable[tuple[int, Sequence[ScoredCompletion]]]) -> None:
        """Takes prompts, of which other processes may have others."""
        for index, group in groups:
            self._update([index], [group])
        self._update([], [])  # so that a process without any takes part

    def _update(self, indices: list[int], groups: Sequence[Sequence[ScoredCompletion]]) -> None:
        correct = [[grade(sample, self.judge) for sample in group] for group in groups]
        self.pass_at_1.update(indices, correct)
        if self.pass_at_k is not None:
            self.pass_at_k.update(indices, correct)
        answers = [[sample.completion.answer for sample in group] for group in groups]
        tasks = [group[0].completion.prompt.task for group in groups]
        voting = [i for i, task in enumerate(tasks) if task in ANSWER_TASKS]
        self.consensus.update(
            [indices[i] for i in voting], [answers[i] for i in voting], [correct[i] for i in voting],
            [tasks[i] for i in voting],
        )  # fmt: skip
        self.unparsable.update([indices[i] for i in voting], [[float(a is None) for a in answers[i]] for i in voting])
        self.mean_length.update(indices, self._each(groups, lambda s: float(s.completion.tokens)))
        self.truncated.update(indices, self._each(groups, lambda s: float(s.completion.finish_reason == "length")))
        self.unscored.update(indices, self._each(groups, lambda s: float(s.total is None)))
        for name, metric in zip(self.rewards, self._means, strict=True):
            metric.update(indices, [[number(sample.scores.get(name)) for sample in group] for group in groups])

    @staticmethod
    def _each(
        groups: Sequence[Sequence[ScoredCompletion]], value: Callable[[ScoredCompletion], float]
    ) -> list[list[float]]:
        return [[value(sample) for sample in group] for group in groups]

    def compute(self) -> dict[str, Interval]:
        """The figures over all processes; what no prompt has a value for is left out, but for pass@1."""
        found: dict[str, Interval] = {"pass@1": self.pass_at_1.compute()}
        if self.pass_at_k is not None:
            found = self.pass_at_k.compute() | found  # pass@1 may be among them, rounded otherwise
            found = {"pass@1": found.pop("pass@1"), **found}
        if self.n > 1:
            found[f"cons@{self.n}"] = self.consensus.compute()
        found |= {
            "mean_length": self.mean_length.compute(),
            "truncated": self.truncated.compute(),
            "unparsable": self.unparsable.compute(),
            "unscored": self.unscored.compute(),
        }
        for name, metric in zip(self.rewards, self._means, strict=True):
            interval = metric.compute()
            if name != self.judge or interval["value"] != found["pass@1"]["value"]:
                found[f"reward/{name}"] = interval
        return {name: interval for name, interval in found.items() if interval["n"] or name == "pass@1"}


def number(score: float | None) -> float:
    """A score as a float; NaN for none."""
    return math.nan if score is None else score


def grade(sample: ScoredCompletion, judge: str) -> float:
    """1 for a right sample, 0 for a wrong one, NaN for one that the judge did not judge."""
    score = sample.scores.get(judge)
    return NOT_JUDGED if score is None else float(score >= 1)


def powers(n: int) -> list[int]:
    """2, 4, 8 ... up to n, and n."""
    return sorted({2**i for i in range(1, n.bit_length())} & set(range(2, n + 1)) | {n})


def judge_of(rewards: Sequence[Reward], judge: str | None) -> str:
    """The name of the reward that tells correctness: the first, unless one is named.

    Raises:
        InputError: If there is no such reward.
    """
    names = [reward.name for reward in rewards]
    if not names:
        raise InputError("rewards is empty; name at least the judge of correctness")
    if judge is not None and judge not in names:
        raise InputError(f"judge is {judge!r}, which is none of the rewards: {', '.join(names)}")
    return judge or names[0]


def by_label(groups: Iterable[tuple[int, Sequence[ScoredCompletion]]], judge: str) -> dict[str, Interval]:
    """pass@1 of each label's prompts, ``pass@1/level=5`` (see ``LABELS``), and a rating, from the groups given."""
    found: dict[str, dict[str | int, PassAt1]] = {label: {} for label in LABELS}
    graded: list[tuple[Prompt, list[float]]] = []
    for index, group in groups:
        prompt, correct = group[0].completion.prompt, [grade(sample, judge) for sample in group]
        graded.append((prompt, correct))
        for label, metrics in found.items():
            value = prompt.meta.get(label)
            if isinstance(value, str | int) and value != "" and len(metrics) <= MOST_LABELS:
                metrics.setdefault(value, PassAt1(sync_on_compute=False)).update([index], [correct])
    return codeforces_rating(graded) | {
        f"pass@1/{label}={value}": metric.compute()
        for label, metrics in found.items()
        if 1 < len(metrics) <= MOST_LABELS
        for value, metric in sorted(metrics.items(), key=lambda entry: (isinstance(entry[0], str), entry[0]))
    }
