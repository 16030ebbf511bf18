import threading
import time

import pytest
import torch

from r1lit import Policy
from r1lit.errors import InputError, TrainingError
from r1lit.rewards import UNSCORED, FunctionReward
from r1lit.rollout import NativeEngine
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.training.collector import (
    Advantages,
    DynamicSampling,
    RolloutCollector,
    RolloutRequest,
    describe,
    for_rollout,
)
from r1lit.types import SamplingParams

SAMPLING = SamplingParams(n=4, max_new_tokens=6)


@pytest.fixture(scope="module")
def engine(model_dir):
    return NativeEngine(Policy.from_pretrained(model_dir, template="{question}"))


@pytest.fixture(scope="module")
def prompts():
    return TinyWorldPrompts(n=12).load()


def by_sample(completions):
    return [float(c.sample) for c in completions]


def collect(engine, prompts, function=by_sample, sampling=SAMPLING, more=None, **settings):
    return compared(
        RolloutCollector(engine, [FunctionReward(function, name="mark")], **settings), prompts, sampling, more
    )


def compared(collector, prompts, sampling=SAMPLING, more=None, step=0):
    return collector.compare(collector.collect(prompts, RolloutRequest(sampling, step, more)), sampling.n)


def totals_of(rollout):
    return tuple(scored.total for scored in rollout.scored)


def test_completions_are_in_order_and_advantages_those_of_their_group(engine, prompts):
    found = collect(engine, prompts[:3])
    assert [c.prompt.id for c in found.completions] == [p.id for p in prompts[:3] for _ in range(4)]
    assert [c.sample for c in found.completions] == [0, 1, 2, 3] * 3
    assert totals_of(found) == (0.0, 1.0, 2.0, 3.0) * 3
    scale = (5 / 4) ** 0.5
    assert found.advantages == pytest.approx([(v - 1.5) / scale for v in (0, 1, 2, 3)] * 3, rel=1e-5)
    assert found.tokens == sum(len(c.token_ids) for c in found.completions)


@pytest.mark.parametrize(("scale", "wanted"), [
    ("none", [-1.5, -0.5, 0.5, 1.5]),
    ("rloo", [-2.0, -2 / 3, 2 / 3, 2.0]),
    ("batch", [v / (5 / 4) ** 0.5 for v in (-1.5, -0.5, 0.5, 1.5)]),
])  # fmt: skip
def test_scales_of_advantages(engine, prompts, scale, wanted):
    assert collect(engine, prompts[:2], advantages=Advantages(scale)).advantages == pytest.approx(wanted * 2, rel=1e-5)


