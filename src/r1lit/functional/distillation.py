"""Divergences between a teacher's and a student's distribution over the next token, from hidden states in chunks.

With p the teacher's distribution and q the student's, both at the same temperature, in nats per position:

| kind | value |
|---|---|
| ``reverse`` | KL(q || p): the student keeps to what the teacher holds likely; common where the student samples |
| ``forward`` | KL(p || q): the student covers all that the teacher holds possible; cross-entropy has this gradient |
| ``jensen_shannon`` | b KL(p || m) + (1 - b) KL(q || m) with m = b p + (1 - b) q (GKD, arXiv 2306.13649, eq. 1) |

With ``top_k``, the teacher's k likeliest tokens stay what they are, and all others become one outcome, "another token",
which has the rest of the mass under both. So no mass is dropped: the divergence is one between true distributions over
k + 1 outcomes, never more than the full one, and 0 only where student and teacher agree on all of these.

The paper distils by fine-tuning on the teacher's texts (2.4); this goes beyond it.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from r1lit.errors import InputError

DivergenceKind = Literal["reverse", "forward", "jensen_shannon"]
REST_FLOOR = 1e-7
"""The least mass for the tokens that a list of likeliest ones leaves out; rounding may leave nothing, or less."""


class TeacherStates(NamedTuple):
    """A teacher at hand: its distributions over all tokens, by way of its hidden states."""

    hidden: Tensor
    """[N, Ht], without gradient."""
    head: Callable[[Tensor], Tensor]
    """Maps [n, Ht] to logits [n, V]."""


class TeacherTop(NamedTuple):
    """A teacher elsewhere, who told the log-probabilities of its likeliest tokens."""

    ids: Tensor
    """[N, k] int64, distinct in each row."""
    logprobs: Tensor
    """[N, k], at temperature 1."""


def chunked_divergence(
    hidden: Tensor,
    head: Callable[[Tensor], Tensor],
    teacher: TeacherStates | TeacherTop,
    kind: DivergenceKind = "reverse",
    beta: float = 0.5,
    top_k: int | None = None,
    temperature: float = 1.0,
    vocabulary: int | None = None,
    chunk_size: int = 1024,
) -> Tensor:
    """Divergence at each position, a chunk of positions at a time.

    The logits of one chunk exist at a time, [chunk_size, V] of the student and of the teacher, forward and backward:
    with gradients on, those of all chunks but the last are computed again when their turn comes. The result does not
    depend on ``chunk_size`` but for rounding.

    Args:
        hidden: [N, H] the student's hidden states.
        head: Maps [n, H] to the student's logits [n, V].
        teacher: What is known of the teacher's distributions at the same N positions.
        kind: Which divergence.
        beta: The teacher's share in the mixture of ``jensen_shannon``, between 0 and 1.
        top_k: Compare this many of the teacher's likeliest tokens, and all others as one; None compares all. A
            ``TeacherTop`` has its own number.
        temperature: Divides the logits of both; a ``TeacherTop`` knows temperature 1 only.
        vocabulary: Compare the first so many logits alone: heads are often padded to a round size, and not alike.
        chunk_size: Positions for each chunk.

    Returns:
        [N] in nats, in float32, or float64 if the logits are; differentiable in ``hidden`` and in the parameters of
        ``head``, and in nothing of the teacher's.

    Raises:
        InputError: For an unknown kind or a number out of range.
        ValueError: Where student and teacher have not as many positions, or not the same logits.
    """
    check_divergence(kind, beta, top_k, temperature)
    if chunk_size < 1:
        raise InputError(f"chunk_size: {chunk_size} must be at least 1")
    if isinstance(teacher, TeacherTop) and temperature != 1:
        raise InputError(f"temperature: {temperature}, but log-probabilities of the likeliest tokens are at 1")
    first, second = (teacher.hidden, None) if isinstance(teacher, TeacherStates) else (teacher.logprobs, teacher.ids)
    if len(first) != len(hidden):
        raise ValueError(f"the teacher has {len(first)} positions, the student {len(hidden)}")

    def one_chunk(part: Tensor, known: Tensor, ids: Tensor | None) -> Tensor:
        student = head(part)[:, :vocabulary]
        if isinstance(teacher, TeacherStates):
            with torch.no_grad():
                other = teacher.head(known)[:, :vocabulary]
            return _divergence(student, other, kind, beta, top_k, temperature)
        assert ids is not None
        rest = torch.log1p(-known.exp().sum(-1, keepdim=True).clamp_max(1 - REST_FLOOR))
        return divergence_from_logits(_outcomes(student, ids, 1.0), torch.cat([known, rest], -1), kind, beta)

    chunks = list(
        zip(
            torch.split(hidden, chunk_size),
            torch.split(first, chunk_size),
            [None] * (1 + len(hidden) // chunk_size) if second is None else torch.split(second, chunk_size),
            strict=False,
        )
    )
    results = []
    for number, chunk in enumerate(chunks, 1):
        if torch.is_grad_enabled() and number < len(chunks):
            results.append(checkpoint(one_chunk, *chunk, use_reentrant=False))
        else:
            results.append(one_chunk(*chunk))
    return torch.cat(results)


def divergence_from_logits(
    student: Tensor, teacher: Tensor, kind: DivergenceKind = "reverse", beta: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """Divergence between distributions whose logits are at hand.

    Args:
        student: [..., V], finite.
        teacher: [..., V], finite; no gradient flows into it.
        kind: Which divergence.
        beta: The teacher's share in the mixture of ``jensen_shannon``.
        temperature: Divides the logits of both.

    Returns:
        [...] in nats, in float32, or float64 for float64 logits.

    Raises:
        InputError: For an unknown kind or a number out of range.
        ValueError: For logits of different shapes.
    """
    check_divergence(kind, beta, None, temperature)
    if student.shape != teacher.shape:
        raise ValueError(f"student's logits are {tuple(student.shape)}, teacher's {tuple(teacher.shape)}")
    out: Tensor = _Divergence.apply(student, teacher.detach(), kind, beta, temperature)
    return out


def check_divergence(kind: str, beta: float, top_k: int | None, temperature: float) -> None:
    """Checks the settings of a divergence.

    Raises:
        InputError: For an unknown kind or a number out of range.
    """
    if kind not in get_args(DivergenceKind):
        raise InputError(f"divergence.kind: {kind!r} must be one of {', '.join(get_args(DivergenceKind))}")
    if not 0 < beta < 1:
        raise InputError(f"divergence.beta: {beta} must be between 0 and 1; for its ends take forward or reverse")
    if top_k is not None and top_k < 1:
        raise InputError(f"divergence.top_k: {top_k} must be at least 1, or null for all tokens")
    if not temperature > 0:
        raise InputError(f"divergence.temperature: {temperature} must be above 0")


def _divergence(
    student: Tensor, teacher: Tensor, kind: DivergenceKind, beta: float, top_k: int | None, temperature: float
) -> Tensor:
    """[n] from logits [n, V] of both."""
    if top_k is None or top_k >= teacher.shape[-1] - 1:  # a rest of one token is that token
        return divergence_from_logits(student, teacher, kind, beta, temperature)
    ids = teacher.topk(top_k, dim=-1).indices
    with torch.no_grad():
        known = _outcomes(teacher, ids, temperature)
    return divergence_from_logits(_outcomes(student, ids, temperature), known, kind, beta)


def _outcomes(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Logits [n, k + 1] of the tokens ``ids`` [n, k] and, last, of any other token, from logits [n, V]."""
    scaled = _precise(logits) / temperature
    rest = scaled.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([scaled.gather(-1, ids), rest], dim=-1)


