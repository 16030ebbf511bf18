"""Watches for reward hacking: a reward model's score that rises while what it stands for falls (paper B.5, Fig. 6)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from r1lit.callbacks.base import RolloutCallback
from r1lit.errors import InputError
from r1lit.functional.trends import Trend, step, trend
from r1lit.types import Rollout

log = logging.getLogger(__name__)

_COLLAPSE = 1 / 2
"""Share of its best value that a check must lose for a stroke."""


@dataclass(frozen=True, slots=True)
class Parting:
    """Score and check have parted."""

    rollouts: int
    """Over the last so many."""
    score: Trend
    check: Trend


def find_parting(
    score: Sequence[float], check: Sequence[float], window: int, level: float, least_fall: float
) -> Parting | None:
    """Whether the score has risen while the check fell, gradually or at a stroke.

    Gradually: a line is fitted to the last ``window`` values of each, and to the last 2, 4, 8... times as many and to
    all, for slow changes. They have parted over one of these spans if the score rises by at least ``level`` times the
    standard error of its rise, the check falls by at least ``level`` times that of its fall, and the fall is at least
    ``least_fall``. Standard errors allow for drifting (``functional.trends``).

    At a stroke: a policy that has found a hole is through it within a few rollouts, and what comes after is flat. The
    mean of the last ``window / 4`` rollouts (at least 4) is compared with that of as many where the check was best.
    They have parted if the score is higher and the check lower, both by ``level`` standard errors of that step, and the
    check has lost half of its value and at least ``least_fall``.

    At level 4, series of independent noise parted in none of 200 simulated runs of 120 rollouts. Series that wander far
    and independently of each other sometimes do, and then they have in fact parted.

    Args:
        score: Mean score of each rollout.
        check: Mean of the held-out check, parallel.
        window: Shortest span.
        level: See above.
        least_fall: In the check's own unit.

    Returns:
        The shortest such span, or the one since the check was best; None if there is none.
    """
    spans = [window * 2**k for k in range(max(1, len(score)).bit_length()) if window * 2**k <= len(score)]
    for span in [*spans, *([len(score)] if spans and spans[-1] < len(score) else [])]:
        up, down = trend(score[-span:]), trend(check[-span:])
        if up.t >= level and down.t <= -level and -down.change >= least_fall:
            return Parting(span, up, down)
    return _collapse(score, check, max(4, window // 4), level, least_fall) if spans else None


def _collapse(
    score: Sequence[float], check: Sequence[float], size: int, level: float, least_fall: float
) -> Parting | None:
    """Compares the last ``size`` rollouts with the best; see ``find_parting``."""
    places = range(len(check) - 2 * size + 1)
    best = max(places, key=lambda i: sum(check[i : i + size]), default=None)
    if best is None:
        return None
    up = step(score[best : best + size], score[-size:])
    down = step(check[best : best + size], check[-size:])
    least = max(least_fall, _COLLAPSE * sum(check[best : best + size]) / size)
    if up.t >= level and down.t <= -level and -down.change >= least:
        return Parting(len(check) - best, up, down)
    return None


class HackingGuard(RolloutCallback):
    """Warns once when a reward model's score and a held-out check part.

    What is optimized long enough against a model's opinion comes to please the model (paper B.5: the helpful reward
    rises while Codeforces falls; hence 400 updates only). The check is any other reward of the run: one of rules that
    is counted, such as ``accuracy`` on the reasoning prompts, or better one that is not, given ``weight: 0``: it is
    scored and logged but not optimized. Each rollout adds the means of both over the completions that they apply to;
    rollouts in which one applies to none are skipped. ``find_parting`` says when they part.

    Adds to the metrics of a rollout ``guard/<score>`` and ``guard/<check>``, the change over the last ``window``
    rollouts in units of its standard error, and ``guard_parted/<score>/<check>``, 1 from the warning on. The series is
    part of checkpoints: a resumed run goes on with it, and does not warn again.

    Args:
        score: Name of the reward that is optimized and may be hacked.
        check: Name of the reward that it is held against.
        window: Rollouts that a change must last at least. The paper's 400 updates are 25 rollouts.
        level: How sure, in standard errors.
        least_fall: Smallest fall of the check that matters, in its own unit.

    Raises:
        InputError: If an argument is out of range; at the start of a run, if there is no reward of such a name.
    """

    def __init__(self, score: str, check: str, window: int = 20, level: float = 4.0, least_fall: float = 0.05) -> None:
        if score == check:
            raise InputError(f"HackingGuard: score and check are both {score!r}; hold it against another reward")
        if window < 6:
            raise InputError(f"HackingGuard: window is {window}; give at least 6 rollouts")
        if not level > 0 or least_fall < 0:
            raise InputError(f"HackingGuard: level is {level} and least_fall {least_fall}; give above 0, and 0 or more")
        self.score, self.check = score, check
        self.window, self.level, self.least_fall = window, level, least_fall
        self.series: list[tuple[int, float, float]] = []
        """Rollout, mean score and mean check."""
        self.parted: int | None = None
        """The rollout of the warning."""
        self._warning = ""

    @property
    def state_key(self) -> str:
        """One guard for each pair of rewards."""
        return f"HackingGuard[{self.score}, {self.check}]"

    def state_dict(self) -> dict[str, Any]:
        """The series so far, and whether the warning was given."""
        return {"series": [list(row) for row in self.series], "parted": self.parted}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with a series."""
        self.series = [(int(index), float(score), float(check)) for index, score, check in state_dict["series"]]
        self.parted = state_dict["parted"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the names of the rewards."""
        module: Any = pl_module
        names = [reward.name for reward in module.rewards]
        for key, name in (("score", self.score), ("check", self.check)):
            if name not in names:
                raise InputError(f"HackingGuard: {key} is {name!r}, which is none of the rewards: {', '.join(names)}")

    def measure_rollout(self, rollout: Rollout) -> dict[str, float]:
        """Takes a rollout into the series and looks at it."""
        score, check = (_mean([s.scores.get(name) for s in rollout.scored]) for name in (self.score, self.check))
        if score is not None and check is not None:
            self.series.append((rollout.index, score, check))
            if self.parted is None and (found := self.find()):
                self.parted, self._warning = rollout.index, self.message(found)
        return {**self._trends(), f"guard_parted/{self.score}/{self.check}": float(self.parted is not None)}

    def on_rollout_end(self, trainer: Trainer, pl_module: LightningModule, rollout: Rollout) -> None:
        """Warns, in the rollout in which they have parted."""
        super().on_rollout_end(trainer, pl_module, rollout)
        if self.parted == rollout.index and trainer.is_global_zero:
            log.warning(self._warning)

    def find(self) -> Parting | None:
        """Whether the series so far has parted."""
        scores, checks = [row[1] for row in self.series], [row[2] for row in self.series]
        return find_parting(scores, checks, self.window, self.level, self.least_fall)

    def message(self, found: Parting) -> str:
        """The warning."""
        last = self.series[-found.rollouts :]
        return (
            f"reward hacking likely: over the last {found.rollouts} rollouts ({last[0][0] + 1} to {last[-1][0] + 1}) "
            f"{self.score!r} rose by {found.score.change:.3f} ({found.score.t:.1f} standard errors) while "
            f"{self.check!r} fell by {-found.check.change:.3f} ({-found.check.t:.1f}): the policy learns to please the "
            f"model. Take an earlier checkpoint, start {self.score!r} later (from_step), weigh it less or raise beta"
        )

    def _trends(self) -> dict[str, float]:
        if len(self.series) < self.window:
            return {}
        last = self.series[-self.window :]
        return {
            f"guard/{name}": trend([row[column] for row in last]).t
            for column, name in ((1, self.score), (2, self.check))
        }


def _mean(column: Sequence[float | None]) -> float | None:
    values = [value for value in column if value is not None]
    return sum(values) / len(values) if values else None
