"""Losses against a reference of plain Python loops in float64, and the properties they promise."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from r1lit.errors import InputError
from r1lit.functional import cispo_loss, grpo_loss, gspo_loss, k3_kl, loss_normalizer, reinforce_loss
from r1lit.functional.losses import LOG_RATIO_BOUND

LOSSES = {"grpo": grpo_loss, "gspo": gspo_loss, "cispo": cispo_loss, "reinforce": reinforce_loss}
AGGREGATIONS = ("sequence", "token", "constant")
MAX_LENGTH = 9


def make_batch(seed: int = 0, rows: int = 6, length: int = 7, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Random completions of random lengths; the last row is masked throughout where there are several."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    lengths = torch.randint(1, length + 1, (rows,), generator=generator)
    mask = torch.arange(length)[None] < lengths[:, None]
    if rows > 1:
        mask[-1] = False
    logprobs = -draw(rows, length).abs() - 0.1
    return {
        "logprobs": logprobs,
        "old_logprobs": logprobs + 0.4 * draw(rows, length),
        "advantages": draw(rows),
        "mask": mask,
        "ref_logprobs": logprobs + 0.5 * draw(rows, length),
    }


def reference(name: str, batch: dict[str, Tensor], clip_low: float, clip_high: float, beta: float, agg: str) -> float:
    """The loss by scalar arithmetic, written from the papers' formulas, all of the minibatch at once."""
    rows, tokens, completions = [], 0, 0
    for b in range(len(batch["advantages"])):
        positions = [t for t in range(batch["mask"].shape[1]) if batch["mask"][b, t]]
        if not positions:
            continue
        completions += 1
        tokens += len(positions)
        adv = float(batch["advantages"][b])
        logs = {t: float(batch["logprobs"][b, t] - batch["old_logprobs"][b, t]) for t in positions}
        whole = math.exp(sum(logs.values()) / len(logs))
        terms = []
        for t in positions:
            lp, ref = float(batch["logprobs"][b, t]), float(batch["ref_logprobs"][b, t])
            ratio = whole if name == "gspo" else math.exp(logs[t])
            clipped = min(max(ratio, 1 - clip_low), 1 + clip_high)
            gain = {"cispo": clipped * adv * lp, "reinforce": adv * lp}.get(name, min(ratio * adv, clipped * adv))
            terms.append(gain - beta * (math.exp(ref - lp) - (ref - lp) - 1))
        rows.append(sum(terms) / len(terms) if agg == "sequence" else sum(terms))
    return -sum(rows) / {"sequence": completions, "token": tokens, "constant": completions * MAX_LENGTH}[agg]


def settings_for(name: str, clip_low: float = 0.2, clip_high: float = 0.3) -> dict[str, float]:
    return {} if name == "reinforce" else {"clip_low": clip_low, "clip_high": clip_high}


