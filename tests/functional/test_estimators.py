"""Estimators against enumeration and simulation."""

import itertools
import statistics
from collections.abc import Hashable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.errors import InputError
from r1lit.functional import bootstrap_interval, cons_at_k, estimators, pass_at_k


def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample() -> None:
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
                assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_for_many_samples() -> None:
    assert pass_at_k(1000, 250, 1) == pytest.approx(0.25)
    assert pass_at_k(2000, 1, 1000) == pytest.approx(0.5)
    assert pass_at_k(64, 0, 64) == 0
    assert pass_at_k(64, 1, 64) == 1


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0), (0, 0, 0)])
def test_pass_at_k_out_of_range(n: int, c: int, k: int) -> None:
    with pytest.raises(InputError, match="pass@"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(
    ("answers", "correct", "expected"),
    [
        (["7", "7", "3"], [1, 1, 0], 1.0),
        (["7", "3", "3"], [1, 0, 0], 0.0),
        (["7", "3"], [1, 0], 0.5),
        (["7", "3", "4"], [1, 0, 0], 1 / 3),
        (["7", "3", "7", "3", "4"], [1, 0, 1, 0, 0], 0.5),
        ([None, None, "7"], [0, 0, 1], 1.0),
        ([None, None], [0, 0], 0.0),
        (["a", "a"], [1, 0], 0.5),
    ],
)
def test_cons_by_hand(answers: list[Hashable | None], correct: list[float], expected: float) -> None:
    assert cons_at_k(answers, correct) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(answers=st.lists(st.sampled_from(["7", "3", "4", None]), min_size=1, max_size=7), seed=st.integers(0, 99))
def test_cons_is_the_mean_over_random_tie_breaks_in_any_order(answers: list[str | None], seed: int) -> None:
    correct = [float(answer == "7") for answer in answers]
    voted = [answer for answer in answers if answer is not None]
    winners = statistics.multimode(voted)
    expected = statistics.fmean(answer == "7" for answer in winners) if winners else 0.0
    order = torch.randperm(len(answers), generator=torch.Generator().manual_seed(seed)).tolist()
    assert cons_at_k([answers[i] for i in order], [correct[i] for i in order]) == pytest.approx(expected)


def test_cons_bad_lists() -> None:
    for answers, correct in (([], []), (["7"], [1, 0])):
        with pytest.raises(InputError, match="cons@k"):
            cons_at_k(answers, correct)


def test_interval_has_the_width_of_theory() -> None:
    """For a mean of 400 values the percentile interval is close to +-1.96 standard errors."""
    values = torch.randn(400, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    got = bootstrap_interval(values.tolist(), seed=1)
    error = values.std(correction=0).item() / 20
    assert got["value"] == pytest.approx(values.mean().item())
    assert got["n"] == 400
    assert got["low"] == pytest.approx(got["value"] - 1.96 * error, abs=0.2 * error)
    assert got["high"] == pytest.approx(got["value"] + 1.96 * error, abs=0.2 * error)
    narrow = bootstrap_interval(values.tolist(), seed=1, level=0.5)
    assert narrow["high"] - narrow["low"] == pytest.approx(2 * 0.674 * error, rel=0.15)


def test_interval_covers_as_it_says() -> None:
    """Of 300 intervals for a coin with p = 0.3 about 95 % hold 0.3: the binomial 0.1 % bounds are 272 and 296."""
    coins = torch.rand(300, 60, generator=torch.Generator().manual_seed(5)) < 0.3
    held = 0
    for i, row in enumerate(coins.double().tolist()):
        got = bootstrap_interval(row, seed=i, resamples=400)
        held += got["low"] <= 0.3 <= got["high"]
    assert 270 <= held <= 297


def test_interval_is_reproducible_and_depends_on_the_seed() -> None:
    values = [0.1, 0.4, 0.9, 0.3, 0.7]
    assert bootstrap_interval(values, 1, resamples=50) == bootstrap_interval(values, 1, resamples=50)
    assert bootstrap_interval(values, 1, resamples=50) != bootstrap_interval(values, 2, resamples=50)


def test_interval_does_not_depend_on_the_blocks_it_is_drawn_in(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.1, 0.4, 0.9, 0.3, 0.7]
    whole = bootstrap_interval(values, 4, resamples=101)
    monkeypatch.setattr(estimators, "_RESAMPLED_AT_ONCE", 35)
    assert bootstrap_interval(values, 4, resamples=101) == whole


def test_interval_of_equal_values_is_a_point() -> None:
    assert bootstrap_interval([0.1] * 7) == {
        "value": pytest.approx(0.1),
        "low": pytest.approx(0.1),
        "high": pytest.approx(0.1),
        "n": 7,
    }
    got = bootstrap_interval([0.1, 0.2, 0.3] * 11, resamples=1)
    assert got["low"] <= got["value"] <= got["high"]


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_interval_of_nothing(values: list[float]) -> None:
    with pytest.raises(InputError, match="bootstrap"):
        bootstrap_interval(values)