class _Divergence(Function):
    """A divergence with a backward that keeps the logits alone; autograd's own keeps several such buffers."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, kind: DivergenceKind, beta: float, temperature: float
    ) -> Tensor:
        """From logits [..., V] to divergences [...]."""
        ctx.kind, ctx.beta, ctx.temperature = kind, beta, temperature
        ctx.save_for_backward(student, teacher)
        log_q, log_p = (_log_softmax(logits, temperature) for logits in (student, teacher))
        if kind == "reverse":
            return _kl(log_q, log_p)
        if kind == "forward":
            return _kl(log_p, log_q)
        log_m = _mixture(log_p, log_q, beta)
        return beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With x the student's scaled logits and g = dD / dq up to a constant, dD / dx_i = q_i (g_i - sum_j q_j g_j).

        g is log q - log p for ``reverse`` and (1 - b) (log q - log m) for ``jensen_shannon``, whose other terms cancel;
        for ``forward`` the result is q - p.
        """
        student, teacher = ctx.saved_tensors
        log_q, log_p = (_log_softmax(logits, ctx.temperature) for logits in (student, teacher))
        q = log_q.exp()
        if ctx.kind == "forward":
            found = q - log_p.exp_()
        else:
            against = log_p if ctx.kind == "reverse" else _mixture(log_p, log_q, ctx.beta)
            g = log_q.sub_(against)
            found = q * (g - (q * g).sum(-1, keepdim=True))
            if ctx.kind == "jensen_shannon":
                found.mul_(1 - ctx.beta)
        found.mul_(grad[..., None] / ctx.temperature)
        return found.to(student.dtype), None, None, None, None


def _precise(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return (_precise(logits) / temperature).log_softmax(-1)


def _mixture(log_p: Tensor, log_q: Tensor, beta: float) -> Tensor:
    """The log of b p + (1 - b) q."""
    shares = torch.tensor([beta, 1 - beta], dtype=torch.float64).log().tolist()
    return torch.logaddexp(log_p + shares[0], log_q + shares[1])


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    return (log_a.exp() * (log_a - log_b)).sum(-1)
