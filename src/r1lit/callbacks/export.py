"""The stage's model as a plain Hugging Face directory."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

FOLDER = "model"


class HFExport(Callback):
    """Writes ``model/`` when training ends, or when a model is measured that no training made.

    transformers, vLLM and llama.cpp's converter load the directory; the next stage starts from it.

    Args:
        when_tested: Also export a policy that was only measured, as the base stage needs; an earlier export in the
            folder may be of another model, and is replaced.
        adapter: Also write a LoRA adapter by itself, in peft's format, to ``model/adapter``; the model has it merged.
    """

    def __init__(self, when_tested: bool = True, adapter: bool = False) -> None:
        self.when_tested, self.adapter = when_tested, adapter
        self._trained = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exports the trained policy."""
        self._trained = True
        self._export(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exports a policy that was only measured."""
        module: Any = pl_module
        # An evaluation yields samples, not another copy of the model.
        is_new = not self._trained or module.noted_by_measuring
        if self.when_tested and is_new and FOLDER in module.record.get("outputs", [FOLDER]):
            self._export(trainer, pl_module)

    def _export(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir) / FOLDER
        pl_module.policy.save_pretrained(folder, adapter=self.adapter)  # type: ignore[union-attr, operator]
