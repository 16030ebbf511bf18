import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, LightningModule, Trainer

from r1lit.data import PromptDataModule
from r1lit.errors import InputError
from r1lit.tasks import Columns, FilePrompts, PromptSource
from r1lit.types import Message, Prompt


class Numbers(PromptSource):
    """Prompts ``start`` to ``stop``, named by their number."""

    def __init__(self, start: int, stop: int, prefix: str = "p") -> None:
        self.start, self.stop, self.prefix = start, stop, prefix

    def load(self) -> list[Prompt]:
        return [
            Prompt(f"{self.prefix}/{i}", (Message("user", f"What is {i}?"),), str(i), source=self.prefix)
            for i in range(self.start, self.stop)
        ]


class Recorder(LightningModule):
    """Writes down the batches; several optimizer steps a batch, as in GRPO."""

    def __init__(self, fail_in: int | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.fail_in = fail_in
        self.seen: list[list[str]] = []
        self.positions: list[int] = []
        self.validated: list[list[str]] = []

    def training_step(self, batch: list[Prompt], batch_idx: int) -> None:
        position = self.trainer.datamodule.position
        if position == self.fail_in:
            raise RuntimeError("power cut")
        self.positions.append(position)
        self.seen.append([prompt.id for prompt in batch])
        for _ in range(3):
            self.optimizers().zero_grad()
            self.manual_backward(self.weight.sum())
            self.optimizers().step()

    def validation_step(self, batch: list[Prompt], batch_idx: int) -> None:
        self.validated.append([prompt.id for prompt in batch])

    test_step = validation_step

    def predict_step(self, batch: list[Prompt], batch_idx: int) -> list[str]:
        return [prompt.id for prompt in batch]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAfter(Callback):
    """Saves after the given number of rollouts."""

    def __init__(self, rollouts: int, path: Path) -> None:
        self.rollouts, self.path = rollouts, path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.datamodule.position == self.rollouts:
            trainer.save_checkpoint(self.path)


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(
        accelerator="cpu", enable_checkpointing=False, callbacks=list(callbacks), **quiet, **{"max_epochs": 1} | options
    )


def fit(data: PromptDataModule, *callbacks: Callback, ckpt_path: Path | None = None, **options: Any) -> Recorder:
    module = Recorder()
    trainer(*callbacks, **options).fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


def seven(**options: Any) -> PromptDataModule:
    return PromptDataModule(**{"train": Numbers(0, 7), "prompts_per_rollout": 3, "max_rollouts": 6} | options)


@pytest.mark.filterwarnings("error:Total length")
@pytest.mark.filterwarnings("error:You're resuming from a checkpoint")
def test_six_rollouts_equal_three_and_a_resume(tmp_path: Path) -> None:
    whole = fit(seven(), SaveAfter(3, tmp_path / "three.ckpt"))
    resumed = fit(seven(), ckpt_path=tmp_path / "three.ckpt")
    assert len(whole.seen) == 6
    assert all(len(batch) == 3 for batch in whole.seen)
    assert resumed.seen == whole.seen[3:]
    assert whole.positions == [0, 1, 2, 3, 4, 5]
    assert resumed.positions == [3, 4, 5]
    data = seven()
    assert whole.seen == [[prompt.id for prompt in data.prompts_for_rollout(k)] for k in range(6)]


def test_a_run_that_ended_goes_on_with_more_rollouts(tmp_path: Path) -> None:
    whole = fit(seven())
    fit(seven(max_rollouts=3), SaveAfter(3, tmp_path / "end.ckpt"))
    # Lightning counts the one epoch as done.
    assert fit(seven(), ckpt_path=tmp_path / "end.ckpt", max_epochs=2).seen == whole.seen[3:]


class StopAfter(Callback):
    """Ends training after the given number of rollouts."""

    def __init__(self, rollouts: int) -> None:
        self.rollouts = rollouts

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.datamodule.position >= self.rollouts


@pytest.mark.parametrize("end", [2, 3, 4])
def test_a_run_stopped_by_a_callback_goes_on(tmp_path: Path, end: int) -> None:
    options = {"max_epochs": -1}
    endless = {"max_rollouts": None}  # epochs of 3 rollouts
    first = fit(seven(**endless), SaveAfter(end, tmp_path / "end.ckpt"), StopAfter(end), **options)
    second = fit(seven(**endless), StopAfter(8), ckpt_path=tmp_path / "end.ckpt", **options)
    assert first.positions + second.positions == list(range(8))
    assert first.seen + second.seen == fit(seven(max_rollouts=8)).seen


def test_a_checkpoint_written_within_a_rollout_repeats_it(tmp_path: Path) -> None:
    whole = fit(seven())
    broken, run = Recorder(fail_in=4), trainer()
    with pytest.raises(RuntimeError, match="power cut"):
        run.fit(broken, datamodule=seven())
    run.save_checkpoint(tmp_path / "crash.ckpt")
    assert broken.seen + fit(seven(), ckpt_path=tmp_path / "crash.ckpt").seen == whole.seen


def test_epochs_go_on_where_the_last_one_ended(tmp_path: Path) -> None:
    endless = {"max_rollouts": None}
    whole = fit(seven(**endless), SaveAfter(4, tmp_path / "four.ckpt"), max_epochs=3)
    assert whole.positions == list(range(9))  # three epochs of ceil(7 / 3)
    assert whole.seen == fit(seven(max_rollouts=9)).seen
    assert fit(seven(**endless), ckpt_path=tmp_path / "four.ckpt", max_epochs=3).seen == whole.seen[4:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "data.seed was 0 and is 1 now"),
        ({"prompts_per_rollout": 2}, "data.prompts_per_rollout was 3 and is 2 now"),
        ({"train": Numbers(0, 8)}, "the training prompts changed"),
    ],
)
def test_resume_with_other_prompts_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    fit(seven(max_rollouts=2), SaveAfter(1, tmp_path / "one.ckpt"))
    with pytest.raises(InputError, match=message):
        fit(seven(**change), ckpt_path=tmp_path / "one.ckpt")


