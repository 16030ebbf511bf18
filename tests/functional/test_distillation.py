"""Divergences against their definitions in float64, with gradients, chunk by chunk and over the likeliest tokens."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from r1lit.errors import InputError
from r1lit.functional.distillation import TeacherStates, TeacherTop, chunked_divergence, divergence_from_logits

KINDS = ["reverse", "forward", "jensen_shannon"]


def make(n: int = 9, h: int = 5, v: int = 13) -> tuple[Tensor, nn.Linear, TeacherStates, nn.Linear]:
    torch.manual_seed(0)
    head, other = nn.Linear(h, v).double(), nn.Linear(h + 2, v).double()
    hidden = torch.randn(n, h, dtype=torch.float64, requires_grad=True)
    return hidden, head, TeacherStates(torch.randn(n, h + 2, dtype=torch.float64) * 2, other), other


def plain_one(p: list[Tensor], q: list[Tensor], kind: str, beta: float) -> Tensor:
    """From probabilities, outcome by outcome."""
    total = torch.zeros((), dtype=torch.float64)
    for a, b in zip(p, q, strict=True):
        if kind == "reverse":
            total = total + b * (b / a).log()
        elif kind == "forward":
            total = total + a * (a / b).log()
        else:
            m = beta * a + (1 - beta) * b
            total = total + beta * a * (a / m).log() + (1 - beta) * b * (b / m).log()
    return total


def plain(student: Tensor, teacher: Tensor, kind: str, beta: float, temperature: float, top_k: int | None) -> Tensor:
    found = []
    for x, y in zip(student, teacher, strict=True):
        q, p = ((z / temperature).exp() for z in (x, y))
        q, p = q / q.sum(), p / p.sum()
        order = sorted(range(len(p)), key=lambda i: -float(p[i]))
        kept = order if top_k is None else order[:top_k]
        outcomes = [[d[i] for i in kept] for d in (p, q)]
        if top_k is not None:
            for outcome, d in zip(outcomes, (p, q), strict=True):
                outcome.append(torch.stack([d[i] for i in order[top_k:]]).sum())
        found.append(plain_one(*outcomes, kind, beta))
    return torch.stack(found)


@pytest.mark.parametrize("top_k", [None, 1, 4])
@pytest.mark.parametrize(("kind", "beta"), [("reverse", 0.5), ("forward", 0.5), ("jensen_shannon", 0.2)])
@pytest.mark.parametrize(("temperature", "chunk_size"), [(1.0, 4), (0.6, 1), (1.7, 100)])
def test_values_and_gradients_equal_the_plain_ones(kind, beta, temperature, chunk_size, top_k):
    hidden, head, teacher, other = make()
    weight = torch.randn(9, dtype=torch.float64)
    wanted = plain(head(hidden), other(teacher.hidden).detach(), kind, beta, temperature, top_k)
    got = chunked_divergence(hidden, head, teacher, kind, beta, top_k, temperature, chunk_size=chunk_size)
    torch.testing.assert_close(got, wanted)
    leaves = [hidden, head.weight, head.bias]
    grads = [torch.autograd.grad((weight * value).sum(), leaves) for value in (wanted, got)]
    torch.testing.assert_close(*grads)
    assert all(bool(grad.abs().max() > 1e-3) for grad in grads[0])


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    torch.manual_seed(1)
    student = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: divergence_from_logits(x, teacher, kind, 0.3, 0.8), (student,))


def test_known_values():
    """q = (1/2, 1/2) against p = (3/4, 1/4), by hand."""
    q, p = torch.tensor([[0.5, 0.5]]).double().log(), torch.tensor([[0.75, 0.25]]).double().log()
    assert float(divergence_from_logits(q, p, "reverse")) == pytest.approx(0.5 * math.log(4 / 3))
    assert float(divergence_from_logits(q, p, "forward")) == pytest.approx(0.75 * math.log(1.5) - 0.25 * math.log(2))
    middle = 0.5 * (0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3)) + 0.5 * (0.5 * math.log(4 / 5 * 4 / 3))
    assert float(divergence_from_logits(q, p, "jensen_shannon")) == pytest.approx(middle)


@pytest.mark.parametrize("kind", KINDS)
def test_no_divergence_from_oneself_and_never_a_negative_one(kind):
    torch.manual_seed(2)
    logits = torch.randn(50, 30) * 5
    assert divergence_from_logits(logits, logits, kind).abs().max() < 1e-5
    others = divergence_from_logits(logits, torch.randn(50, 30) * 5, kind)
    assert bool((others > 0.1).all())
    if kind == "jensen_shannon":
        assert bool((others < math.log(2)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_likeliest_tokens_never_diverge_more_than_all(kind):
    hidden, head, teacher, _ = make(40, 5, 30)
    values = [chunked_divergence(hidden, head, teacher, kind, top_k=k) for k in (1, 3, 10, 29, None)]
    for few, more in itertools.pairwise(values):
        assert bool((few <= more + 1e-12).all())
    torch.testing.assert_close(values[-2], values[-1])
    assert float(values[0].sum()) < 0.9 * float(values[-1].sum())


def test_a_student_whose_mass_lies_outside_the_likeliest_tokens_is_told_so():
    """The rest is an outcome too: dropping it would leave this student without a gradient towards the teacher."""
    teacher = torch.tensor([[5.0, 4.0, 0.0, 0.0]])
    student = torch.tensor([[1.0, 0.0, 9.0, 0.0]], requires_grad=True)
    eye = torch.eye(4)
    value = chunked_divergence(student, lambda x: x @ eye, TeacherStates(teacher, lambda x: x), "reverse", top_k=2)
    assert float(value) > 2
    value.sum().backward()
    assert float(student.grad[0, 2]) > 0 > float(student.grad[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_told_logprobs_equal_states_with_as_many_tokens(kind):
    hidden, head, teacher, other = make(7, 5, 20)
    logprobs = other(teacher.hidden).detach().log_softmax(-1)
    top = logprobs.topk(4)
    wanted = chunked_divergence(hidden, head, teacher, kind, top_k=4)
    got = chunked_divergence(hidden, head, TeacherTop(top.indices, top.values), kind, chunk_size=3)
    torch.testing.assert_close(got, wanted)
    grads = [torch.autograd.grad(value.sum(), [hidden, head.weight]) for value in (wanted, got)]
    torch.testing.assert_close(*grads)


def test_told_logprobs_that_round_to_more_than_everything():
    hidden, head, _, _ = make(1)
    top = TeacherTop(torch.tensor([[3, 1]]), torch.tensor([[-0.1, -2.0]]))
    value = chunked_divergence(hidden, head, top, "reverse")
    value.sum().backward()
    assert bool(value.isfinite().all())
    assert bool(hidden.grad.isfinite().all())


def test_padded_heads_are_cut_to_the_vocabulary():
    hidden, head, teacher, other = make()
    torch.manual_seed(3)
    wide, wider = nn.Linear(5, 16).double(), nn.Linear(7, 20).double()
    with torch.no_grad():
        for big, small in ((wide, head), (wider, other)):
            big.weight[:13], big.bias[:13] = small.weight, small.bias
    wanted = chunked_divergence(hidden, head, teacher)
    got = chunked_divergence(hidden, wide, teacher._replace(head=wider), vocabulary=13)
    torch.testing.assert_close(got, wanted)
    with pytest.raises(ValueError, match=r"\(4, 16\), teacher's \(4, 20\)"):
        chunked_divergence(hidden, wide, teacher._replace(head=wider), chunk_size=4)


def test_the_teacher_takes_no_gradient():
    hidden, head, teacher, other = make()
    teacher.hidden.requires_grad_(True)
    chunked_divergence(hidden, head, teacher, chunk_size=4).sum().backward()
    assert teacher.hidden.grad is None
    assert other.weight.grad is None
    assert head.weight.grad is not None


def test_logits_of_all_positions_never_exist_at_once():
    n, chunk, v = 64, 8, 100
    hidden, head, teacher, _ = make(n, 4, v)
    sizes, saved = [], []

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return head(x)

    def keep(x: Tensor) -> Tensor:
        saved.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        value = chunked_divergence(hidden, watched, teacher, chunk_size=chunk)
    assert sizes == [chunk] * (n // chunk)
    assert sum(size >= chunk * v for size in saved) <= 4
    value.sum().backward()
    assert max(sizes) == chunk
    assert len(sizes) == 2 * n // chunk - 1


def test_no_positions():
    hidden, head, teacher, _ = make()
    value = chunked_divergence(hidden[:0], head, TeacherStates(teacher.hidden[:0], teacher.head))
    assert value.shape == (0,)
    value.sum().backward()
    assert torch.all(head.weight.grad == 0)


def test_half_precision_is_summed_in_float32():
    torch.manual_seed(4)
    student, teacher = torch.randn(8, 4000).bfloat16(), torch.randn(8, 4000).bfloat16()
    got = divergence_from_logits(student, teacher)
    assert got.dtype == torch.float32
    wanted = divergence_from_logits(student.double(), teacher.double())
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "sideways"}, "kind: 'sideways' must be one of reverse, forward, jensen_shannon"),
        ({"beta": 1.0}, "beta: 1.0 must be between 0 and 1"),
        ({"top_k": 0}, "top_k: 0 must be at least 1"),
        ({"temperature": 0.0}, "temperature: 0.0 must be above 0"),
        ({"chunk_size": 0}, "chunk_size: 0 must be at least 1"),
    ],
)
def test_bad_settings(settings, message):
    hidden, head, teacher, _ = make()
    with pytest.raises(InputError, match=message):
        chunked_divergence(hidden, head, teacher, **settings)


def test_a_served_teacher_knows_one_temperature():
    hidden, head, _, _ = make(1)
    top = TeacherTop(torch.tensor([[3, 1]]), torch.tensor([[-0.5, -2.0]]))
    with pytest.raises(InputError, match=r"temperature: 0.6, but log-probabilities"):
        chunked_divergence(hidden, head, top, temperature=0.6)


def test_positions_must_be_as_many():
    hidden, head, teacher, _ = make()
    with pytest.raises(ValueError, match="teacher has 8 positions, the student 9"):
        chunked_divergence(hidden, head, teacher._replace(hidden=teacher.hidden[1:]))