@pytest.mark.parametrize("agg", AGGREGATIONS)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_equals_plain_reference(name: str, agg: str, beta: float) -> None:
    for seed in range(5):
        batch = make_batch(seed)
        normalizer = loss_normalizer(batch["mask"], agg, MAX_LENGTH)
        out = LOSSES[name](**batch, normalizer=normalizer, beta=beta, aggregation=agg, **settings_for(name))
        torch.testing.assert_close(out.loss.item(), reference(name, batch, 0.2, 0.3, beta, agg), rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 8),
    cuts=st.lists(st.integers(0, 8), max_size=4),
    name=st.sampled_from(list(LOSSES)),
    agg=st.sampled_from(AGGREGATIONS),
)
def test_micro_batches_add_up(seed: int, rows: int, cuts: list[int], name: str, agg: str) -> None:
    batch = make_batch(seed, rows)
    loss = partial(LOSSES[name], beta=0.1, aggregation=agg, **settings_for(name))
    normalizer = loss_normalizer(batch["mask"], agg, MAX_LENGTH)

    whole_leaf = batch["logprobs"].clone().requires_grad_()
    whole = loss(**(batch | {"logprobs": whole_leaf}), normalizer=normalizer)
    whole.loss.backward()

    bounds = sorted({0, rows, *(min(cut, rows) for cut in cuts)})
    leaf = batch["logprobs"].clone().requires_grad_()
    parts, counted = [], 0
    for start, stop in pairwise(bounds):
        piece = {key: value[start:stop] for key, value in (batch | {"logprobs": leaf}).items()}
        counted = counted + loss_normalizer(piece["mask"], agg, MAX_LENGTH)
        parts.append(loss(**piece, normalizer=normalizer))
        parts[-1].loss.backward()

    assert int(counted) == int(normalizer)
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss)
    torch.testing.assert_close(leaf.grad, whole_leaf.grad)
    for key, value in whole.metrics.items():
        torch.testing.assert_close(sum(part.metrics[key] for part in parts), value)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_gradient_equals_finite_differences(name: str, agg: str) -> None:
    batch = make_batch(3)
    normalizer = loss_normalizer(batch["mask"], agg, MAX_LENGTH)
    # CISPO's weight is a constant for the gradient, so there the clamp is made to fix it.
    clip = {"clip_low": 0.0, "clip_high": 0.0} if name == "cispo" else settings_for(name)

    def value(logprobs: Tensor) -> Tensor:
        changed = batch | {"logprobs": logprobs}
        return LOSSES[name](**changed, normalizer=normalizer, beta=0.3, aggregation=agg, **clip).loss

    assert torch.autograd.gradcheck(value, batch["logprobs"].clone().requires_grad_())