def test_position_without_a_trainer() -> None:
    data = seven()
    data.load_state_dict(seven().state_dict() | {"position": 4})
    assert list(data.train_dataloader()) == [data.prompts_for_rollout(4), data.prompts_for_rollout(5)]


def test_validation_test_and_predict_batches() -> None:
    data = PromptDataModule(
        [Numbers(0, 3), Numbers(0, 2, "q")], [Numbers(0, 4, "v"), Numbers(0, 4, "w")], 2, val_limit=3, val_batch_size=2
    )
    expected = [["v/0", "v/2"], ["w/1"]]
    module = fit(data, max_epochs=1, num_sanity_val_steps=0)
    assert len(module.seen) == 3
    assert module.validated == expected
    trainer().test(module, datamodule=data, verbose=False)
    assert module.validated == expected * 2
    assert trainer().predict(module, datamodule=data) == [["p/0", "p/1"], ["p/2", "q/0"], ["q/1"]]


def test_evaluation_needs_no_training_prompts(tmp_path: Path) -> None:
    data, module = PromptDataModule(val=Numbers(0, 3)), Recorder()
    trainer().test(module, datamodule=data, verbose=False)
    assert module.validated == [["p/0", "p/1", "p/2"]]
    with pytest.raises(InputError, match=r"data\.train is not set"):
        trainer().fit(module, datamodule=data)


def test_more_prompts_are_new() -> None:
    data = PromptDataModule(Numbers(0, 7), prompts_per_rollout=3)
    ids = [
        p.id
        for prompts in (data.prompts_for_rollout(1), data.more_prompts(1, 0), data.more_prompts(1, 1))
        for p in prompts
    ]
    assert sorted(ids) == [f"p/{i}" for i in range(7)]
    assert data.more_prompts(1, 2) == []


