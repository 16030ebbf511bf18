import logging
import random
import types
import warnings
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer

from r1lit import Policy
from r1lit.callbacks import HackingGuard, RolloutCheckpoint
from r1lit.callbacks.hacking_guard import find_parting
from r1lit.data import PromptDataModule
from r1lit.errors import InputError
from r1lit.modules import GRPOModule, Objective
from r1lit.rewards import AccuracyReward, FormatReward, RewardModelReward
from r1lit.rollout import NativeEngine
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.types import Completion, Message, Prompt, Rollout, SamplingParams, ScoredCompletion

HERE = types.SimpleNamespace(is_global_zero=True)


def curve(shape, n=60, noise=0.03, seed=0):
    rng = random.Random(seed)
    return [shape(i) + rng.gauss(0, noise) for i in range(n)]


def rising(i):
    return 0.4 + 0.3 * min(1, i / 50)


def hacked(i):
    """Better at first, then worse: what Goodhart's law looks like."""
    return 0.6 + 0.1 * min(1, i / 20) - 0.3 * max(0, (i - 20) / 40)


def found(score, check, *, window=20, level=4.0, least_fall=0.05):
    return find_parting(score, check, window, level, least_fall)


@pytest.mark.parametrize("seed", range(5))
def test_a_score_that_rises_while_the_check_falls_has_parted(seed):
    score, check = curve(rising, seed=seed), curve(hacked, seed=seed + 100)
    parting = found(score, check)
    assert parting is not None
    assert parting.score.change > 0 > parting.check.change
    assert found(score[:24], check[:24]) is None  # still better together


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("score", "check"),
    [
        (rising, rising),
        (rising, lambda i: 0.5),
        (lambda i: 0.5, lambda i: 0.5),
        (lambda i: 0.7 - rising(i), hacked),
        (lambda i: 0.7 - rising(i), lambda i: 0.7 - rising(i)),
    ],
    ids=["both rise", "check stays", "noise", "score falls", "both fall"],
)
def test_healthy_series_have_not(score, check, seed):
    one, other = curve(score, seed=seed), curve(check, seed=seed + 100)
    assert not any(found(one[:n], other[:n]) for n in range(20, 61))


def test_a_slow_change_is_found_over_a_longer_span():
    score, check = curve(lambda i: 0.001 * i, 320), curve(lambda i: 0.8 - 0.001 * i, 320, seed=1)
    parting = found(score, check)
    assert parting is not None
    assert parting.rollouts > 20


@pytest.mark.parametrize("at", [4, 10, 35])
def test_a_collapse_within_a_few_rollouts_is_found(at):
    def through(i):
        return 0 if i < at else 1 - 0.5 ** (i - at)

    score, check = curve(lambda i: 0.5 + 0.4 * through(i)), curve(lambda i: 0.4 - 0.35 * through(i), noise=0.05, seed=1)
    assert found(score[: at + 1], check[: at + 1], window=6) is None
    parting = next(p for n in range(at, 60) if (p := found(score[:n], check[:n], window=12)))
    assert parting.check.change < -0.2
    flat = curve(lambda i: 0.5, seed=2)
    assert not any(found(flat[:n], check[:n]) for n in range(60))  # without a rise of the score it is no hacking
    assert not any(found(score[:n], flat[:n]) for n in range(60))


def test_a_fall_too_small_to_matter_is_none():
    score, check = curve(rising, noise=0.001), curve(lambda i: 0.9 - 0.0005 * i, noise=0.001)
    assert found(score, check) is None
    assert found(score, check, least_fall=0.005) is not None


def rollout(index, score, check):
    completion = Completion(Prompt("p", (Message("user", "q"),)), 0, (), (), (), "", "stop")
    rows = ({"rm": score, "rule": None}, {"rm": None, "rule": check})
    return Rollout(index, tuple(ScoredCompletion(completion, scores, 0.0) for scores in rows), (0.0, 0.0))


def play(guard, first=0, last=60):
    """Shows a guard the over-optimized series; returns the metrics of each rollout."""
    seen = []
    for index, (score, check) in enumerate(zip(curve(rising), curve(hacked, seed=100), strict=True)):
        if first <= index < last:
            seen.append(guard.measure_rollout(rollout(index, score, check)))
            guard.on_rollout_end(HERE, None, rollout(index, score, check))
    return seen


