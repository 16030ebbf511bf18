"""Policy-gradient losses over a minibatch of completions: GRPO and its relatives.

Shapes: B completions of at most T tokens. ``logprobs``, ``old_logprobs``, ``ref_logprobs`` and the bool ``mask`` are
[B, T], ``advantages`` is [B]. What stands where the mask is False is never looked at, not even NaN, and a row that
is masked altogether adds exactly 0 to the loss, the metrics and the gradient.

A loss is a sum over completions divided by a `normalizer` of the whole minibatch, so the losses (and metrics) of its
micro-batches add up to the loss of the minibatch, however it was cut:

    normalizer = loss_normalizer(whole_mask, "sequence")      # summed over ranks where there are several
    for part in micro_batches:
        grpo_loss(..., normalizer=normalizer).loss.backward()

Where gradients are averaged over ranks (DDP, FSDP), multiply the loss by the number of ranks.
"""

from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from r1lit.errors import InputError

Aggregation = Literal["sequence", "token", "constant"]

LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to +-20 (a ratio of 5e8): beyond it a token has no gradient instead of an infinite one."""


class LossOutput(NamedTuple):
    """A loss and what to log with it.

    Attributes:
        loss: scalar to minimize, divided by the minibatch's normalizer.
        metrics: detached scalars that add up over micro-batches as the loss does: ``ratio_mean``, ``clip_fraction``
            with its parts ``clip_fraction_low`` and ``clip_fraction_high`` (losses that clip), ``kl`` (k3, where
            ``ref_logprobs`` is given) and ``weight``, which adds up to 1, except with the aggregation "constant",
            where dividing another metric by it gives the mean over tokens.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


class PolicyLoss(Protocol):
    """The call that every loss here answers; its own settings (clip range) are bound with ``functools.partial``."""

    def __call__(
        self,
        logprobs: Tensor,
        old_logprobs: Tensor,
        advantages: Tensor,
        mask: Tensor,
        *,
        normalizer: Tensor | float,
        ref_logprobs: Tensor | None = None,
        beta: float = 0.0,
        aggregation: Aggregation = "sequence",
    ) -> LossOutput:
        """Returns the loss of a micro-batch; see `grpo_loss`."""
        ...


def loss_normalizer(mask: Tensor, aggregation: Aggregation, max_length: int | None = None) -> Tensor:
    """Counts what the loss of a whole minibatch is divided by.

    Args:
        mask: [B, T] bool, the tokens that count, of the whole minibatch.
        aggregation: "sequence", "token" or "constant", see `grpo_loss`.
        max_length: the constant length, in tokens, for "constant" (the limit on new tokens).

    Returns:
        Scalar int64 that may be summed over parts and ranks: the number of completions with any token ("sequence"),
        the number of tokens ("token"), or completions times ``max_length`` ("constant").

    Raises:
        InputError: for an unknown aggregation, or "constant" without a positive ``max_length``.
    """
    _check_aggregation(aggregation)
    if aggregation == "token":
        return mask.sum()
    completions = mask.any(dim=1).sum()
    if aggregation == "sequence":
        return completions
    if max_length is None or max_length < 1:
        raise InputError(f"max_length: {max_length} must be a positive number of tokens for aggregation 'constant'")
    return completions * max_length


