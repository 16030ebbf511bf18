"""Chunked log-probabilities against the whole matrix of logits, with gradients and memory."""

import math

import pytest
import torch
from torch import Tensor, nn

from r1lit.errors import InputError
from r1lit.functional import chunked_logprobs, entropy_from_logits, logprobs_from_logits


def make(n: int = 11, h: int = 5, v: int = 13, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, nn.Linear]:
    torch.manual_seed(0)
    hidden = torch.randn(n, h, dtype=dtype, requires_grad=True)
    return hidden, torch.randint(v, (n,)), nn.Linear(h, v).to(dtype)


def plain(hidden: Tensor, targets: Tensor, head: nn.Linear, temperature: float) -> tuple[Tensor, Tensor]:
    """Token by token, from the definition of softmax."""
    logprobs, entropies = [], []
    for row, target in zip(hidden, targets, strict=True):
        weights = (head(row) / temperature).exp()
        p = weights / weights.sum()
        logprobs.append(p[target].log())
        entropies.append(-(p * p.log()).sum())
    return torch.stack(logprobs), torch.stack(entropies)


@pytest.mark.parametrize("chunk_size", [1, 4, 11, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients_equal_the_plain_ones(chunk_size: int, temperature: float) -> None:
    hidden, targets, head = make()
    weight = torch.randn(2, 11, dtype=torch.float64)
    leaves = [hidden, head.weight, head.bias]
    expected = plain(hidden, targets, head, temperature)
    got = chunked_logprobs(hidden, targets, head, temperature, chunk_size, with_entropy=True)
    torch.testing.assert_close(got, expected)
    grads = [
        torch.autograd.grad((weight[0] * logprobs).sum() + (weight[1] * entropy).sum(), leaves)
        for logprobs, entropy in (expected, got)
    ]
    torch.testing.assert_close(grads[0], grads[1])


def test_gradcheck_through_hidden_and_head() -> None:
    hidden, targets, _ = make(5, 3, 4)
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def value(h: Tensor, w: Tensor) -> Tensor:
        return chunked_logprobs(h, targets, lambda x: x @ w.T, 0.7, 2)[0]

    assert torch.autograd.gradcheck(value, (hidden, weight))


def test_tokens_that_cannot_come_take_no_gradient() -> None:
    hidden, targets, head = make()
    barred = torch.zeros(13, dtype=torch.float64).index_fill(0, (targets[:1] + 1) % 13, -math.inf)
    leaves = (hidden, head.weight)

    def gradients(logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, ...]:
        allowed = ~barred[targets].isinf()
        return torch.autograd.grad((logprobs + 0.3 * entropy)[allowed].sum(), leaves)

    logits = head(hidden) + barred
    wanted = gradients(logprobs_from_logits(logits, targets), entropy_from_logits(logits))
    got = gradients(*chunked_logprobs(hidden, targets, lambda x: head(x) + barred, 1.0, 4, True))
    torch.testing.assert_close(got, wanted)
    assert all(gradient.isfinite().all() for gradient in got)


def test_without_entropy_and_without_gradient() -> None:
    hidden, targets, head = make()
    expected, entropy = chunked_logprobs(hidden, targets, head, with_entropy=True)
    with torch.no_grad():
        got, none = chunked_logprobs(hidden, targets, head, chunk_size=3)
    assert none is None
    assert not got.requires_grad
    torch.testing.assert_close(got, expected.detach())
    assert entropy is not None


def test_no_positions() -> None:
    hidden, targets, head = make()
    logprobs, entropy = chunked_logprobs(hidden[:0], targets[:0], head, with_entropy=True)
    assert logprobs.shape == entropy.shape == (0,)
    logprobs.sum().backward()
    assert torch.all(head.weight.grad == 0)


def test_precision() -> None:
    """Half-precision logits are summed in float32; float64 stays."""
    hidden, targets, head = make(64, 8, 4000)
    half = head.bfloat16()
    x = hidden.detach().bfloat16()
    logprobs, entropy = chunked_logprobs(x, targets, half, temperature=0.7, with_entropy=True)
    assert logprobs.dtype == entropy.dtype == torch.float32
    exact = (half(x).double() / 0.7).log_softmax(-1)
    torch.testing.assert_close(logprobs.double(), exact.gather(1, targets[:, None])[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy.double(), -(exact.exp() * exact).sum(-1), rtol=1e-5, atol=1e-5)
    assert logprobs_from_logits(torch.zeros(2, 3, dtype=torch.float64), torch.tensor([0, 1])).dtype == torch.float64


def test_logits_of_all_positions_never_exist_at_once() -> None:
    """No call of the head sees more than a chunk, and the logits of one chunk alone are kept for the backward pass."""
    n, h, v, chunk = 64, 4, 100, 8
    hidden, targets, head = make(n, h, v)
    sizes, saved = [], []

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return head(x)

    def keep(x: Tensor) -> Tensor:
        saved.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        logprobs, _ = chunked_logprobs(hidden, targets, watched, chunk_size=chunk, with_entropy=True)
    assert sizes == [chunk] * (n // chunk)
    assert saved.count(chunk * v) == 1
    assert max(saved) == chunk * v
    logprobs.sum().backward()
    assert sizes == [chunk] * (2 * n // chunk - 1)


def test_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, -math.inf, -math.inf], [50.0, -50.0, -50.0, -50.0]], requires_grad=True)
    entropy = entropy_from_logits(logits)
    torch.testing.assert_close(entropy, torch.tensor([math.log(2.0), 0.0]))
    entropy.sum().backward()
    assert torch.all(torch.isfinite(logits.grad))
    flatter = entropy_from_logits(torch.tensor([0.0, 1.0]), temperature=5.0)
    assert entropy_from_logits(torch.tensor([0.0, 1.0])) < flatter < math.log(2.0)


def test_logprobs_from_logits_keeps_leading_shape() -> None:
    logits = torch.randn(2, 3, 5, dtype=torch.float64)
    targets = torch.randint(5, (2, 3))
    got = logprobs_from_logits(logits, targets, temperature=0.5)
    for i in range(2):
        for j in range(3):
            row = [math.exp(2 * x) for x in logits[i, j].tolist()]
            assert got[i, j].item() == pytest.approx(math.log(row[targets[i, j]] / sum(row)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_bad_settings_are_named(temperature: float) -> None:
    hidden, targets, head = make()
    with pytest.raises(InputError, match="temperature"):
        chunked_logprobs(hidden, targets, head, temperature)
    with pytest.raises(InputError, match="temperature"):
        entropy_from_logits(head(hidden), temperature)
    with pytest.raises(InputError, match="temperature"):
        logprobs_from_logits(head(hidden), targets, temperature)
    with pytest.raises(InputError, match="chunk_size"):
        chunked_logprobs(hidden, targets, head, chunk_size=0)