def test_noise_depends_on_seed_and_rollout(engine, prompts):
    tokens = [
        tuple(c.token_ids for c in collect(engine, prompts[:2], sampling=for_rollout(SAMPLING, *which)).completions)
        for which in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 3


def test_placebo_shuffles_totals_within_the_rollout_and_keeps_scores(engine, prompts):
    plain = collect(engine, prompts)
    first, again, other = (
        collect(engine, prompts, sampling=for_rollout(SAMPLING, 0, rollout), shuffled_rewards=True)
        for rollout in (0, 0, 1)
    )
    assert sorted(totals_of(first)) == sorted(totals_of(plain))
    assert totals_of(first) == totals_of(again)
    assert totals_of(first) != totals_of(plain)
    assert totals_of(first) != totals_of(other)
    assert [s.scores for s in first.scored] == [s.scores for s in plain.scored]  # what is logged stays true


def test_unscored_completions_have_no_part_in_their_group(engine, prompts):
    def some(completions):
        return [UNSCORED if c.sample == 3 else float(c.sample) for c in completions]

    found = collect(engine, prompts[:2], some)
    scale = (2 / 3) ** 0.5
    assert totals_of(found) == (0.0, 1.0, 2.0, None) * 2
    assert found.advantages == pytest.approx([-1 / scale, 0, 1 / scale, 0] * 2, rel=1e-5)
    assert describe(found)["unscored"] == 2
    assert describe(found)["reward"] == 1.0
    assert describe(found)["reward/mark"] == 1.0


def test_overlong_penalty_is_part_of_the_total(engine, prompts):
    def equal(completions):
        return [1.0] * len(completions)

    found = collect(engine, prompts[:3], equal, advantages=Advantages(overlong_buffer=3))
    for completion, total in zip(found.completions, totals_of(found), strict=True):
        assert total == pytest.approx(1.0 - max(0, len(completion.token_ids) - 3) / 3)


def test_summary_describes_the_completions(engine, prompts):
    found = collect(engine, prompts[:3])
    logprobs = torch.tensor([v for c in found.completions for v in c.logprobs])
    summary = describe(found)
    assert summary["entropy"] == pytest.approx(float(-logprobs.mean()), rel=1e-5)
    assert summary["mean_length"] == found.tokens / 12
    assert summary["truncated"] == sum(c.finish_reason == "length" for c in found.completions) / 12


class Stock:
    """Hands out further prompts and remembers how often it was asked."""

    def __init__(self, prompts, each):
        self.prompts, self.each, self.asked = prompts, each, 0

    def __call__(self, attempt):
        assert attempt == self.asked
        self.asked += 1
        return self.prompts[attempt * self.each : (attempt + 1) * self.each]


def dynamic(engine, prompts, useful, each=2, attempts=3, function=None):
    """Wants two groups of the first two prompts; groups of ``useful`` prompts have a signal."""
    ids = {prompts[i].id for i in useful}

    def mark(completions):
        return [float(c.prompt.id in ids and c.sample == 0) for c in completions]

    stock = Stock(prompts[2:], each)
    found = collect(
        engine,
        prompts[:2],
        function or mark,
        more=stock,
        advantages=Advantages(dynamic_sampling=DynamicSampling("mark", attempts)),
    )
    groups = [found.completions[i].prompt.id for i in range(0, len(found.completions), 4)]
    assert len(found.completions) == 8
    return [next(i for i, p in enumerate(prompts) if p.id == g) for g in groups], found, stock.asked


def test_dynamic_sampling_asks_for_no_more_where_all_groups_have_a_signal(engine, prompts):
    groups, found, asked = dynamic(engine, prompts, {0, 1})
    assert (groups, found.dropped_groups, asked) == ([0, 1], 0, 0)


def test_dynamic_sampling_refills_until_there_are_enough(engine, prompts):
    groups, found, asked = dynamic(engine, prompts, {1, 4})
    assert (groups, found.dropped_groups, asked) == ([1, 4], 4, 2)  # 0, 2, 3 and 5 are dropped
    assert found.tokens > sum(len(c.token_ids) for c in found.completions)
    assert describe(found)["dropped_groups"] == 4


def test_dynamic_sampling_is_bounded_and_fills_up_with_dropped_groups(engine, prompts):
    groups, found, asked = dynamic(engine, prompts, {7}, attempts=3)
    assert (groups, found.dropped_groups, asked) == ([7, 0], 6, 3)
    assert found.advantages[4:] == (0.0,) * 4


def test_dynamic_sampling_takes_used_up_data_for_no_error(engine, prompts):
    groups, found, asked = dynamic(engine, prompts, set(), each=5, attempts=9)
    assert (groups, found.dropped_groups, asked) == ([0, 1], 10, 3)  # the third time there is nothing


def test_dynamic_sampling_drops_unscored_groups_and_keeps_those_that_cannot_be_judged(engine, prompts):
    ids = [p.id for p in prompts]

    def mark(completions):
        return [None if c.prompt.id == ids[0] else UNSCORED if c.prompt.id == ids[1] else c.sample * 1.0
                for c in completions]  # fmt: skip

    def chat(completions):
        return [0.5] * len(completions)

    rewards = [FunctionReward(mark, name="mark"), FunctionReward(chat)]
    collector = RolloutCollector(engine, rewards, Advantages(dynamic_sampling=DynamicSampling("mark")))
    found = compared(collector, prompts[:2], more=Stock(prompts[2:], 2))
    assert [c.prompt.id for c in found.completions[::4]] == [ids[0], ids[2]]


def test_two_prompts_of_one_id_are_refused(engine, prompts):
    with pytest.raises(InputError, match="two prompts of one id"):
        collect(engine, [prompts[0], prompts[0]])


class Forgetful(NativeEngine):
    """Loses the last completion."""

    def generate(self, prompts, sampling):
        yield from list(super().generate(prompts, sampling))[:-1]


def test_an_engine_that_loses_completions_is_noticed(engine, prompts):
    with pytest.raises(TrainingError, match="the engine gave 7 completions for 2 prompts x 4"):
        collect(Forgetful(engine.policy), prompts[:2])


def test_a_reward_that_starts_late_sees_the_update_count(engine, prompts):
    rewards = [FunctionReward(by_sample, name="late", from_step=5), FunctionReward(lambda cs: [1.0] * len(cs), "one")]
    collector = RolloutCollector(engine, rewards)
    assert totals_of(compared(collector, prompts[:1], step=4)) == (1.0,) * 4
    assert totals_of(compared(collector, prompts[:1], step=5)) == (1.0, 2.0, 3.0, 4.0)


class Staggered:
    """An engine whose completions finish one after the other, as long answers do."""

    def __init__(self, engine, pause):
        self.engine, self.pause = engine, pause

    def generate(self, prompts, sampling):
        for completion in list(self.engine.generate(prompts, sampling)):
            time.sleep(self.pause)
            yield completion


def test_scoring_overlaps_generation(engine, prompts):
    """Of 16 completions whose reward takes long, an update waits for those alone that finish last."""

    def slow(completions):
        time.sleep(0.5 * len(completions))
        return by_sample(completions)

    staggered = Staggered(engine, 0.2)
    start = time.perf_counter()
    collect(staggered, prompts[:4])
    generation = time.perf_counter() - start
    reward = FunctionReward(slow, name="mark", concurrency=4)
    start = time.perf_counter()
    found = compared(RolloutCollector(staggered, [reward]), prompts[:4])
    assert time.perf_counter() - start < 1.3 * generation
    assert found == collect(engine, prompts[:4])


def test_a_reward_that_fails_ends_generation_early(engine, prompts):
    def fails(completions):
        raise KeyError("no such column")

    progress = []
    collector = RolloutCollector(Staggered(engine, 0.1), [FunctionReward(fails)])
    with pytest.raises(TrainingError, match="reward 'fails' raised KeyError"):
        collector.collect(prompts[:4], RolloutRequest(SAMPLING, 0, on_progress=lambda *counts: progress.append(counts)))
    assert len(progress) < 16
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("r1lit-reward")]
