"""A module that goes through rollouts without a language model: what callbacks see of one."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch.utils.data import DataLoader

from r1lit.callbacks.base import rollout_callbacks
from r1lit.types import Completion, Message, Prompt, Rollout, ScoredCompletion


def make_rollout(index, groups=2, n=2, text="some [bold]text[/bold]", **metrics):
    prompts = [Prompt(f"p{g}", (Message("user", f"question {g}"),), answer=str(g)) for g in range(groups)]
    completions = tuple(
        Completion(p, s, (1, 2), (3, 4, 5)[: s + 1], (-0.1,) * (s + 1), text, "stop", "a thought", None)
        for p in prompts
        for s in range(n)
    )
    scored = tuple(ScoredCompletion(c, {"mark": float(c.sample), "none": None}, float(c.sample)) for c in completions)
    return Rollout(
        index, scored, tuple(c.sample - (n - 1) / 2 for c in completions),
        metrics={"step": index + 1.0, "loss": index / 4} | metrics,
    )  # fmt: skip


class Small(LightningModule):
    """Trains two weights for a rollout a batch, and tells the callbacks as the GRPO module does."""

    unit = "rollout"

    @property
    def batches_done(self):
        return self.rollouts

    def __init__(self, max_rollouts=None, rollout=make_rollout):
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.rollouts, self.max_rollouts, self.rollout = 0, max_rollouts, rollout

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(((self.weight - 1.0 - self.rollouts) ** 2).sum())
        optimizer.step()
        rollout = self.rollout(self.rollouts)
        self.rollouts += 1
        for callback in rollout_callbacks(self.trainer):
            callback.on_rollout_end(self.trainer, self, rollout)
        if self.rollouts == self.max_rollouts:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint):
        checkpoint["rollouts"] = self.rollouts

    def on_load_checkpoint(self, checkpoint):
        self.rollouts = checkpoint["rollouts"]


@pytest.fixture
def rollout_of():
    return make_rollout


@pytest.fixture
def small_run(tmp_path):
    """Runs a ``Small`` for ``rollouts``, or for ``epochs`` of 5, and returns it."""

    def start(callbacks, rollouts=None, epochs=-1, ckpt_path=None, rollout=make_rollout, module=None):
        module = module or Small(rollouts, rollout)
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=epochs, logger=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=callbacks, default_root_dir=tmp_path,
            enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        )  # fmt: skip
        trainer.fit(module, DataLoader(range(5)), ckpt_path=ckpt_path)
        return module

    start.module = Small
    return start