def test_cispo_gradient_is_the_clipped_ratio() -> None:
    lp = torch.tensor([[-1.0, -1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    old = lp.detach() - torch.tensor([[0.0, math.log(3.0), math.log(0.5)]], dtype=torch.float64)
    mask = torch.ones(1, 3, dtype=torch.bool)
    out = cispo_loss(lp, old, torch.tensor([2.0]), mask, normalizer=1, clip_high=1.0)
    out.loss.backward()
    torch.testing.assert_close(lp.grad, -2.0 * torch.tensor([[1.0, 2.0, 0.5]], dtype=torch.float64))
    assert out.metrics["clip_fraction_high"] == 1
    assert out.metrics["clip_fraction_low"] == 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_on_policy_gradient_is_that_of_reinforce(name: str, agg: str) -> None:
    batch = make_batch(1)
    normalizer = loss_normalizer(batch["mask"], agg, MAX_LENGTH)
    grads = []
    for loss in (LOSSES[name], reinforce_loss):
        leaf = batch["logprobs"].clone().requires_grad_()
        same = batch | {"logprobs": leaf, "old_logprobs": batch["logprobs"]}
        out = loss(**same, normalizer=normalizer, aggregation=agg)
        out.loss.backward()
        grads.append(leaf.grad)
        torch.testing.assert_close(out.metrics["ratio_mean"], out.metrics["weight"], rtol=0, atol=0)
    if name == "gspo":  # the ratio of the sequence spreads its gradient evenly, which here is the same
        torch.testing.assert_close(*grads)
    else:
        torch.testing.assert_close(*grads, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("agg", AGGREGATIONS)
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -float("inf")])
def test_padding_is_never_looked_at(name: str, agg: str, junk: float) -> None:
    batch = make_batch(2)
    normalizer = loss_normalizer(batch["mask"], agg, MAX_LENGTH)
    results = []
    for filler in (0.0, junk):
        filled = {k: v.masked_fill(~batch["mask"], filler) if v.ndim == 2 else v for k, v in batch.items()}
        filled["mask"] = batch["mask"]
        filled["advantages"] = batch["advantages"].masked_fill(~batch["mask"].any(1), filler)
        leaf = filled["logprobs"].requires_grad_()
        out = LOSSES[name](**(filled | {"logprobs": leaf}), normalizer=normalizer, beta=0.1, aggregation=agg)
        out.loss.backward()
        results.append((out.loss.detach(), leaf.grad, out.metrics))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert torch.all(results[1][1][~batch["mask"]] == 0)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_all_masked_is_exactly_zero(name: str, agg: str) -> None:
    batch = make_batch(2)
    batch["mask"] = torch.zeros_like(batch["mask"])
    leaf = batch["logprobs"].requires_grad_()
    normalizer = loss_normalizer(batch["mask"], agg, MAX_LENGTH)
    out = LOSSES[name](**batch, normalizer=normalizer, beta=0.1, aggregation=agg)
    out.loss.backward()
    assert out.loss == 0
    assert all(value == 0 for value in out.metrics.values())
    assert torch.all(leaf.grad == 0)


def test_masked_rows_leave_the_mean_to_the_others() -> None:
    batch = make_batch(4)  # its last row is masked
    kept = {key: value[:-1] for key, value in batch.items()}
    losses = [grpo_loss(**b, normalizer=loss_normalizer(b["mask"], "sequence")).loss for b in (batch, kept)]
    torch.testing.assert_close(losses[0], losses[1])


def test_clipping_takes_the_gradient_where_it_should() -> None:
    """Ratios 2, 1 and 0.5 with both signs: only up with A > 0 and down with A < 0 are cut, and counted."""
    ratio = torch.tensor([2.0, 2.0, 2.0, 0.5, 0.5, 0.5, 0.5, 1.0], dtype=torch.float64)[:, None]
    adv = torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    lp = torch.full((8, 1), -2.0, dtype=torch.float64, requires_grad=True)
    out = grpo_loss(lp, lp.detach() - ratio.log(), adv, torch.ones(8, 1, dtype=torch.bool), normalizer=8)
    out.loss.backward()
    expected = torch.tensor([0.0, 0.0, 2.0, -0.5, -0.5, -0.5, 0.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(lp.grad[:, 0] * 8, expected)
    assert out.metrics["clip_fraction"] == 3 / 8
    assert out.metrics["clip_fraction_low"] == 1 / 8
    assert out.metrics["clip_fraction_high"] == 2 / 8
    torch.testing.assert_close(out.metrics["ratio_mean"].item(), 9 / 8)
    assert not any(value.requires_grad for value in out.metrics.values())


def test_the_papers_clip_range_never_binds_below_and_caps_at_eleven() -> None:
    lp = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-math.log(12.0), -math.log(1e-6)]], dtype=torch.float64)
    mask = torch.ones(1, 2, dtype=torch.bool)
    for sign, gradient in ((1.0, [0.0, -1e-6 / 2]), (-1.0, [12 / 2, 1e-6 / 2])):
        lp.grad = None
        out = grpo_loss(lp, old, torch.tensor([sign]), mask, normalizer=1, clip_low=10, clip_high=10)
        out.loss.backward()
        torch.testing.assert_close(lp.grad, torch.tensor([gradient], dtype=torch.float64))
        assert out.metrics["clip_fraction_low"] == 0
    assert out.loss == (12 + 1e-6) / 2


def test_token_aggregation_weighs_long_completions_more() -> None:
    mask = torch.tensor([[True, False, False], [True, True, True]])
    lp = torch.zeros(2, 3)
    adv = torch.tensor([1.0, 0.0])
    by = {
        agg: grpo_loss(lp, lp, adv, mask, normalizer=loss_normalizer(mask, agg, 4), aggregation=agg)
        for agg in AGGREGATIONS
    }
    assert by["sequence"].loss == -1 / 2
    assert by["token"].loss == -1 / 4
    assert by["constant"].loss == -1 / 8
    assert by["sequence"].metrics["weight"] == by["token"].metrics["weight"] == 1
    assert by["constant"].metrics["ratio_mean"] / by["constant"].metrics["weight"] == 1


def test_k3_is_an_unbiased_estimate_of_kl() -> None:
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    ref = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64).log()
    estimate = k3_kl(policy, ref)
    assert torch.all(estimate >= 0)
    torch.testing.assert_close((policy.exp() * estimate).sum(), (policy.exp() * (policy - ref)).sum())
    assert torch.all(k3_kl(policy, policy) == 0)


