"""The stage table over several seeds: each measure's mean and range.

    python -m r1lit.report.stages runs/tiny-seed1 runs/tiny-seed2 runs/tiny-seed3

A stage counts in each run that has its ``stage.json``; the base, which is the same for all seeds, may be one of the
folders named. Where two stages kept their samples, ``helpful_win_rate`` sets R1's replies against Dev3's.
"""

import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from r1lit.errors import InputError
from r1lit.freshness import STAGE_FILE
from r1lit.recipe import STAGES
from r1lit.report.recount import tiers
from r1lit.report.wins import helpful_wins

MEASURES = (
    "pass@1", "pass@1_t1", "cons@16", "format", "language_consistency", "truncated",
    "mean_length", "mean_length_stepwise", "stepwise", "reflection_per_1k_words",
    "refusal_harmful", "over_refusal", "helpful", "json_valid", "tool_accuracy", "helpful_win_rate",
)  # fmt: skip
AGAINST = "sft2"
"""The stage that the last one's replies are set against, prompt by prompt: ``helpful_win_rate``."""

Values = dict[str, dict[str, list[float]]]
"""Values by stage and measure, one for each run."""


def read_stages(folders: Sequence[str | Path]) -> Values:
    """Collects the measures of all stages in the folders of several runs.

    Raises:
        InputError: If a folder is missing or holds no finished stage, or a record cannot be read.
    """
    found: Values = {}
    for folder in map(Path, folders):
        records = sorted(folder.glob(f"*/{STAGE_FILE}"))
        if not records:
            raise InputError(f"{folder}: no finished stage ({folder}/STAGE/{STAGE_FILE}); run one, as by make zero")
        for record in records:
            for measure, interval in _metrics(record).items():
                if interval["value"] is not None:
                    found.setdefault(record.parent.name, {}).setdefault(measure, []).append(float(interval["value"]))
            if record.parent.name.startswith("rl2") and (wins := helpful_wins(record.parent, folder / AGAINST)):
                found[record.parent.name]["helpful_win_rate"] = [
                    *found[record.parent.name].get("helpful_win_rate", ()),
                    wins["value"],
                ]
    return found


def _metrics(record: Path) -> Mapping[str, Any]:
    try:
        metrics: Mapping[str, Any] = json.loads(record.read_text(encoding="utf-8")).get("metrics") or {}
    except ValueError as error:
        raise InputError(f"{record}: not a JSON file ({error}); delete it to run the stage again") from error
    return metrics


def summarize(values: Sequence[float]) -> str:
    """Mean and range, such as ``0.952 [0.938, 0.964]``; a single value alone."""
    digits = 3 if max(map(abs, values)) < 10 else 1
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def stage_table(folders: Sequence[str | Path]) -> Table:
    """One row for each measure, one column for each stage: mean and range over the runs.

    Raises:
        InputError: See :func:`read_stages`.
    """
    values = read_stages(folders)
    stages = [stage.name for stage in STAGES if not stage.student and values.get(stage.name)]
    table = Table(title="mean and range over runs")
    table.add_column("measure")
    for name in stages:
        table.add_column(f"{name} (n={max(map(len, values[name].values()))})", justify="right")
    for measure in _with_tiers(name for stage in stages for name in values[stage]):
        cells = [summarize(values[name][measure]) if measure in values[name] else "" for name in stages]
        if any(cells):
            table.add_row(measure, *cells)
    return table


def _with_tiers(names: Iterable[str]) -> list[str]:
    """The measures of the table: those of harder tiers stand below the main one's."""
    known = dict.fromkeys(names)
    harder = [name for tier in tiers(known) for name in (f"pass@1_{tier}", f"cons@16_{tier}")]
    place = MEASURES.index("cons@16") + 1
    return [*MEASURES[:place], *harder, *MEASURES[place:]]


def main(folders: Sequence[str]) -> int:
    """Prints the table; 2 where there is nothing to show."""
    try:
        if not folders:
            raise InputError("name the folders of runs, such as runs/tiny-seed1 runs/tiny-seed2")
        table = stage_table(folders)
    except InputError as error:
        print(f"r1lit: {error}", file=sys.stderr)
        return 2
    Console(width=200 if not sys.stdout.isatty() else None).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
