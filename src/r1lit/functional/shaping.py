"""What becomes of completions that ran into the length limit."""

import torch
from torch import Tensor

from r1lit.errors import InputError


def overlong_penalty(lengths: Tensor, max_length: int, buffer: int) -> Tensor:
    """The soft overlong punishment of DAPO (arXiv 2503.14476, eq. 13); DeepSeek-R1 has none.

    Args:
        lengths: lengths of completions in tokens, any shape.
        max_length: the limit; longer completions get -1.
        buffer: the last tokens before the limit over which the penalty falls linearly from 0 to -1.

    Returns:
        Penalties in [-1, 0] of the same shape, float32 (float64 for float64 lengths).

    Raises:
        InputError: if ``buffer`` is not within 1 and ``max_length``.
    """
    if not 1 <= buffer <= max_length:
        raise InputError(f"buffer: {buffer} must be at least 1 and at most max_length ({max_length})")
    excess = lengths - (max_length - buffer)
    return -(excess.to(lengths.dtype if lengths.dtype == torch.float64 else torch.float32) / buffer).clamp(0.0, 1.0)