def k3_kl(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Estimates KL(policy || reference) for each token by k3 = r - log r - 1 with r = ref / policy (paper, eq. 2).

    Args:
        logprobs: log-probabilities of sampled tokens under the policy, any shape.
        ref_logprobs: the same under the reference policy.

    Returns:
        Non-negative estimates of the same shape, differentiable in ``logprobs``. The log-ratio is clamped to
        +-`LOG_RATIO_BOUND`.
    """
    log_ratio = _bounded(ref_logprobs.detach() - logprobs)
    return torch.expm1(log_ratio) - log_ratio


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    normalizer: Tensor | float,
    ref_logprobs: Tensor | None = None,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    beta: float = 0.0,
    aggregation: Aggregation = "sequence",
) -> LossOutput:
    """The clipped surrogate of GRPO with the KL term in the loss (paper, eq. 1 and 2), to be minimized.

    The paper writes the ratio of whole outputs and does not say how tokens are aggregated. Here the ratio is of each
    token, as in DeepSeekMath, and the aggregation is chosen: "sequence" (the mean over completions of each one's mean
    over tokens: the paper's 1/G sum), "token" (the mean over all tokens: DAPO) or "constant" (the sum over tokens by
    completions times a fixed length: Dr. GRPO).

    Args:
        logprobs: [B, T] under the policy, with gradient.
        old_logprobs: [B, T] under the policy that sampled.
        advantages: [B], one for each completion.
        mask: [B, T] bool, True for tokens that count.
        normalizer: `loss_normalizer` of the whole minibatch; values below 1 count as 1.
        ref_logprobs: [B, T] under the reference policy; needed where ``beta`` is not 0.
        clip_low: the ratio is clipped at 1 - clip_low. The paper's 10 is allowed: then it never binds.
        clip_high: the ratio is clipped at 1 + clip_high (DAPO's clip-higher when above ``clip_low``).
        beta: weight of the KL term.
        aggregation: how tokens are put together.

    Returns:
        The loss and its metrics.

    Raises:
        InputError: for a negative clip range, an unknown aggregation, or ``beta`` without ``ref_logprobs``.
        ValueError: for shapes that do not fit.
    """
    _check_clip(clip_low, clip_high)
    lp, old, adv = _prepare(logprobs, old_logprobs, advantages, mask)  # [B, T], [B, T], [B, 1]
    ratio = _bounded(lp - old).exp()  # [B, T]
    surrogate = torch.minimum(ratio * adv, ratio.clamp(1 - clip_low, 1 + clip_high) * adv)  # [B, T]
    clipped = _clipped(ratio, adv, clip_low, clip_high)
    return _output(surrogate, lp, ratio, mask, ref_logprobs, beta, aggregation, normalizer, clipped)


def gspo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    normalizer: Tensor | float,
    ref_logprobs: Tensor | None = None,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
    beta: float = 0.0,
    aggregation: Aggregation = "sequence",
) -> LossOutput:
    """GSPO (arXiv 2507.18071, eq. 5-7): one ratio for each completion, the geometric mean of its tokens' ratios.

    Arguments, result and errors as in `grpo_loss`; with "sequence" it is the loss of that paper. The clip range is
    two orders of magnitude narrower, since the ratio is normalized by length. The KL term stays one of tokens.
    """
    _check_clip(clip_low, clip_high)
    lp, old, adv = _prepare(logprobs, old_logprobs, advantages, mask)  # [B, T], [B, T], [B, 1]
    lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)  # [B, 1]
    log_ratio = (lp - old).sum(dim=1, keepdim=True) / lengths  # [B, 1]; masked tokens are 0 in both
    ratio = _bounded(log_ratio).exp()  # [B, 1]
    surrogate = torch.minimum(ratio * adv, ratio.clamp(1 - clip_low, 1 + clip_high) * adv)  # [B, 1]
    clipped = _clipped(ratio, adv, clip_low, clip_high)
    return _output(surrogate, lp, ratio, mask, ref_logprobs, beta, aggregation, normalizer, clipped)


def cispo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    normalizer: Tensor | float,
    ref_logprobs: Tensor | None = None,
    clip_low: float = 1.0,
    clip_high: float = 4.0,
    beta: float = 0.0,
    aggregation: Aggregation = "token",
) -> LossOutput:
    """CISPO (MiniMax-M1, arXiv 2506.13585, eq. 4 and 5): the clipped ratio is a constant weight on log-probabilities.

    No token loses its gradient by clipping. Arguments, result and errors as in `grpo_loss`. By default the ratio is
    not bounded below, as in that paper, and capped at 5; the paper does not state its cap. The clip fractions count
    the tokens whose weight was changed, whatever their advantage.
    """
    _check_clip(clip_low, clip_high)
    lp, old, adv = _prepare(logprobs, old_logprobs, advantages, mask)  # [B, T], [B, T], [B, 1]
    ratio = _bounded(lp - old).exp().detach()  # [B, T]
    surrogate = ratio.clamp(1 - clip_low, 1 + clip_high) * adv * lp  # [B, T]
    clipped = (ratio < 1 - clip_low, ratio > 1 + clip_high)
    return _output(surrogate, lp, ratio, mask, ref_logprobs, beta, aggregation, normalizer, clipped)


def reinforce_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    normalizer: Tensor | float,
    ref_logprobs: Tensor | None = None,
    beta: float = 0.0,
    aggregation: Aggregation = "sequence",
) -> LossOutput:
    """REINFORCE; with `rloo_advantages` it is RLOO (arXiv 2402.14740).

    Arguments, result and errors as in `grpo_loss`. There is no ratio, so it holds for samples of the present policy
    only; ``old_logprobs`` serves the metric ``ratio_mean``, which tells how far from that the samples are. RLOO sums
    the log-probabilities of a completion: that is "constant" up to the factor 1 / max_length.
    """
    lp, old, adv = _prepare(logprobs, old_logprobs, advantages, mask)  # [B, T], [B, T], [B, 1]
    ratio = _bounded(lp - old).exp()  # [B, T]
    return _output(adv * lp, lp, ratio, mask, ref_logprobs, beta, aggregation, normalizer, None)


def _prepare(lp: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Checks shapes and returns what losses compute with: [B, T] and [B, T] with 0 where masked, and [B, 1]."""
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, not {mask.dtype}")
    if lp.ndim != 2 or lp.shape != old.shape or lp.shape != mask.shape or advantages.shape != lp.shape[:1]:
        shapes = [tuple(x.shape) for x in (lp, old, mask, advantages)]
        raise ValueError(f"logprobs, old_logprobs, mask must be [B, T] and advantages [B], not {shapes}")
    advantages = advantages.detach().to(lp.dtype).masked_fill(~mask.any(dim=1), 0.0)
    return _masked(lp, mask), _masked(old.detach(), mask), _at_least_float32(advantages)[:, None]


def _output(
    surrogate: Tensor,
    lp: Tensor,
    ratio: Tensor,
    mask: Tensor,
    ref: Tensor | None,
    beta: float,
    aggregation: Aggregation,
    normalizer: Tensor | float,
    clipped: tuple[Tensor, Tensor] | None,
) -> LossOutput:
    """Adds the KL term, aggregates and gathers metrics; surrogate, ratio and clipped are [B, T] or [B, 1]."""
    _check_aggregation(aggregation)

    def aggregate(values: Tensor) -> Tensor:
        values = values.to(lp.dtype).expand_as(lp).masked_fill(~mask, 0.0)
        rows = values.sum(dim=1)  # [B]
        if aggregation == "sequence":
            rows = rows / mask.sum(dim=1).clamp(min=1)
        return rows.sum() / torch.as_tensor(normalizer).clamp(min=1)

    loss = -aggregate(surrogate)
    metrics = {"ratio_mean": aggregate(ratio.detach()), "weight": aggregate(mask)}
    if clipped is not None:
        low, high = (aggregate(part) for part in clipped)
        metrics |= {"clip_fraction": low + high, "clip_fraction_low": low, "clip_fraction_high": high}
    if ref is not None:
        kl = aggregate(k3_kl(lp, _masked(ref, mask)))
        metrics["kl"] = kl.detach()
        loss = loss + beta * kl if beta else loss
    elif beta:
        raise InputError(f"beta: {beta} asks for a KL term, which needs ref_logprobs; give them or set beta to 0")
    return LossOutput(loss, metrics)


def _clipped(ratio: Tensor, adv: Tensor, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """Where clipping below and above took the gradient away."""
    return (ratio < 1 - clip_low) & (adv < 0), (ratio > 1 + clip_high) & (adv > 0)


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    # Filling before any arithmetic keeps NaN and infinity of padding out of the gradient as well.
    return _at_least_float32(values).masked_fill(~mask, 0.0)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _bounded(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)


def _check_clip(clip_low: float, clip_high: float) -> None:
    for name, value in (("clip_low", clip_low), ("clip_high", clip_high)):
        if not value >= 0:
            raise InputError(f"{name}: {value} must be 0 or more")


def _check_aggregation(aggregation: str) -> None:
    if aggregation not in get_args(Aggregation):
        raise InputError(f"aggregation: {aggregation!r} must be one of {', '.join(get_args(Aggregation))}")
