"""Group advantages against plain Python, and what they promise about missing and equal rewards."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.errors import InputError
from r1lit.functional import group_advantages, rloo_advantages

NAN = float("nan")


def plain_advantages(rewards: list[float], groups: list[int], scale: str, eps: float) -> list[float]:
    scored = [r for r in rewards if not math.isnan(r)]
    result = []
    for reward, group in zip(rewards, groups, strict=True):
        mates = [r for r, g in zip(rewards, groups, strict=True) if g == group and not math.isnan(r)]
        if math.isnan(reward) or max(mates) - min(mates) < 1e-5:
            result.append(0.0)
            continue
        by = {"group": statistics.pstdev(mates) + eps, "batch": statistics.pstdev(scored) + eps, "none": 1.0}[scale]
        result.append((reward - statistics.fmean(mates)) / by)
    return result


rewards_and_groups = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 0.5, -2.0, 3.25, NAN]), st.integers(-2, 3)), min_size=0, max_size=24
)


@settings(max_examples=150, deadline=None)
@given(rows=rewards_and_groups, scale=st.sampled_from(["group", "none", "batch"]), eps=st.sampled_from([1e-6, 0.1]))
def test_equals_plain_reference(rows: list[tuple[float, int]], scale: str, eps: float) -> None:
    rewards, groups = [r for r, _ in rows], [g for _, g in rows]
    got = group_advantages(torch.tensor(rewards), torch.tensor(groups, dtype=torch.long), scale, eps)
    torch.testing.assert_close(got, torch.tensor(plain_advantages(rewards, groups, scale, eps)), rtol=1e-5, atol=1e-6)


def test_a_group_by_hand() -> None:
    """Two of four right: mean 0.5, population deviation 0.5, so +-1."""
    got = group_advantages(torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([7, 7, 7, 7]), eps=0.0)
    assert got.tolist() == [1.0, -1.0, -1.0, 1.0]


def test_unscored_changes_nothing_for_the_others() -> None:
    rewards, groups = torch.tensor([1.0, 0.0, 0.0, 2.0, 0.0]), torch.tensor([0, 0, 0, 1, 1])
    with_gap = torch.tensor([1.0, NAN, 0.0, 0.0, 2.0, NAN, 0.0, NAN])
    gap_groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    for function in (group_advantages, rloo_advantages):
        got = function(with_gap, gap_groups)
        assert got[torch.isnan(with_gap)].tolist() == [0.0, 0.0, 0.0]
        assert got[~torch.isnan(with_gap)].tolist() == function(rewards, groups).tolist()


def test_batch_scale_ignores_unscored() -> None:
    got = group_advantages(torch.tensor([1.0, 0.0, NAN, 4.0, 6.0]), torch.tensor([0, 0, 0, 1, 1]), "batch", eps=0.0)
    std = statistics.pstdev([1.0, 0.0, 4.0, 6.0])
    torch.testing.assert_close(got, torch.tensor([0.5, -0.5, 0.0, -1.0, 1.0]) / std)


@pytest.mark.parametrize("scale", ["group", "none", "batch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_give_exactly_zero_despite_rounding(scale: str, dtype: torch.dtype) -> None:
    """The same weighted sum in two orders differs in its last bit."""
    a, b, c = (torch.tensor(x, dtype=dtype) for x in (0.1, 0.2, 0.3))
    noisy = torch.stack([(a + b) + c, a + (b + c), (a + b) + c, c + b + a])
    rewards = torch.cat([noisy, 100 * noisy, torch.tensor([0.0, 1.0], dtype=dtype)])
    groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    if dtype == torch.float64:
        assert noisy.unique().numel() > 1
    for got in (group_advantages(rewards, groups, scale, eps=0.0), rloo_advantages(rewards, groups)):
        assert torch.all(got[:8] == 0)
        assert got[8] < 0 < got[9]


def test_every_float32_level_repeated_is_equal() -> None:
    levels = torch.rand(200, generator=torch.Generator().manual_seed(0)) * 10
    got = group_advantages(levels.repeat_interleave(7), torch.arange(200).repeat_interleave(7))
    assert torch.all(got == 0)


def test_small_but_real_differences_count() -> None:
    got = group_advantages(torch.tensor([0.5, 0.501]), torch.tensor([0, 0]))
    torch.testing.assert_close(got, torch.tensor([-1.0, 1.0]), rtol=5e-3, atol=0.0)


def test_order_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    rewards, groups = torch.rand(40, generator=generator), torch.randint(0, 7, (40,), generator=generator)
    order = torch.randperm(40, generator=generator)
    for function in (group_advantages, rloo_advantages):
        torch.testing.assert_close(function(rewards[order], groups[order]), function(rewards, groups)[order])


def test_rloo_is_reward_less_mean_of_the_others() -> None:
    rewards, groups = [1.0, 0.0, 0.5, 4.0, NAN, 2.0, 9.0], [0, 0, 0, 1, 1, 1, 2]
    expected = [1 - 0.25, 0 - 0.75, 0.5 - 0.5, 4.0 - 2.0, 0.0, 2.0 - 4.0, 0.0]
    torch.testing.assert_close(rloo_advantages(torch.tensor(rewards), torch.tensor(groups)), torch.tensor(expected))


def test_nothing_scored_and_integers() -> None:
    for scale in ("group", "none", "batch"):
        assert group_advantages(torch.tensor([NAN, NAN]), torch.tensor([0, 1]), scale).tolist() == [0.0, 0.0]
    got = group_advantages(torch.tensor([1, 0]), torch.tensor([0, 0]), eps=0.0)
    assert got.dtype == torch.float32
    assert got.tolist() == [1.0, -1.0]


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="scale: 'std'"):
        group_advantages(torch.tensor([1.0]), torch.tensor([0]), "std")
    with pytest.raises(InputError, match="row 1 is infinite"):
        rloo_advantages(torch.tensor([1.0, float("inf")]), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match=r"must both be \[N\]"):
        group_advantages(torch.tensor([1.0, 2.0]), torch.tensor([0]))
