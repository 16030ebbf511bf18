"""Sampling that depends on nothing but the seed: counter-based noise through the inverse of the distribution function.

The noise of a token is a pure function of (seed, rollout, prompt id, sample, position). What is sampled therefore
depends neither on the other rows of the batch, nor on the order in which rows finish, nor on the number of processes.
"""

from hashlib import blake2b

import torch
from torch import Tensor

from r1lit.errors import InputError, TrainingError

# SplitMix64 (Steele, Lea, Flood 2014), its constants as signed 64-bit integers.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64

_TOP_P_CANDIDATES = (16, 256, 4096)
"""The nucleus is sought among this many most likely tokens first; a wider one is found by bisection. The vocabulary is
never sorted."""


def row_key(seed: int, rollout: int, prompt_id: str, sample: int) -> int:
    """The key of one completion's noise.

    Args:
        seed: of the run.
        rollout: counter of the rollout.
        prompt_id: id of the prompt.
        sample: index within the group.

    Returns:
        A hash as a signed 64-bit integer, fit for an int64 tensor; the same on every machine and Python.
    """
    # The numbers come first: whatever the id contains, no two different quadruples give the same text.
    text = f"{seed},{rollout},{sample},{prompt_id}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def uniforms(keys: Tensor, positions: Tensor | int) -> Tensor:
    """Uniform noise for tokens: output number ``position`` of the SplitMix64 generator that starts at the key.

    Only integer arithmetic modulo 2**64 and one exact conversion: every device gives the same numbers.

    Args:
        keys: [B] int64, from `row_key`.
        positions: [B] int64 or one integer for all rows, the index of the token in its completion, from 0.

    Returns:
        [B] float64, strictly between 0 and 1.
    """
    x = keys + (positions + 1) * _GAMMA if isinstance(positions, Tensor) else keys + _wrap((positions + 1) * _GAMMA)
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    x = x ^ _shift(x, 31)
    # 52 bits, so that adding one half is exact and neither 0 nor 1 can come.
    return (_shift(x, 12).double() + 0.5) * 2.0**-52


