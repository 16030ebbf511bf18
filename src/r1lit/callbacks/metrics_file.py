"""What a run logs, as one CSV file that a resumed run goes on with."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from r1lit.callbacks.base import RolloutCallback

FILE = "metrics.csv"


class MetricsFile(RolloutCallback):
    """Appends a row for each training batch (a rollout, or an update of fine-tuning) to ``metrics.csv``.

    Lightning's CSVLogger deletes earlier rows when a run is resumed. Here a resumed run drops only the rows of batches
    that it does again.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drops rows from the batch on that comes next."""
        path = Path(trainer.default_root_dir) / FILE
        if trainer.is_global_zero and path.is_file():
            module: Any = pl_module
            _write(path, [row for row in read_rows(path) if float(row[module.unit]) < module.batches_done])

    def on_metrics(
        self, trainer: Trainer, pl_module: LightningModule, index: int, metrics: Mapping[str, float]
    ) -> None:
        """Appends the batch's metrics."""
        if not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / FILE
        unit = str(pl_module.unit)
        row = {unit: str(index), **{name: f"{value:.6g}" for name, value in metrics.items()}}
        known = read_header(path)
        if not known or set(row) - set(known):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, [*(read_rows(path) if known else []), row])
            return
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, known).writerow(row)


def read_header(path: Path) -> list[str]:
    """The columns of a metrics file; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics file as text; a last row that was cut by a kill is left out."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row and None not in row.values()]


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    draft.replace(path)