def test_it_warns_once_and_logs_how_things_go(caplog):
    guard = HackingGuard("rm", "rule")
    with caplog.at_level(logging.WARNING):
        metrics = play(guard)
    assert len(caplog.records) == 1
    assert "reward hacking likely" in caplog.text
    assert "'rm' rose by" in caplog.text
    assert "'rule' fell by" in caplog.text
    assert guard.parted is not None
    assert [m["guard_parted/rm/rule"] for m in metrics] == [float(i >= guard.parted) for i in range(60)]
    assert metrics[18].keys() == {"guard_parted/rm/rule"}
    assert metrics[-1]["guard/rm"] > 0 > metrics[-1]["guard/rule"]


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(caplog):
    whole = HackingGuard("rm", "rule")
    play(whole)
    parted = whole.parted
    for cut in (parted - 3, parted + 3):
        caplog.clear()
        before, after = HackingGuard("rm", "rule"), HackingGuard("rm", "rule")
        play(before, 0, cut)
        after.load_state_dict(before.state_dict())
        play(after, cut)
        assert (after.parted, after.series) == (parted, whole.series)
        assert len(caplog.records) == 1
    assert HackingGuard("rm", "other").state_key != whole.state_key


def test_rollouts_in_which_one_applies_to_nothing_are_skipped():
    guard = HackingGuard("rm", "rule")
    assert guard.measure_rollout(rollout(0, None, 0.5)) == {"guard_parted/rm/rule": 0.0}
    assert guard.measure_rollout(rollout(1, 0.5, None)) == {"guard_parted/rm/rule": 0.0}
    guard.measure_rollout(rollout(2, 0.25, 0.5))
    assert guard.series == [(2, 0.25, 0.5)]


def test_bad_arguments():
    with pytest.raises(InputError, match="both 'rm'"):
        HackingGuard("rm", "rm")
    with pytest.raises(InputError, match="window is 2"):
        HackingGuard("rm", "rule", window=2)
    with pytest.raises(InputError, match="level is 0"):
        HackingGuard("rm", "rule", level=0)
    module = types.SimpleNamespace(rewards=[FormatReward(), AccuracyReward()])
    with pytest.raises(InputError, match=r"score is 'rm', which is none of the rewards: format, accuracy"):
        HackingGuard("rm", "format").on_train_start(HERE, module)
    HackingGuard("format", "accuracy").on_train_start(HERE, module)


# Real runs


class Longer:
    """A reward model that takes length for quality."""

    def score(self, completions):
        return [len(c.token_ids) / 16 for c in completions]


class Judge:
    """A reward model that sees quality."""

    def score(self, completions):
        return [float(c.finish_reason == "stop") + float(c.answer is not None) for c in completions]


def train(folder, scorer, rollouts, guard, ckpt_path=None):
    module = GRPOModule(
        Policy("package:r1lit/assets/tiny/base", template="User: {question}\nAssistant:"),
        rewards=[
            RewardModelReward(scorer, scale="none"),
            FormatReward(name="check", weight=0.0),
            AccuracyReward(weight=0.0),
        ],
        optimizer=partial(torch.optim.AdamW, lr=2e-3),
        sampling=SamplingParams(n=8, max_new_tokens=48),
        evaluation=SamplingParams(n=2, max_new_tokens=48),
        objective=Objective(beta=0.0),
        engine=partial(NativeEngine, max_rows=64),
        max_rollouts=rollouts,
    )
    data = PromptDataModule(TinyWorldPrompts(n=64), None, prompts_per_rollout=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[guard, RolloutCheckpoint()], default_root_dir=folder,
            num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


@pytest.mark.slow
def test_an_over_optimized_run_is_told_of_and_a_healthy_one_is_not(tmp_path, caplog):
    guard = HackingGuard("reward_model", "check", window=8)
    train(tmp_path / "hacked", Longer(), 24, guard)
    assert guard.parted is not None
    assert "'reward_model' rose by" in caplog.text
    assert guard.series[-1][1] > guard.series[0][1]
    caplog.clear()
    guard = HackingGuard("reward_model", "check", window=8)
    train(tmp_path / "healthy", Judge(), 24, guard)
    assert guard.parted is None
    assert "reward hacking" not in caplog.text
    assert len(guard.series) == 24
