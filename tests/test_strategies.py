"""FSDP2 with one process; two processes are in ``modules/test_distributed.py``."""

import os

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from r1lit.strategies import FSDP2Strategy


class Line(LightningModule):
    """Built on the meta device and sharded, as the strategy wants it."""

    def configure_model(self):
        if "layer" not in self._modules:
            with torch.device("meta"):
                self.layer = torch.nn.Linear(3, 1, bias=False)
            fully_shard(self.layer, mesh=self.trainer.strategy.device_mesh["data_parallel"])

    def on_fit_start(self):
        torch.nn.init.zeros_(self.layer.weight)

    def training_step(self, batch, batch_idx):
        return (self.layer(torch.ones(1, 3)) - 5.0).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def own_environment(monkeypatch):
    """Takes back what Lightning sets for a process group of one."""
    for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)


@pytest.mark.parametrize("strategy", ["fsdp2", FSDP2Strategy(save_distributed_checkpoint=False)])
def test_shards_over_all_processes_and_clips_by_norm(own_environment, tmp_path, strategy):
    module = Line()
    trainer = Trainer(
        accelerator="cpu", devices=1, strategy=strategy, max_epochs=1, gradient_clip_val=0.5, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, DataLoader(range(1)))
    assert isinstance(trainer.strategy, FSDP2Strategy)
    mesh = trainer.strategy.device_mesh
    assert (mesh["data_parallel"].size(), mesh["tensor_parallel"].size()) == (1, 1)
    assert isinstance(module.layer.weight, DTensor)
    # The gradient is -10 each, of norm 10 * sqrt(3), clipped to 0.5.
    torch.testing.assert_close(module.layer.weight.full_tensor(), torch.full((1, 3), 0.1 * 0.5 / 3**0.5))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    assert (tmp_path / "end.ckpt").is_dir() is (strategy == "fsdp2")