def sample_tokens(
    logits: Tensor, noise: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Draws a token for each row: the first, in the order of the vocabulary, whose cumulative probability exceeds u.

    Filters are applied in the usual order: temperature, top-k, then top-p on what top-k left. A token as likely as
    the last one that a filter keeps is kept too, so no result hangs on how ties are sorted.

    Args:
        logits: [B, V]; -inf stands for a token that cannot come.
        noise: [B] in (0, 1), from `uniforms`.
        temperature: divides the logits; 0 takes the most likely token (the first of equals).
        top_k: keeps the k most likely tokens; 0 keeps all.
        top_p: keeps the fewest most likely tokens that hold this much probability; 1 keeps all.

    Returns:
        Tokens [B] int64 and their log-probabilities [B], float32 (float64 for float64 logits). The latter are those
        of the distribution *before* top-k and top-p at the sampling temperature, or at temperature 1 where that is
        0: what training computes for the token.

    Raises:
        InputError: for a setting out of range.
        TrainingError: if a row has NaN, +inf or nothing but -inf.
    """
    if not (temperature >= 0 and top_k >= 0 and 0 < top_p <= 1):
        raise InputError(
            f"sampling: temperature {temperature} and top_k {top_k} must be 0 or more, top_p {top_p} in (0, 1]"
        )
    logits = logits if logits.dtype == torch.float64 else logits.float()
    scale = temperature if temperature > 0 else 1.0
    peak = logits.amax(dim=1, keepdim=True)  # [B, 1]
    mass = ((logits - peak) / scale if scale != 1.0 else logits - peak).exp_()  # [B, V], at most 1

    if temperature == 0:
        total = mass.sum(dim=1)
        tokens = logits.argmax(dim=1)
    else:
        kept = _filtered(mass, top_k, top_p)  # [B, V]
        cdf = kept.cumsum(dim=1)
        total = cdf[:, -1] if kept is mass else mass.sum(dim=1)
        tokens = _invert(cdf, kept, noise)
    if not bool(torch.isfinite(total).all()):
        row = int((~torch.isfinite(total)).nonzero()[0])
        raise TrainingError(f"logits: row {row} holds NaN, +inf or only -inf; the policy has diverged")
    chosen = logits.gather(1, tokens[:, None])  # [B, 1]
    return tokens, ((chosen - peak) / scale)[:, 0] - total.log()


def _filtered(mass: Tensor, top_k: int, top_p: float) -> Tensor:
    """Sets what top-k and top-p leave out to 0; returns ``mass`` itself where nothing is asked for."""
    if 0 < top_k < mass.shape[1]:
        least = mass.topk(top_k, dim=1).values[:, -1:]
        mass = mass.masked_fill(mass < least, 0.0)
    if top_p < 1:
        mass = mass.masked_fill(mass < _nucleus_floor(mass, top_p), 0.0)
    return mass


def _nucleus_floor(mass: Tensor, top_p: float) -> Tensor:
    """The mass [B, 1] of the least likely token of each row's nucleus."""
    wanted = top_p * mass.sum(dim=1, keepdim=True)  # [B, 1]
    floor = torch.zeros_like(wanted)
    missing = torch.arange(len(mass), device=mass.device)
    for candidates in _TOP_P_CANDIDATES:
        rows = mass if len(missing) == len(mass) else mass[missing]
        ordered = rows.topk(min(candidates, mass.shape[1]), dim=1).values
        floor[missing], found = _floor_among(ordered, wanted[missing])
        missing = missing[~found[:, 0]]
        if len(missing) == 0 or candidates >= mass.shape[1]:
            return floor
    floor[missing] = _floor_by_bisection(mass[missing], wanted[missing])
    return floor


def _floor_among(ordered: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the first of the falling masses [B, n] at which their sum reaches ``wanted``, and whether any does."""
    cumulative = ordered.cumsum(dim=1)
    last = (cumulative < wanted).sum(dim=1, keepdim=True).clamp(max=ordered.shape[1] - 1)  # [B, 1]
    return ordered.gather(1, last), cumulative[:, -1:] >= wanted


def _floor_by_bisection(mass: Tensor, wanted: Tensor) -> Tensor:
    """The largest of the masses [B, V] that holds ``wanted`` [B, 1] together with those above it, bit by bit.

    Floats that are not negative are in the order of their bits.
    """
    bits = mass.view(torch.int64 if mass.dtype == torch.float64 else torch.int32)
    floor = torch.zeros_like(bits[:, :1])
    for bit in reversed(range(8 * mass.element_size() - 1)):
        raised = floor | (1 << bit)
        held = mass.masked_fill(bits < raised, 0.0).sum(dim=1, keepdim=True)
        floor = torch.where(held >= wanted, raised, floor)
    return floor.view(mass.dtype)


def _invert(cdf: Tensor, mass: Tensor, noise: Tensor) -> Tensor:
    """The first index of each row with cdf > noise * total: never a token without mass."""
    total = cdf[:, -1:]
    # Noise next to 1 may round up to the total, which no entry exceeds; just below it is the last token with mass.
    below = torch.nextafter(total, torch.zeros_like(total))
    target = torch.minimum((noise[:, None] * total).to(cdf.dtype), below)
    tokens = torch.searchsorted(cdf, target, right=True).clamp(max=cdf.shape[1] - 1)  # [B, 1]
    # Accelerators add up in parallel, where rounding can make the sums grow at a token without mass.
    empty = mass.gather(1, tokens) <= 0
    if bool(empty.any()):
        tokens = torch.where(empty, mass.argmax(dim=1, keepdim=True), tokens)
    return tokens[:, 0]


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: torch's own copies the sign bit of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _wrap(x: int) -> int:
    """A Python integer modulo 2**64, as a signed 64-bit integer."""
    return (x + 2**63) % 2**64 - 2**63
