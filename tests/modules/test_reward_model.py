"""Reward models: the loss however a batch is cut, runs that learn, resume, and two processes."""

import csv
import json
import math
import signal
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import load_file

from r1lit import SFTModule
from r1lit.callbacks import HFExport
from r1lit.data import Labelled, Pair, PreferenceDataModule, PreferenceSource
from r1lit.errors import InputError
from r1lit.functional.preferences import pairwise_loss, pointwise_loss
from r1lit.modules import RewardModelModule
from r1lit.modules.preference_measures import judged, preference_measures
from r1lit.policy import LoraSettings, ModelScorer, RewardModel
from r1lit.policy.classifiers import padded
from r1lit.types import Completion, Message, Prompt

ADAM = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.0)
SGD = partial(torch.optim.SGD, lr=0.1)


def asking(i):
    return (Message("user", f"what is {i} + {i % 7}?"),)


def good(i):
    return f"{i} + {i % 7} = {i + i % 7}" + ", so the answer is that" * (i % 3)


def bad(i):
    return f"{i}, that is too hard" + " and i give up" * (i % 4)


class Pairs(PreferenceSource):
    """The chosen reply computes, the rejected one gives up; neither is always the longer."""

    def __init__(self, n=60):
        self.n = n

    def load(self):
        return [Pair(asking(i), good(i), bad(i)) for i in range(self.n)]


class Labels(PreferenceSource):
    def __init__(self, n=120):
        self.n = n

    def load(self):
        return [Labelled(asking(i), bad(i) if i % 3 else good(i), i % 3 == 0) for i in range(self.n)]


@pytest.fixture
def train(model_dir, tmp_path):
    """Trains a small reward model; ``data`` are settings of the data module, all others are the module's."""

    def start(source=None, data=None, lora=None, trainer=None, **settings):
        module = RewardModelModule(RewardModel(model_dir, lora=lora), **{"optimizer": SGD} | settings)
        source = source or (Pairs() if module.loss == "pairwise" else Labels())
        chosen = PreferenceDataModule(source, **{"held_out": 0.3, "batch_size": 16} | (data or {}))
        run = Trainer(
            accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
            callbacks=[HFExport()], num_sanity_val_steps=0, limit_val_batches=0, **(trainer or {}),
        )  # fmt: skip
        run.fit(module, datamodule=chosen)
        run.test(module, datamodule=chosen, verbose=False)
        return module

    return start


def weights_of(module):
    return {name: param.detach().clone() for name, param in module.policy.lm.named_parameters()}


