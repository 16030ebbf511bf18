"""Log-probabilities and entropies of tokens without ever building logits for all positions at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from r1lit.errors import InputError


def chunked_logprobs(
    hidden: Tensor,
    targets: Tensor,
    head: Callable[[Tensor], Tensor],
    temperature: float = 1.0,
    chunk_size: int = 1024,
    with_entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of target tokens from hidden states, a chunk of positions at a time.

    The logits of one chunk exist at a time, [chunk_size, V], forward and backward: with gradients on, those of the last
    chunk are kept, as the backward pass begins with them, and those of the others are computed again when their turn
    comes. The result does not depend on ``chunk_size`` but for rounding.

    Args:
        hidden: [N, H] hidden states of the positions that predict the targets.
        targets: [N] int64 token ids.
        head: maps [n, H] to logits [n, V]; called ceil(N / chunk_size) times, at least once, and once less often in
            the backward pass.
        temperature: divides the logits.
        chunk_size: positions for each chunk.
        with_entropy: whether to compute entropies too.

    Returns:
        Log-probabilities [N] and entropies in nats [N] or None, in float32, or float64 if the logits are. Both are
        differentiable in ``hidden`` and in the parameters of ``head``.

    Raises:
        InputError: if temperature or chunk_size is not positive.
    """
    if chunk_size < 1:
        raise InputError(f"chunk_size: {chunk_size} must be at least 1")
    _check_temperature(temperature)

    def one_chunk(part: Tensor, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        logprobs, entropy = _FromLogits.apply(head(part), ids, temperature, with_entropy)
        return logprobs, entropy

    results = []
    chunks = list(zip(torch.split(hidden, chunk_size), torch.split(targets, chunk_size), strict=True))
    for number, (part, ids) in enumerate(chunks, 1):
        if torch.is_grad_enabled() and number < len(chunks):
            results.append(checkpoint(one_chunk, part, ids, use_reentrant=False))
        else:
            results.append(one_chunk(part, ids))
    logprobs = torch.cat([logprob for logprob, _ in results])
    return logprobs, torch.cat([entropy for _, entropy in results]) if with_entropy else None


class _FromLogits(Function):
    """``logprobs_from_logits`` and ``entropy_from_logits`` in one, with a backward that needs one buffer.

    Autograd's own keeps, beside the logits, their scaled copy and the softmax.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, temperature: float, with_entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        """From logits [n, V] and targets [n] to log-probabilities [n] and entropies [n] or None."""
        scaled = _scaled(logits, temperature)
        total = scaled.logsumexp(dim=-1)  # [n]
        entropy = _entropy(scaled, total) if with_entropy else None
        ctx.temperature = temperature
        ctx.save_for_backward(logits, targets, total, entropy)
        return _pick(scaled, targets, total), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_logprobs: Tensor, of_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        """With x the scaled logits, d log p_t / dx_i = [i = t] - p_i and dH / dx_i = -p_i (log p_i + H)."""
        logits, targets, total, entropy = ctx.saved_tensors
        grad = _scaled(logits, ctx.temperature) - total[:, None]  # log p, [n, V]
        if entropy is None or of_entropy is None:
            grad.exp_().mul_(-of_logprobs[:, None])
        else:
            surprise = grad.masked_fill(grad == -torch.inf, 0.0) + entropy[:, None]
            grad.exp_().mul_(-of_logprobs[:, None] - of_entropy[:, None] * surprise)
        grad.scatter_add_(-1, targets[:, None], of_logprobs[:, None])
        return grad.div_(ctx.temperature).to(logits.dtype), None, None, None


def logprobs_from_logits(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of target tokens, for logits that are at hand.

    Args:
        logits: [..., V].
        targets: [...] int64 token ids.
        temperature: divides the logits.

    Returns:
        [...] in float32, or float64 for float64 logits.

    Raises:
        InputError: if temperature is not positive.
    """
    _check_temperature(temperature)
    scaled = _scaled(logits, temperature)
    return _pick(scaled, targets, scaled.logsumexp(dim=-1))


def entropy_from_logits(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of the distribution over tokens, in nats.

    Args:
        logits: [..., V]; -inf stands for a token that cannot come.
        temperature: divides the logits.

    Returns:
        [...] in float32, or float64 for float64 logits.

    Raises:
        InputError: if temperature is not positive.
    """
    _check_temperature(temperature)
    scaled = _scaled(logits, temperature)
    return _entropy(scaled, scaled.logsumexp(dim=-1))


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    # Half precision is left before the division, so that the temperature adds no rounding of its own.
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits if temperature == 1.0 else logits / temperature


def _pick(logits: Tensor, targets: Tensor, total: Tensor) -> Tensor:
    return logits.gather(-1, targets[..., None])[..., 0] - total


def _entropy(logits: Tensor, total: Tensor) -> Tensor:
    # H = logsumexp(x) - sum p x; where x = -inf the product is 0, not NaN.
    finite = logits.masked_fill(logits == -torch.inf, 0.0)
    return total - (logits.softmax(dim=-1) * finite).sum(dim=-1)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise InputError(f"temperature: {temperature} must be above 0")
