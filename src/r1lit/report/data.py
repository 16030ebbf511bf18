"""All that a report says, before it is written in any form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1lit.recipe import STAGES
from r1lit.report.claims import CLAIMS, Claim
from r1lit.report.evolution import Evolution, evolve, has_rl
from r1lit.report.html import interval_text
from r1lit.report.recount import Recount, recount
from r1lit.report.runs import Run, Runs, find_runs
from r1lit.report.verdicts import Finding, Result, judge_claims

_FEW_SEEDS = 5
"""With fewer, a bootstrap over seeds is too narrow: at two, about two thirds of its 95 % intervals hold the truth."""


@dataclass(frozen=True)
class Report:
    """The contents of a report."""

    runs: Runs
    counts: dict[str, dict[str, Recount]]
    """By run and stage."""
    results: list[Result]
    """The claims on all runs together."""
    by_run: dict[str, list[Result]]
    """The claims on each run alone."""
    placebo: dict[str, Result]
    """By claim, those that shuffled rewards must not reproduce; empty without such a run."""
    evolutions: dict[str, Evolution]
    """Of the main run's stages of reinforcement learning."""
    missing: list[str]
    """Stages of the recipe that the main run lacks."""
    notes: list[str]
    """What a reader should know of these files."""

    @property
    def main(self) -> dict[str, Recount]:
        """The main run's stages, counted."""
        return self.counts[self.runs.main.name]


def gather(folder: str | Path, claims: Sequence[Claim] = CLAIMS) -> Report:
    """Reads the runs and counts everything.

    Raises:
        InputError: If the folder is no run's, or a file of a stage cannot be read.
    """
    runs = find_runs(folder)
    everyone = (*runs.seeds, *runs.placebos)
    counts = {run.name: {name: recount(stage) for name, stage in run.stages.items()} for run in everyone}
    pairs = [(run, counts[run.name]) for run in runs.seeds]
    true_placebos = [run for run in runs.placebos if _is_placebo(run)]
    asked = [claim for claim in claims if claim.asks_placebo]
    placebo = judge_claims([(run, counts[run.name]) for run in true_placebos], asked) if true_placebos else []
    stages = runs.main.stages
    return Report(
        runs=runs,
        counts=counts,
        results=judge_claims(pairs, claims),
        by_run={run.name: judge_claims([(run, counted)], claims) for run, counted in pairs},
        placebo={result.claim.id: result for result in placebo},
        evolutions={name: evolve(stage) for name, stage in stages.items() if has_rl(stage)},
        missing=[stage.name for stage in STAGES if stage.whole and stage.seeded and stage.name not in stages],
        notes=_notes(runs, counts, len(true_placebos)),
    )


def _is_placebo(run: Run) -> bool:
    """Whether all that a run trained, it trained on shuffled rewards."""
    return all(stage.record.get("placebo", True) for name, stage in run.stages.items() if name != "base")


def _notes(runs: Runs, counts: dict[str, dict[str, Recount]], placebos: int) -> list[str]:
    notes = []
    for run in (*runs.seeds, *runs.placebos):
        own = {name: c for name, c in counts[run.name].items() if run is runs.main or name != "base"}
        for name, counted in own.items():
            if counted.differs:
                notes.append(
                    f"{run.name}/{name}: stage.json differs from its samples in {', '.join(counted.differs)}; "
                    "the figures here are counted from the samples."
                )
        if bare := [name for name, counted in own.items() if "pass@1" in counted.figures and not counted.values]:
            notes.append(
                f"{run.name}: no evaluation samples are kept of {', '.join(bare)}; their figures are those of "
                "stage.json, and no claim is tested on them. Run them again."
            )
    for run in runs.seeds:
        if shuffled := [name for name, stage in run.stages.items() if stage.record.get("placebo")]:
            notes.append(
                f"{run.name}: {', '.join(shuffled)} learned from shuffled rewards; its verdicts are those of a placebo."
            )
    if not runs.placebos:
        notes.append("There is no run with shuffled rewards (make zero PLACEBO=1).")
    elif placebos < len(runs.placebos):
        notes.append("A placebo's folder holds stages whose rewards were not shuffled; it is left out.")
    if len(runs.seeds) == 1:
        notes.append("There is one seed: intervals are over problems alone.")
    elif len(runs.seeds) < _FEW_SEEDS:
        notes.append(f"There are {len(runs.seeds)} seeds: intervals understate how much seeds differ.")
    return notes


def ours(result: Result) -> str:
    """What was measured for a claim, in a line for each number."""
    if not result.findings:
        return result.why
    return "; ".join(finding_text(found) for found in result.findings)


def finding_text(found: Finding) -> str:
    """One measured number with its interval."""
    estimate = found.estimate
    if estimate is None:
        return found.why
    figure: dict[str, Any] = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    sides = "" if estimate.before is None else f" ({_short(estimate.before)} to {_short(estimate.after)})"
    return f"{found.contrast.number}: {interval_text(figure)}{sides}"


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
