"""Which surrogate a run maximizes, as one value of the configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from r1lit.errors import InputError
from r1lit.functional.losses import (
    Aggregation,
    LossOutput,
    PolicyLoss,
    cispo_loss,
    grpo_loss,
    gspo_loss,
    reinforce_loss,
)


@dataclass(frozen=True)
class Objective:
    """The loss with its settings; the defaults are those of the paper where it states them (2.1, 3.2.1)."""

    loss: Literal["grpo", "gspo", "cispo", "reinforce"] = "grpo"
    clip_low: float | None = None
    """None takes the loss's own: 0.2 for GRPO. The paper states the clip range for R1's first RL stage only: 10."""
    clip_high: float | None = None
    """As ``clip_low``, above 1."""
    beta: float = 0.001
    """Weight of the KL term; 0 needs no reference policy."""
    aggregation: Aggregation = "sequence"
    old_logprobs: Literal["recompute", "sampler"] = "recompute"
    """Where the ratio's denominator comes from: a forward with the training numerics, or the sampler's own values,
    which cost nothing and serve where both compute alike. The first minibatch of a rollout needs neither: its ratio
    is 1.
    """
    mask_truncated: bool = False
    """Leave completions cut at the length limit out of the loss; the paper does not say that it does."""

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise InputError(f"objective.beta is {self.beta}; give 0 or more")
        for name, value in (("clip_low", self.clip_low), ("clip_high", self.clip_high)):
            if value is not None and not value >= 0:
                raise InputError(f"objective.{name} is {value}; give 0 or more")

    def bound(self) -> PolicyLoss:
        """The loss function with its clip range."""
        if self.loss == "reinforce":
            return reinforce_loss
        losses: dict[str, Callable[..., LossOutput]] = {"grpo": grpo_loss, "gspo": gspo_loss, "cispo": cispo_loss}
        function = losses[self.loss]
        if self.clip_low is not None:
            function = partial(function, clip_low=self.clip_low)
        if self.clip_high is not None:
            function = partial(function, clip_high=self.clip_high)
        return function

    def __call__(
        self,
        logprobs: Tensor,
        old_logprobs: Tensor,
        advantages: Tensor,
        mask: Tensor,
        normalizer: float,
        ref_logprobs: Tensor | None,
    ) -> LossOutput:
        """The loss of a micro-batch; see ``functional.losses``."""
        return self.bound()(
            logprobs,
            old_logprobs,
            advantages,
            mask,
            normalizer=normalizer,
            ref_logprobs=ref_logprobs,
            beta=self.beta,
            aggregation=self.aggregation,
        )

    def normalizer(self, lengths: list[int], max_length: int) -> float:
        """What a minibatch's loss is divided by, from the lengths of the completions that count."""
        counted = [length for length in lengths if length]
        if self.aggregation == "token":
            return float(sum(counted))
        return float(len(counted) * (max_length if self.aggregation == "constant" else 1))
