"""Penalties for completions at the length limit."""

import pytest
import torch

from r1lit.errors import InputError
from r1lit.functional import overlong_penalty


def test_penalty_is_the_piecewise_formula() -> None:
    lengths = list(range(31))
    got = overlong_penalty(torch.tensor(lengths), max_length=20, buffer=8)
    expected = [0.0 if x <= 12 else (12 - x) / 8 if x <= 20 else -1.0 for x in lengths]
    torch.testing.assert_close(got, torch.tensor(expected))
    assert got[12] == 0
    assert got[20] == -1


def test_penalty_keeps_float64_and_takes_the_whole_length_as_buffer() -> None:
    got = overlong_penalty(torch.tensor([[0.0, 5.0]], dtype=torch.float64), max_length=10, buffer=10)
    assert got.dtype == torch.float64
    assert got.tolist() == [[0.0, -0.5]]


@pytest.mark.parametrize("buffer", [0, -1, 11])
def test_buffer_out_of_range(buffer: int) -> None:
    with pytest.raises(InputError, match=f"buffer: {buffer}"):
        overlong_penalty(torch.tensor([1]), max_length=10, buffer=buffer)