def test_the_paper_is_the_default(model_dir):
    module = RewardModelModule(RewardModel(model_dir))
    group = module.optimizer_factory([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
    data = PreferenceDataModule(Pairs())
    assert (group["lr"], data.batch_size, data.epochs, data.max_length) == (6e-6, 256, 1.0, 8192)


@pytest.mark.parametrize("loss", ["pairwise", "pointwise"])
def test_one_update_is_that_of_the_mean_over_the_batch(loss, train, model_dir):
    whole = train(loss=loss, max_updates=1, gradient_clip_norm=None)
    data = whole.trainer.datamodule
    places = [place for part in data.batch(0).parts for place in part.places]
    model = RewardModel.from_pretrained(model_dir)
    items = [data.train_items[place] for place in places]
    first, last = (model(*padded([item.rows[side].tolist() for item in items], model.pad_id)) for side in (0, -1))
    if loss == "pairwise":
        pairwise_loss(first, last).mean().backward()
    else:
        pointwise_loss(first, torch.tensor([item.safe for item in items])).mean().backward()
    for name, param in model.lm.named_parameters():
        moved = param.detach() - 0.1 * param.grad
        torch.testing.assert_close(weights_of(whole)[name], moved, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("loss", ["pairwise", "pointwise"])
def test_micro_batches_change_nothing(loss, train):
    whole = train(loss=loss, max_updates=2, data={"micro_batch_tokens": 100_000})
    cut = train(loss=loss, max_updates=2, data={"micro_batch_tokens": 90})
    assert len(whole.trainer.datamodule.batch(0).parts) == 1
    assert len(cut.trainer.datamodule.batch(0).parts) >= 4
    for name, value in weights_of(whole).items():
        torch.testing.assert_close(weights_of(cut)[name], value, atol=2e-6, rtol=1e-4, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_a_pairwise_model_learns_which_reply_is_better(lora, train, tmp_path):
    module = train(lora=lora, optimizer=ADAM, max_updates=20)
    found = module.test_results
    assert found["accuracy"]["value"] >= 0.9
    assert found["accuracy"]["low"] > 0.7
    assert found["auroc"]["value"] >= 0.9
    assert found["accuracy_length"]["value"] < 0.75
    assert found["accuracy"]["n"] == len({item.prompt for item in module.trainer.datamodule.val_items}) > 8
    scorer = ModelScorer(str(tmp_path / "model"))
    assert scorer.loss == "pairwise"
    assert scorer.mean == found["score_mean"]["value"]
    assert scorer.std == found["score_std"]["value"] > 0
    new = [Completion(Prompt("x", asking(901)), 0, (), (), (), text, "stop") for text in (good(901), bad(901))]
    better, worse = scorer.score(new)
    assert better > worse + 1


def test_a_pointwise_model_gives_the_log_odds_of_safe(train):
    found = train(loss="pointwise", optimizer=ADAM, max_updates=30).test_results
    assert found["accuracy"]["value"] >= 0.9
    assert found["auroc"]["value"] >= 0.95
    assert found["calibration_error"]["value"] < 0.15
    assert 0.5 < found["accuracy_majority"]["value"] < 0.85


def test_labels_that_say_nothing_are_not_learnt(train):
    class Coin(PreferenceSource):
        def load(self):
            pairs = Pairs(90).load()
            return [p if i * 37 % 11 < 5 else Pair(p.messages, p.rejected, p.chosen) for i, p in enumerate(pairs)]

    found = train(Coin(), optimizer=ADAM, max_updates=5).test_results
    assert found["accuracy"]["low"] < 0.6


def test_data_must_fit_the_loss(train, model_dir):
    with pytest.raises(InputError, match=r"model.loss is pairwise, but the data are labelled replies"):
        train(Labels(), loss="pairwise")
    with pytest.raises(InputError, match=r"model.loss is pointwise, but the data are pairs"):
        train(Pairs(), loss="pointwise")
    with pytest.raises(InputError, match="max_updates is 0"):
        RewardModelModule(RewardModel(model_dir), max_updates=0)
    assert SFTModule.noted_by_measuring is False


# Measures


def item(prompt, *characters, safe=None):
    from r1lit.data.preference_data import Item

    return Item((), safe, prompt, characters)


def test_measures_of_pairs():
    items = [item("a", 5, 3), item("a", 2, 9), item("b", 4, 1), item("c", 7, 6)]
    scores = [(2.0, 1.0), (0.0, 3.0), (1.0, -1.0), (0.5, 0.5)]
    found = preference_measures(judged(items, scores), judged(items, [(0.0, 0.0)] * 4))
    assert found["accuracy"]["value"] == 0.5  # a tie is an error
    wins = sum((c > r) + 0.5 * (c == r) for c in (2.0, 0.0, 1.0, 0.5) for r in (1.0, 3.0, -1.0, 0.5))
    assert found["auroc"]["value"] == pytest.approx(wins / 16)
    assert found["accuracy_length"]["value"] == 0.75
    assert found["score_mean"]["value"] == pytest.approx(7.0 / 8)
    assert {name: interval["n"] for name, interval in found.items()} == dict.fromkeys(found, 3)
    assert "accuracy_majority" not in found


def test_measures_of_labels():
    items = [item(str(i), 10 - i, safe=i < 3) for i in range(4)]
    scores = [(4.0,), (-1.0,), (2.0,), (-3.0,)]
    found = preference_measures(judged(items, scores), judged(items, [(0.0,)] * 4))
    assert found["accuracy"]["value"] == found["accuracy_majority"]["value"] == 0.75
    assert found["auroc"]["value"] == 1.0
    assert found["auroc_length"]["value"] == 1.0  # the safe ones are longer, here as in training
    odds = [1 / (1 + math.exp(-s)) for (s,) in scores]
    labels = [1, 1, 1, 0]
    gaps = [abs(p - y) for p, y in zip(odds, labels, strict=True)]  # each in a bin of its own, but for the first two
    assert found["calibration_error"]["value"] == pytest.approx(sum(gaps) / 4, abs=1e-6)
    shorter = [item(str(i), 10 - i, safe=i >= 3) for i in range(4)]
    turned = preference_measures(judged(items, scores), judged(shorter, [(0.0,)] * 4))
    assert turned["auroc_length"]["value"] == 0.0


def test_large_scores_are_still_told_apart():
    items = [item(str(i), 1, safe=i % 2 == 0) for i in range(4)]
    found = preference_measures(judged(items, [(900.0,), (700.0,), (800.0,), (600.0,)]), judged(items, [(0.0,)] * 4))
    assert found["auroc"]["value"] == 1.0


# The command line

CONFIG = """
model:
  class_path: RewardModelModule
  init_args:
    policy: {{class_path: RewardModel, init_args: {{init_from: {model}}}}}
    loss: pairwise
    optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 3.0e-3}}}}
    scheduler: {{class_path: CosineToTenth}}
data:
  class_path: PreferenceDataModule
  init_args:
    sources: {{class_path: PreferenceFile, init_args: {{path: {path}}}}}
    batch_size: 8
    micro_batch_tokens: 200
    held_out: 0.3
trainer:
  accelerator: cpu
  devices: 1
  limit_val_batches: 0
  callbacks:
    - {{class_path: r1lit_test_parts.KillAt, init_args: {{file: {kill}}}}}
checkpoint: {{every_n_rollouts: 2}}
"""


@pytest.fixture
def rewards_line(command_line, model_dir):
    """The command line, on a configuration for a reward model."""
    path = command_line.folder / "pairs.jsonl"
    rows = [{"prompt": p.messages[0].content, "chosen": p.chosen, "rejected": p.rejected} for p in Pairs().load()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command_line.config.write_text(CONFIG.format(model=model_dir, path=path, kill=command_line.kill))
    return command_line


def metrics_of(stage):
    with (stage / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in csv.DictReader(file)]


def test_a_killed_stage_ends_as_one_that_was_not(rewards_line):
    straight, codes = rewards_line("straight")
    assert codes == [0]
    for moment in ("update 4", "before test 0"):
        killed, codes = rewards_line("killed", kill_at=moment)
        assert codes == [-signal.SIGKILL]
        assert not (killed / "stage.json").exists()
    killed, codes = rewards_line("killed")
    assert codes == [0]
    ours, wanted = (load_file(stage / "model" / "model.safetensors") for stage in (killed, straight))
    assert ours.keys() == wanted.keys()
    assert all(ours[name].equal(value) for name, value in wanted.items())
    assert metrics_of(killed) == metrics_of(straight)
    ours, wanted = (json.loads((stage / "stage.json").read_text()) for stage in (killed, straight))
    assert ours["metrics"] == wanted["metrics"]
    assert ours["updates"] == len(metrics_of(straight)) > 4
    config = json.loads((killed / "model" / "config.json").read_text())
    assert config["r1lit_mean"] == ours["metrics"]["score_mean"]["value"]


@pytest.mark.distributed
def test_two_processes_equal_one(rewards_line):
    single, codes = rewards_line("single")
    assert codes == [0]
    for strategy in ("ddp", "fsdp2"):
        folder, codes = rewards_line(strategy, "--trainer.devices", "2", "--trainer.strategy", strategy, ranks=2)
        assert codes == [0, 0]
        ours, wanted = (load_file(stage / "model" / "model.safetensors") for stage in (folder, single))
        for name, value in wanted.items():
            torch.testing.assert_close(ours[name], value, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
        for a, b in zip(metrics_of(folder), metrics_of(single), strict=True):
            assert float(a["loss"]) == pytest.approx(float(b["loss"]), abs=2e-5, rel=1e-3)
            assert float(a["grad_norm"]) == pytest.approx(float(b["grad_norm"]), abs=2e-4, rel=1e-3)
        ours, wanted = (json.loads((stage / "stage.json").read_text())["metrics"] for stage in (folder, single))
        assert ours["accuracy"] == wanted["accuracy"]
        assert ours["score_mean"]["value"] == pytest.approx(wanted["score_mean"]["value"], abs=1e-3)
