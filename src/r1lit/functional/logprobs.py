"""Log-probabilities and entropies of tokens without ever building logits for all positions at once."""

from collections.abc import Callable

import torch
from torch import Tensor
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

    At most [chunk_size, V] logits exist at a time, forward and backward: with gradients on, each chunk's logits are
    thrown away and computed again in the backward pass. The result does not depend on ``chunk_size`` but for rounding.

    Args:
        hidden: [N, H] hidden states of the positions that predict the targets.
        targets: [N] int64 token ids.
        head: maps [n, H] to logits [n, V]; called ceil(N / chunk_size) times, at least once, and as often again in
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
        logits = _scaled(head(part), temperature)  # [n, V]
        return _pick(logits, ids), _entropy(logits) if with_entropy else None

    results = []
    for part, ids in zip(torch.split(hidden, chunk_size), torch.split(targets, chunk_size), strict=True):
        if torch.is_grad_enabled():
            results.append(checkpoint(one_chunk, part, ids, use_reentrant=False))
        else:
            results.append(one_chunk(part, ids))
    logprobs = torch.cat([logprob for logprob, _ in results])
    return logprobs, torch.cat([entropy for _, entropy in results]) if with_entropy else None


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
    return _pick(_scaled(logits, temperature), targets)


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
    return _entropy(_scaled(logits, temperature))


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    # Half precision is left before the division, so that the temperature adds no rounding of its own.
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits if temperature == 1.0 else logits / temperature


def _pick(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(dim=-1)


def _entropy(logits: Tensor) -> Tensor:
    # H = logsumexp(x) - sum p x; where x = -inf the product is 0, not NaN.
    finite = logits.masked_fill(logits == -torch.inf, 0.0)
    return logits.logsumexp(dim=-1) - (logits.softmax(dim=-1) * finite).sum(dim=-1)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise InputError(f"temperature: {temperature} must be above 0")
