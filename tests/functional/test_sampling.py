"""Noise against a plain SplitMix64 and for uniformity; sampling against a naive reference and for frequencies."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from r1lit.errors import InputError, TrainingError
from r1lit.functional import row_key, sample_tokens, sampling, uniforms

INF = float("inf")
WORD = 2**64


def plain_splitmix(key: int, position: int) -> float:
    """Python integers, from the published algorithm."""
    z = (key + (position + 1) * 0x9E3779B97F4A7C15) % WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    z ^= z >> 31
    return ((z >> 12) + 0.5) / 2**52


def chi_square_limit(df: int) -> float:
    """The 1e-4 quantile from above of chi-square (Wilson-Hilferty): a right sampler fails once in 10,000 seeds."""
    return df * (1 - 2 / (9 * df) + 3.719 * math.sqrt(2 / (9 * df))) ** 3


def chi_square(counts: Tensor, expected: Tensor) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


@settings(max_examples=200, deadline=None)
@given(key=st.integers(-(2**63), 2**63 - 1), position=st.integers(0, 2**40))
def test_uniforms_equal_plain_splitmix(key: int, position: int) -> None:
    keys = torch.tensor([key])
    assert uniforms(keys, position).tolist() == [plain_splitmix(key, position)]
    assert uniforms(keys, torch.tensor([position])).tolist() == [plain_splitmix(key, position)]


def test_splitmix_test_vector() -> None:
    """The first outputs for state 0 as published: 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4."""
    expected = [((0xE220A8397B1DCDAF >> 12) + 0.5) / 2**52, ((0x6E789E6AA1B965F4 >> 12) + 0.5) / 2**52]
    assert [uniforms(torch.tensor([0]), i).item() for i in range(2)] == expected


def test_uniforms_do_not_depend_on_the_batch() -> None:
    keys = torch.tensor([row_key(1, 2, f"p{i}", i % 4) for i in range(50)])
    positions = torch.arange(50) % 7
    whole = uniforms(keys, positions)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(uniforms(keys[order], positions[order]), whole[order])
    assert [uniforms(keys[i : i + 1], int(positions[i])).item() for i in range(50)] == whole.tolist()


def test_uniforms_stay_inside_the_open_interval() -> None:
    """The largest and least 52 bits that can come, and what a float64 makes of them."""
    assert 0.0 < (0 + 0.5) * 2.0**-52
    assert ((2**52 - 1) + 0.5) * 2.0**-52 < 1.0
    noise = uniforms(torch.arange(200_000), 0)
    assert noise.dtype == torch.float64
    assert 0.0 < noise.min() < noise.max() < 1.0


@pytest.mark.parametrize("kind", ["rows", "positions", "raw keys"])
def test_uniforms_are_uniform_and_uncorrelated(kind: str) -> None:
    """Chi-square over 64 cells, over 8 x 8 cells of neighbours, and the lag-1 correlation."""
    n = 64_000
    if kind == "rows":  # the first token of many completions
        keys = torch.tensor([row_key(0, i // 800, f"prompt-{i // 16 % 50}", i % 16) for i in range(n)])
        noise = uniforms(keys, 0)
    elif kind == "positions":  # a long completion
        noise = uniforms(torch.full((n,), row_key(0, 0, "a", 0)), torch.arange(n))
    else:  # keys that nobody hashed
        noise = uniforms(torch.arange(n), 5)
    cells = torch.bincount((noise * 64).long(), minlength=64).double()
    assert chi_square(cells, torch.full((64,), n / 64)) < chi_square_limit(63)
    pairs = (noise[:-1:2] * 8).long() * 8 + (noise[1::2] * 8).long()
    assert chi_square(torch.bincount(pairs, minlength=64).double(), torch.full((64,), n / 128)) < chi_square_limit(63)
    centred = noise - 0.5
    assert abs(float((centred[:-1] * centred[1:]).mean() * 12)) < 4 / math.sqrt(n)


def test_row_keys_are_stable_distinct_and_unambiguous() -> None:
    assert row_key(0, 0, "p", 0) == row_key(0, 0, "p", 0) == 1121302029015581145
    quadruples = [
        (s, r, p, i) for s in (0, 1, 11) for r in (0, 1, 11) for p in ("", "1", "1,1", "é") for i in (0, 1, 11)
    ]
    keys = {row_key(*q) for q in quadruples}
    assert len(keys) == len(quadruples)
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert min(keys) < 0 < max(keys)
    assert torch.tensor(list(keys)).dtype == torch.int64


def naive_distribution(logits: list[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """Filters and renormalizes in float64 by sorting; ties with the last kept token are kept."""
    top = max(logits)
    weights = [math.exp((x - top) / temperature) for x in logits]
    if 0 < top_k < len(weights):
        floor = sorted(weights, reverse=True)[top_k - 1]
        weights = [w if w >= floor else 0.0 for w in weights]
    if top_p < 1:
        running, floor = 0.0, 0.0
        for w in sorted(weights, reverse=True):
            running, floor = running + w, w
            if running >= top_p * sum(weights):
                break
        weights = [w if w >= floor else 0.0 for w in weights]
    return [w / sum(weights) for w in weights]


def naive_sample(logits: list[float], u: float, temperature: float, top_k: int, top_p: float) -> int:
    running = 0.0
    for token, p in enumerate(naive_distribution(logits, temperature, top_k, top_p)):
        running += p
        if running > u:
            return token
    raise AssertionError("u beyond the end")


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    v=st.sampled_from([1, 2, 7, 30, 300]),
    spread=st.sampled_from([0.1, 2.0, 8.0]),
    temperature=st.sampled_from([0.3, 0.6, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 3, 20, 1000]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
)
def test_tokens_equal_naive_reference(
    seed: int, v: int, spread: float, temperature: float, top_k: int, top_p: float
) -> None:
    logits = spread * torch.randn(12, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits[::3, : v // 2] = -INF
    noise = uniforms(torch.arange(12) + seed, 0)
    tokens, logprobs = sample_tokens(logits, noise, temperature, top_k, top_p)
    expected = [
        naive_sample(row, u, temperature, top_k, top_p) for row, u in zip(logits.tolist(), noise.tolist(), strict=True)
    ]
    assert tokens.tolist() == expected
    unfiltered = (logits / temperature).log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(logprobs, unfiltered)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.6, 0, 0.95), (1.5, 6, 1.0), (1, 9, 0.8)])
def test_frequencies_follow_the_distribution(dtype: torch.dtype, temperature: float, top_k: int, top_p: float) -> None:
    """Chi-square of 40,000 draws at the 1e-4 level; tokens without probability never come."""
    n, v = 40_000, 20
    logits = torch.randn(v, generator=torch.Generator().manual_seed(8), dtype=dtype)
    noise = uniforms(torch.tensor([row_key(3, 0, str(i), 0) for i in range(n)]), 17)
    tokens, _ = sample_tokens(logits.expand(n, v), noise, temperature, top_k, top_p)
    p = torch.tensor(naive_distribution(logits.tolist(), temperature, top_k, top_p), dtype=torch.float64)
    counts = torch.bincount(tokens, minlength=v).double()
    assert counts[p == 0].sum() == 0
    assert (top_k == 0 and top_p == 1) == bool((p > 0).all())
    held = p > 0
    assert chi_square(counts[held], n * p[held]) < chi_square_limit(int(held.sum()) - 1)


def test_one_row_alone_gets_what_it_gets_in_a_batch() -> None:
    logits = 3 * torch.randn(40, 600, generator=torch.Generator().manual_seed(2))
    logits[::2] *= 0.01  # nuclei beyond the candidates beside narrow ones
    noise = uniforms(torch.arange(40), 1)
    for kwargs in ({}, {"top_p": 0.9}, {"top_k": 5}, {"temperature": 0.0}):
        tokens, logprobs = sample_tokens(logits, noise, **kwargs)
        for i in range(40):
            token, logprob = sample_tokens(logits[i : i + 1], noise[i : i + 1], **kwargs)
            assert (token.item(), logprob.item()) == (tokens[i].item(), logprobs[i].item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_noise_at_the_ends_never_gives_an_impossible_token(dtype: torch.dtype) -> None:
    row = torch.full((1000,), -INF)
    row[3:998] = torch.randn(995, generator=torch.Generator().manual_seed(0))
    row[500:600] = -INF
    logits = row.to(dtype)[None].expand(4, -1)
    noise = torch.tensor([2.0**-53, 0.5 * 2.0**-1000, 1 - 2.0**-53, math.nextafter(1.0, 0.0)], dtype=torch.float64)
    tokens, logprobs = sample_tokens(logits, noise)
    assert tokens.tolist() == [3, 3, 997, 997]
    assert torch.all(torch.isfinite(logprobs))
    tokens, _ = sample_tokens(logits, noise, top_p=0.5)
    assert torch.all(torch.isfinite(logits[0, tokens]))


def test_token_without_mass_is_replaced_where_sums_are_not_monotone() -> None:
    """A parallel sum may grow by rounding at a token without mass."""
    mass = torch.tensor([[0.25, 0.0, 0.75, 0.0]])
    wrong = torch.tensor([[0.25, 0.5, 1.0, 1.0]])
    assert sampling._invert(wrong, mass, torch.tensor([0.4], dtype=torch.float64)).tolist() == [2]
    assert sampling._invert(wrong, mass, torch.tensor([0.1], dtype=torch.float64)).tolist() == [0]


def test_temperature_zero_takes_the_first_best_and_reports_temperature_one() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, 0.0], [-INF, -5.0, -INF, -6.0]])
    tokens, logprobs = sample_tokens(logits, torch.tensor([0.99, 0.99]), temperature=0.0, top_k=2, top_p=0.1)
    assert tokens.tolist() == [1, 1]
    torch.testing.assert_close(logprobs, logits.log_softmax(-1)[[0, 1], [1, 1]])


def test_ties_with_the_last_kept_token_are_kept() -> None:
    logits = torch.tensor([[1.0, 2.0, 1.0, 1.0, 0.0]]).expand(2000, -1)
    noise = uniforms(torch.arange(2000), 0)
    assert set(sample_tokens(logits, noise, top_k=2)[0].tolist()) == {0, 1, 2, 3}
    assert set(sample_tokens(logits, noise, top_p=0.5)[0].tolist()) == {0, 1, 2, 3}
    assert set(sample_tokens(logits, noise, top_p=0.3)[0].tolist()) == {1}


def test_wide_nucleus_is_found_beyond_the_candidates() -> None:
    """Nearly flat over 2,000 tokens: the nucleus of 0.9 holds about 1,800, more than any first guess."""
    v = 2000
    logits = torch.linspace(0, 1e-3, v, dtype=torch.float64)[None].expand(3000, -1)
    tokens, _ = sample_tokens(logits, uniforms(torch.arange(3000), 0), top_p=0.9)
    p = naive_distribution(logits[0].tolist(), 1.0, 0, 0.9)
    lowest = next(i for i, x in enumerate(p) if x > 0)
    assert tokens.min() >= lowest
    assert tokens.min() < lowest + 20
    assert tokens.max() > v - 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.95, 1 - 1e-6])
def test_bisection_finds_the_floor_that_sorting_finds(dtype: torch.dtype, top_p: float) -> None:
    """Narrow, wide and tied masses, and rows with a single token."""
    mass = torch.randn(30, 500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mass = (mass * torch.linspace(0, 9, 30)[:, None]).softmax(-1)
    mass[5:10] = (mass[5:10] * 2000).round() / 2000  # many equal ones, and zeros
    mass[20] = 0.0
    mass[20, 7] = 1.0
    mass = mass.to(dtype)
    wanted = top_p * mass.sum(dim=1, keepdim=True)
    ordered = mass.sort(dim=1, descending=True).values
    expected, _ = sampling._floor_among(ordered, wanted)
    # Sums in another order may take one token more or less where they just reach what is wanted.
    held = [(mass * (mass >= floor)).sum(1) for floor in (sampling._floor_by_bisection(mass, wanted), expected)]
    torch.testing.assert_close(held[0], held[1], rtol=1e-5, atol=0)
    if dtype == torch.float64:
        assert torch.equal(sampling._floor_by_bisection(mass, wanted), expected)


def test_the_vocabulary_is_never_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nuclei that no candidates hold, between narrow ones: the same tokens as by sorting."""
    asked = []
    topk = Tensor.topk
    monkeypatch.setattr(Tensor, "topk", lambda self, k, **kwargs: (asked.append(k), topk(self, k, **kwargs))[1])
    logits = 3 * torch.randn(60, 30_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[::2] *= 1e-3
    noise = uniforms(torch.arange(60), 0)
    tokens, logprobs = sample_tokens(logits, noise, top_p=0.9)
    assert asked == [16, 256, 4096]
    monkeypatch.setattr(sampling, "_TOP_P_CANDIDATES", (30_000,))
    by_sorting = sample_tokens(logits, noise, top_p=0.9)
    assert asked[-1] == 30_000
    assert torch.equal(tokens, by_sorting[0])
    assert torch.equal(logprobs, by_sorting[1])


def test_half_precision_and_inputs_are_left_alone() -> None:
    logits = torch.randn(5, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    noise = uniforms(torch.arange(5), 0)
    before = logits.clone()
    tokens, logprobs = sample_tokens(logits, noise, 0.7, 10, 0.9)
    assert logprobs.dtype == torch.float32
    assert tokens.dtype == torch.int64
    assert torch.equal(logits, before)
    full = logits.float()
    again, _ = sample_tokens(full, noise, 0.7, 10, 0.9)
    assert torch.equal(tokens, again)
    assert torch.equal(full, before.float())


def test_no_rows() -> None:
    tokens, logprobs = sample_tokens(torch.zeros(0, 5), torch.zeros(0, dtype=torch.float64), top_p=0.5)
    assert tokens.shape == logprobs.shape == (0,)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [float("nan"), INF, None])
def test_broken_logits_stop_the_run(bad: float | None, temperature: float) -> None:
    logits = torch.zeros(3, 20)
    if bad is None:
        logits[1] = -INF
    else:
        logits[1, 2] = bad
    for top_p in (1.0, 0.9):
        with pytest.raises(TrainingError, match="row 1"):
            sample_tokens(logits, torch.full((3,), 0.5, dtype=torch.float64), temperature, top_p=top_p)


@pytest.mark.parametrize(
    "kwargs", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_bad_settings_are_named(kwargs: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(kwargs))):
        sample_tokens(torch.zeros(1, 3), torch.tensor([0.5]), **kwargs)