def test_kl_pulls_towards_the_reference() -> None:
    lp = torch.tensor([[-1.0, -3.0]], requires_grad=True)
    ref = torch.tensor([[-2.0, -2.0]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    out = grpo_loss(lp, lp.detach(), torch.zeros(1), mask, normalizer=1, ref_logprobs=ref, beta=0.5)
    out.loss.backward()
    assert lp.grad[0, 0] > 0 > lp.grad[0, 1]  # descending lowers what is above the reference
    assert ref.grad is None
    torch.testing.assert_close(out.loss, 0.5 * out.metrics["kl"])


def test_kl_is_measured_without_beta_and_absent_without_reference() -> None:
    batch = make_batch(5)
    with_ref = grpo_loss(**batch, normalizer=5)
    del batch["ref_logprobs"]
    without = grpo_loss(**batch, normalizer=5)
    assert with_ref.metrics["kl"] > 0
    assert "kl" not in without.metrics
    assert with_ref.loss == without.loss


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_extreme_ratios_stay_finite(name: str) -> None:
    lp = torch.tensor([[-1e4, 0.0], [0.0, -1e4]], requires_grad=True)
    old = torch.tensor([[0.0, -1e4], [-1e4, -1e4]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    adv = torch.tensor([-1.0, -1.0])
    out = LOSSES[name](lp, old, adv, mask, normalizer=2, ref_logprobs=old, beta=0.1)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert torch.all(torch.isfinite(lp.grad))
    assert out.metrics["ratio_mean"] <= math.exp(LOG_RATIO_BOUND) * 1.001


def test_half_precision_is_computed_in_float32() -> None:
    batch = make_batch(6, dtype=torch.float32)
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in batch.items()}
    out = grpo_loss(**half, normalizer=5)
    again = grpo_loss(**{k: v.float() if v.is_floating_point() else v for k, v in half.items()}, normalizer=5)
    assert out.loss.dtype == torch.float32
    assert out.loss == again.loss


def test_float32_agrees_with_float64() -> None:
    batch = make_batch(7)
    single = {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}
    for loss in LOSSES.values():
        a, b = loss(**batch, normalizer=5, beta=0.1), loss(**single, normalizer=5, beta=0.1)
        torch.testing.assert_close(a.loss.float(), b.loss, rtol=1e-5, atol=1e-6)


def test_normalizer_counts() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False], [False, True, True]])
    assert loss_normalizer(mask, "sequence") == 2
    assert loss_normalizer(mask, "token") == 4
    assert loss_normalizer(mask, "constant", 100) == 200


def test_bad_settings_are_named() -> None:
    batch = make_batch()
    no_ref = {key: value for key, value in batch.items() if key != "ref_logprobs"}
    for clip in ({"clip_low": -0.1}, {"clip_high": float("nan")}):
        for loss in (grpo_loss, gspo_loss, cispo_loss):
            with pytest.raises(InputError, match=next(iter(clip))):
                loss(**batch, normalizer=1, **clip)
    with pytest.raises(InputError, match="aggregation: 'mean'"):
        grpo_loss(**batch, normalizer=1, aggregation="mean")
    with pytest.raises(InputError, match="aggregation: 'mean'"):
        loss_normalizer(batch["mask"], "mean")
    for max_length in (None, 0):
        with pytest.raises(InputError, match="max_length"):
            loss_normalizer(batch["mask"], "constant", max_length)
    with pytest.raises(InputError, match="beta"):
        grpo_loss(**no_ref, normalizer=1, beta=0.1)
    with pytest.raises(ValueError, match="bool"):
        grpo_loss(**(batch | {"mask": batch["mask"].float()}), normalizer=1)
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        grpo_loss(**(batch | {"advantages": batch["advantages"][:, None]}), normalizer=1)
