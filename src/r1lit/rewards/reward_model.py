"""Reward by a model: helpfulness and harmlessness, which no rule can judge (paper section 3.1, eq. 8-10)."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal, Protocol, get_args, runtime_checkable

from lightning.pytorch import LightningModule, Trainer

from r1lit.errors import InputError
from r1lit.rewards.base import UNSCORED, CompletionError, Reward, Score
from r1lit.types import Completion, Kind, Scorer, Task

Scale = Literal["none", "sigmoid", "standard"]


@runtime_checkable
class PreparedScorer(Protocol):
    """A scorer that can be made ready, or found wanting, before the first completion."""

    def load(self) -> None:
        """Reads the model, or asks the server; raises ``InputError`` where that fails."""
        ...


@runtime_checkable
class CalibratedScorer(Protocol):
    """A scorer that knows how its scores lie on held-out data; None where it does not."""

    @property
    def mean(self) -> float | None:
        """Of the scores."""
        ...

    @property
    def std(self) -> float | None:
        """Of the scores."""
        ...


@runtime_checkable
class RemoteScorer(Protocol):
    """A scorer elsewhere, which may fail on a completion, and can be waited for in a thread."""

    def try_score(self, completions: Sequence[Completion]) -> list[Score]:
        """One score for each completion, ``UNSCORED`` where there was no getting one."""
        ...

    def close(self) -> None:
        """Breaks off what is under way."""
        ...


class RewardModelReward(Reward):
    """The score of a reward model, such as helpfulness (pairwise) or harmlessness (point-wise).

    In the paper a general prompt belongs to the helpful or the harmless ones and gets that model's reward beside the
    format's (eq. 10), and preference rewards enter in the last 400 of 1,700 updates only: give each reward its
    ``kinds``, and a ``from_step`` of 1,300 or a ``PromptMix`` whose general part comes late.

    The paper says nothing of scale. Raw scores have none either: a pairwise loss leaves their origin free and their
    spread to the data, so that beside format and language consistency, which lie in [0, 1], they would count for
    everything or for nothing. Hence they are brought to [0, 1] as well, by a monotone curve, which keeps the order
    within a group and rewards ever less what lies far above the usual, where a reward model is least to be trusted:

    * ``sigmoid``: 1 / (1 + exp(-score)). Of a point-wise model, whose score is the log odds of "safe", that is the
      probability of it. The default, since it needs no more than the score.
    * ``standard``: 1 / (1 + exp(-(score - mean) / std)), with mean and standard deviation of the scores of held-out
      data, which the directory of a model that r1lit trained carries. Best for a pairwise model.
    * ``none``: the score as it is.

    A score depends on its own completion alone: nothing is taken from the batch.

    Args:
        scorer: ``ModelScorer`` for a model in this process, ``HTTPScorer`` for one behind a server, or your own.
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
        scale: See above.
        mean: For ``standard``, instead of the scorer's own.
        std: For ``standard``, instead of the scorer's own.

    Raises:
        InputError: If an argument is out of range.
    """

    def __init__(
        self,
        scorer: Scorer,
        name: str = "reward_model",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
        scale: Scale = "sigmoid",
        mean: float | None = None,
        std: float | None = None,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        if scale not in get_args(Scale):
            raise InputError(f"reward {name!r}: scale is {scale!r}; choose from {', '.join(get_args(Scale))}")
        if scale != "standard" and (mean is not None or std is not None):
            raise InputError(f"reward {name!r}: mean and std are for scale standard, not {scale}")
        self.scorer, self.scale, self.mean, self.std = scorer, scale, mean, std
        # A model in this process shares the policy's device, and must wait for generation to end.
        self.concurrency = int(isinstance(scorer, RemoteScorer))
        self._standard: tuple[float, float] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes the scorer ready before a training starts, however late its scores count.

        Raises:
            InputError: If the model cannot be read, its server does not answer, or ``standard`` lacks its figures.
        """
        if stage == "fit":
            self.prepare()

    def prepare(self) -> None:
        """What ``setup`` does, for use without a Trainer."""
        if isinstance(self.scorer, PreparedScorer):
            self.scorer.load()
        if self.scale == "standard":
            self._figures()

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Scores of the model, brought to scale.

        Raises:
            InputError: As the scorer; also if scale ``standard`` lacks its figures.
            CompletionError: If the scorer gives something else than one finite number for each completion; the run
                then stops with the completion's name.
        """
        if not completions:
            return []
        if isinstance(self.scorer, RemoteScorer):
            found: Sequence[Score] = self.scorer.try_score(completions)
        else:
            found = self.scorer.score(completions)
        if len(found) != len(completions):
            problem = f"its scorer gave {len(found)} scores for {len(completions)} completions, the first of them"
            raise CompletionError(completions[0], problem)
        return [self._one(completion, score) for completion, score in zip(completions, found, strict=True)]

    def _one(self, completion: Completion, score: Score) -> Score:
        if score is UNSCORED:
            return score
        if isinstance(score, bool) or not isinstance(score, Real):
            raise CompletionError(completion, f"its scorer gave {score!r} instead of a float")
        value = float(score)
        if not math.isfinite(value):  # before the curve, which would make a perfect 1 of infinity
            raise CompletionError(completion, f"its scorer gave {value}")
        if self.scale == "none":
            return value
        mean, std = self._figures() if self.scale == "standard" else (0.0, 1.0)
        return _sigmoid((value - mean) / std)

    def _figures(self) -> tuple[float, float]:
        """Mean and standard deviation for scale ``standard``."""
        if self._standard is None:
            mean, std = self.mean, self.std
            if (mean is None or std is None) and isinstance(self.scorer, CalibratedScorer):
                mean = self.scorer.mean if mean is None else mean
                std = self.scorer.std if std is None else std
            if mean is None or std is None:
                raise InputError(
                    f"reward {self.name!r}: scale standard needs mean and std of the scores, which the model does not "
                    "carry; give both, or use scale sigmoid"
                )
            if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
                raise InputError(f"reward {self.name!r}: mean {mean} and std {std} make no scale; std must be above 0")
            self._standard = float(mean), float(std)
        return self._standard

    def close(self) -> None:
        """Breaks off requests that are under way."""
        if isinstance(self.scorer, RemoteScorer):
            self.scorer.close()


def _sigmoid(x: float) -> float:
    """Without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
