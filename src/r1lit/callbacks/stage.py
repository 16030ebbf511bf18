"""``stage.json``: what a stage was made from, and what came out; written last, so that it says "complete"."""

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CUDAAccelerator
from rich.console import Console
from rich.table import Table

from r1lit.callbacks.energy import EnergyMeter
from r1lit.callbacks.export import FOLDER
from r1lit.freshness import STAGE_FILE
from r1lit.stage_folder import StageFolder, finish

PACKAGES = ("r1lit", "torch", "lightning", "transformers", "torchmetrics", "litdata", "jsonargparse")


class StageRecord(Callback):
    """Writes ``stage.json`` at the end of a stage and prints what changed.

    Args:
        name: The stage's name; the name of its folder if None.
        stage_folder: The stage's folder, which is told when the run starts; it knows the fingerprint, which make
            compares to see whether the stage is up to date.
        config: The whole configuration of the run.
        title: What the stage is, in words, for the summary.
        next_command: Shown at the end: what to run next.
    """

    def __init__(
        self,
        name: str | None = None,
        stage_folder: StageFolder | None = None,
        config: Mapping[str, Any] | None = None,
        title: str = "",
        next_command: str | None = None,
    ) -> None:
        self.name, self.stage_folder, self.config = name, stage_folder, config
        self.title, self.next_command = title, next_command
        self._earlier_s = 0.0
        self._earlier_wh: float | None = 0.0
        self._began = time.monotonic()
        self._energy: EnergyMeter | None = None

    @property
    def state_key(self) -> str:
        """One record a run."""
        return "StageRecord"

    def state_dict(self) -> dict[str, float | None]:
        """Time and energy spent so far, so that a resumed run adds to them."""
        return {"wall_s": self._wall_s(), "energy_wh": self._energy_wh()}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Takes up the time and the energy of the runs before."""
        self._earlier_s = state_dict["wall_s"] or 0.0
        self._earlier_wh = state_dict.get("energy_wh")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts the meter, once for a run that trains and then measures."""
        if self._energy is None:
            self._energy = EnergyMeter(trainer.device_ids if isinstance(trainer.accelerator, CUDAAccelerator) else ())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Everything is checked and loaded: what was in the folder before stays aside."""
        self._confirm(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same, for what is measured."""
        self._confirm(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same, for what is sampled."""
        self._confirm(trainer)

    def _confirm(self, trainer: Trainer) -> None:
        if self.stage_folder is not None and trainer.is_global_zero:
            self.stage_folder.confirm()

    def on_train_batch_end(self, *args: Any) -> None:
        """Reads the meter, which must be read now and then."""
        self._energy_wh()

    def on_validation_batch_end(self, *args: Any) -> None:
        """Reads the meter."""
        self._energy_wh()

    def on_test_batch_end(self, *args: Any) -> None:
        """Reads the meter."""
        self._energy_wh()

    def on_predict_batch_end(self, *args: Any) -> None:
        """Reads the meter."""
        self._energy_wh()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the record of a stage that yields a model, or of an evaluation, and prints the summary."""
        self.complete(trainer, pl_module)

    def complete(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same; also of a stage that has nothing to be measured on."""
        if not trainer.is_global_zero:
            return
        module: Any = pl_module
        evaluates = "measured_on" in module.record  # something else than stages are measured on
        previous = None if evaluates else earlier_stage(module.policy.init_from)
        record = self._record(trainer, module, previous) | {
            "updates": int(module.updates),
            "rollouts": int(module.rollouts),
            "placebo": bool(module.placebo),
        }
        record |= module.record
        self._add_energy(record)
        folder = Path(trainer.default_root_dir)
        finish(folder, record)
        print_summary(record, previous, folder, self.next_command)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the record of a stage that yields data, and prints what was kept."""
        if not trainer.is_global_zero:
            return
        module: Any = pl_module
        previous = earlier_stage(module.policy.init_from) if module.policy is not None else None
        record = self._record(trainer, module, previous)
        record |= {"outputs": list(module.outputs), "data": module.manifest, "wall_s": round(module.elapsed_s, 2)}
        self._add_energy(record)
        folder = Path(trainer.default_root_dir)
        finish(folder, record)
        print_counts(record, folder, self.next_command)

    def _record(self, trainer: Trainer, module: Any, previous: Mapping[str, Any] | None) -> dict[str, Any]:
        """What every stage says of itself."""
        folder = Path(trainer.default_root_dir)
        return {
            "stage": self.name or folder.name,
            "title": self.title,
            "metrics": module.test_results,
            "wall_s": round(self._wall_s(), 2),
            "peak_rss_gb": round(peak_rss_gb(), 3),
            "tokens_sampled": int(module.tokens_sampled),
            "seed": int(module.seed),
            "init_from": None if module.policy is None else str(module.policy.init_from),
            "previous": previous and previous.get("stage"),
            "config": self.config,
            "fingerprint": self.stage_folder.current if self.stage_folder else {},
            "outputs": [FOLDER],
            "versions": versions(),
            "git_commit": git_commit(),
            "device": str(module.device),
            "world_size": trainer.world_size,
            "threads": torch.get_num_threads(),
        }

    def _wall_s(self) -> float:
        return self._earlier_s + time.monotonic() - self._began

    def _energy_wh(self) -> float | None:
        """None where a part of the run was not measured."""
        if self._energy is None or self._earlier_wh is None:
            return None
        self._energy.update()
        return None if self._energy.wh is None else self._earlier_wh + self._energy.wh

    def _add_energy(self, record: dict[str, Any]) -> None:
        wh = self._energy_wh()
        # A stage that samples is resumed from its journal, which knows the time of earlier runs and not their energy.
        if wh is not None and record["wall_s"] <= self._wall_s():
            record["energy_wh"] = round(wh, 3)


def earlier_stage(init_from: str) -> dict[str, Any] | None:
    """The record of the stage whose model a run started from; None where it was no stage's."""
    path = Path(init_from).parent / STAGE_FILE
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def print_summary(
    record: Mapping[str, Any], previous: Mapping[str, Any] | None, folder: Path, next_command: str | None
) -> None:
    """Prints the measures before and after."""
    measured_on = record.get("measured_on", "the held-out prompts")
    measured = (
        f"measured on {measured_on} (95 % interval)" if record["metrics"] else "not measured: data.val is not set"
    )
    table = Table(title=f"{_heading(record)}\n{measured}")
    table.add_column("measure")
    if previous:
        table.add_column(f"before ({previous['stage']})", justify="right")
    table.add_column(f"after ({record['stage']})" if previous else record["stage"], justify="right")
    for name, interval in record["metrics"].items():
        before = [shown(previous["metrics"].get(name))] if previous else []
        table.add_row(name, *before, shown(interval))
    done = "" if "measured_on" in record else f"{record['updates']} updates, "
    _print(table, done, record, folder, next_command)


def print_counts(record: Mapping[str, Any], folder: Path, next_command: str | None) -> None:
    """Prints what became of the sampled completions."""
    data = record["data"]
    what = f"what became of {data['sampled']:,} completions of {data['prompts']:,} prompts"
    table = Table(title=f"{_heading(record)}\n{what}")
    table.add_column("reason")
    table.add_column("completions", justify="right")
    for reason, count in data["filters"].items():
        table.add_row(reason, f"{count:,}")
    done = f"{data['kept']:,} kept, of {data['prompts_answered']:,} prompts; "
    _print(table, done, record, folder, next_command)


def _heading(record: Mapping[str, Any]) -> str:
    return f"{record['stage']}: {record['title']}" if record.get("title") else str(record["stage"])


def _print(table: Table, done: str, record: Mapping[str, Any], folder: Path, next_command: str | None) -> None:
    """Prints a table, and below it what was ``done`` at what cost, and the next command."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    console.print(
        f"{done}{record['tokens_sampled']:,} tokens sampled, "
        f"{record['wall_s'] / 60:.1f} minutes, peak memory {record['peak_rss_gb']:.2f} GB. Results: {folder}",
        highlight=False,
        soft_wrap=True,
    )
    if next_command:
        console.print(f"Next: {next_command}", highlight=False, soft_wrap=True)


def shown(interval: Mapping[str, float] | None) -> str:
    """An interval as text; a dash where no prompt had a value."""
    if interval is None or not interval["n"]:
        return "-"
    value = interval["value"]
    digits = 3 if abs(value) < 10 else 1
    return f"{value:.{digits}f} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"


def peak_rss_gb() -> float:
    """The most memory this process has held, in gigabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages a result depends on; None of one that is not installed as a package."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a checkout, say; a record must not be lost for that
        return None


def git_commit() -> str | None:
    """The checkout's commit; None outside of one."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        out = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return out.stdout.strip() or None