@pytest.mark.parametrize("loaded", [False, True])
def test_connect_refuses_a_prompt_beyond_the_context(loaded: bool) -> None:
    data = PromptDataModule(Numbers(0, 12), prompts_per_rollout=3)
    encode = lambda prompt: list(prompt.question.encode())  # noqa: E731
    if loaded:
        data.setup("fit")
        data.connect(encode, 11)
        with pytest.raises(InputError, match="p: prompt 'p/10' has 11 tokens, more than the 10"):
            data.connect(encode, 10)
    else:
        data.connect(encode, 10)
        with pytest.raises(InputError, match="p: prompt 'p/10' has 11 tokens, more than the 10"):
            data.setup("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts_per_rollout": 8}, "prompts_per_rollout is 8, but there are only 7 training prompts"),
        ({"prompts_per_rollout": 0}, "prompts_per_rollout is 0"),
        ({"max_rollouts": -1}, "max_rollouts is -1"),
        ({"val_limit": 0}, "val_limit is 0"),
        ({"val_batch_size": -2}, "val_batch_size is -2"),
        ({"seed": -1}, "seed is -1"),
        ({"train": []}, r"data\.train: the data set is empty"),
        ({"train": Numbers(3, 3)}, r"data\.train: the data set is empty"),
        ({"val": Numbers(3, 3)}, r"data\.val: the data set is empty"),
        ({"train": [Numbers(0, 3), Numbers(2, 5)]}, "the id 'p/2' comes twice"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        seven(**options).setup("fit")


def test_sources_by_class_path_in_yaml(tmp_path: Path) -> None:
    for name in ("train", "extra"):
        (tmp_path / f"{name}.jsonl").write_text('{"problem": "1+1?", "answer": "It is\\n#### 2"}\n' * 2)
    config = tmp_path / "config.yaml"
    config.write_text(f"""
data:
  train:
    - class_path: FilePrompts
      init_args:
        path: {tmp_path}/train.jsonl
        columns: {{question: problem}}
        answer_pattern: '#### (.+)$'
    - class_path: r1lit.tasks.FilePrompts
      init_args: {{path: {tmp_path}/extra.jsonl, columns: {{question: problem, answer: null}}, kind: helpful}}
  val:
    class_path: ReasoningGymPrompts
    init_args: {{datasets: {{chain_sum: {{min_terms: 2, max_terms: 2}}}}, size: 3}}
  prompts_per_rollout: 2
""")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(PromptDataModule, "data")
    data = parser.instantiate(parser.parse_path(config)).data
    data.setup("fit")
    assert [(p.id, p.answer, p.kind) for p in data.train_prompts] == [
        ("train/1", "2", "reasoning"),
        ("train/2", "2", "reasoning"),
        ("extra/1", None, "helpful"),
        ("extra/2", None, "helpful"),
    ]
    assert [p.task for p in data.val_prompts] == ["logic"] * 3


def test_sources_are_found_by_a_module_that_trains(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"q": f"{i}?", "answer": i}) + "\n" for i in range(4)))
    module = fit(PromptDataModule(FilePrompts(path, Columns(question="q")), prompts_per_rollout=4, shuffle=False))
    assert module.seen == [["train/1", "train/2", "train/3", "train/4"]]


TWO_PROCESSES = """
import json, sys
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from r1lit.data import PromptDataModule
from r1lit.tasks import FilePrompts

class Recorder(BoringModel):
    def on_fit_start(self):
        self.seen = {"train": [], "val": []}
    def training_step(self, batch, batch_idx):
        self.seen["train"].append([prompt.id for prompt in batch])
        return sum(p.sum() for p in self.parameters())
    def validation_step(self, batch, batch_idx):
        self.seen["val"].append([prompt.id for prompt in batch])
    def on_train_end(self):
        with open(f"{sys.argv[2]}/{self.global_rank}.json", "w") as out:
            json.dump(self.seen, out)

source = FilePrompts(sys.argv[1])
data = PromptDataModule(source, source, prompts_per_rollout=3, max_rollouts=3, val_batch_size=4)
Trainer(
    accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=1, num_sanity_val_steps=0,
    logger=False, enable_checkpointing=False, enable_progress_bar=False,
).fit(Recorder(), datamodule=data)
"""


@pytest.mark.distributed
def test_two_processes_see_the_same_lists(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f'{{"question": "{i}?", "answer": {i}}}\n' for i in range(7)))
    # Lightning's own sampler for several processes stays switched on: it must not touch these loaders.
    command = [sys.executable, "-c", TWO_PROCESSES, str(path), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    data = PromptDataModule(FilePrompts(path), prompts_per_rollout=3)
    ids = [f"train/{i}" for i in range(1, 8)]
    expected = {
        "train": [[prompt.id for prompt in data.prompts_for_rollout(k)] for k in range(3)],
        "val": [ids[:4], ids[4:]],
    }
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [expected] * 2
