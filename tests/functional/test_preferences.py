import math

import pytest
import torch

from r1lit.errors import InputError
from r1lit.functional.preferences import clustered_interval, pairwise_loss, pointwise_loss


def test_pairwise_loss_is_the_log_odds_of_the_chosen_reply():
    chosen, rejected = [2.0, -1.0, 0.5, 3.0], [1.0, 1.0, 0.5, -40.0]
    wanted = [math.log(1 + math.exp(r - c)) for c, r in zip(chosen, rejected, strict=True)]
    got = pairwise_loss(torch.tensor(chosen, dtype=torch.float64), torch.tensor(rejected, dtype=torch.float64))
    assert got.tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_pairwise_gradient_is_the_chance_of_being_wrong():
    chosen = torch.tensor([0.3, -2.0], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    pairwise_loss(chosen, rejected).sum().backward()
    wrong = [1 / (1 + math.exp(-0.3 + 1.0)), 1 / (1 + math.exp(-2.0))]
    wrong[0] = 1 - 1 / (1 + math.exp(-(0.3 - 1.0)))
    assert chosen.grad.tolist() == pytest.approx([-w for w in wrong])
    assert rejected.grad.tolist() == pytest.approx(wrong)


def test_pairwise_loss_is_finite_and_only_differences_count():
    far = pairwise_loss(torch.tensor([-500.0]), torch.tensor([500.0]))
    assert far.tolist() == [1000.0]
    scores = torch.randn(2, 5, dtype=torch.float64)
    assert torch.allclose(pairwise_loss(scores[0] + 7, scores[1] + 7), pairwise_loss(scores[0], scores[1]))


def test_pointwise_loss_is_the_cross_entropy_of_safe():
    scores, safe = [2.0, -1.0, 0.0], [True, True, False]
    chances = [1 / (1 + math.exp(-s)) for s in scores]
    wanted = [-math.log(p if is_safe else 1 - p) for p, is_safe in zip(chances, safe, strict=True)]
    got = pointwise_loss(torch.tensor(scores, dtype=torch.float64), torch.tensor(safe))
    assert got.tolist() == pytest.approx(wanted, rel=1e-12)
    assert pointwise_loss(torch.tensor([-300.0]), torch.tensor([True])).tolist() == [300.0]


def mean_of(values):
    data = torch.tensor(values, dtype=torch.float64)
    return lambda rows: float(data[rows].mean())


def test_interval_widens_where_rows_share_prompts():
    values = [float(i % 2) for i in range(20) for _ in range(10)]
    alone = clustered_interval(mean_of(values), list(range(200)))
    shared = clustered_interval(mean_of(values), [i // 10 for i in range(200)])
    assert alone["value"] == shared["value"] == 0.5
    assert (alone["n"], shared["n"]) == (200, 20)
    assert 2.5 < (shared["high"] - shared["low"]) / (alone["high"] - alone["low"]) < 4  # the square root of 10


def test_interval_covers_about_as_often_as_it_says():
    held = 0
    for seed in range(100):
        values = (torch.rand(60, generator=torch.Generator().manual_seed(seed)) < 0.7).double().tolist()
        interval = clustered_interval(mean_of(values), list(range(60)), resamples=200)
        held += interval["low"] <= 0.7 <= interval["high"]
    assert 85 <= held <= 100


def test_undefined_statistics():
    nothing = clustered_interval(lambda rows: float("nan"), ["a", "b"])
    assert math.isnan(nothing["value"])
    assert nothing["n"] == 2
    some = clustered_interval(lambda rows: float("nan") if (rows == 0).all() else 1.0, ["a", "b"], resamples=50)
    assert (some["low"], some["value"], some["high"]) == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="no row"):
        clustered_interval(lambda rows: 0.0, [])
