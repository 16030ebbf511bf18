"""``summary.json``, and the summary that is printed."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from r1lit.recipe import stage_title
from r1lit.report.data import Report, ours
from r1lit.report.evolution import RULE
from r1lit.report.verdicts import Result

EFFORT = ("wall_s", "tokens_sampled", "updates", "rollouts", "peak_rss_gb", "energy_wh")
ORIGIN = ("seed", "init_from", "previous", "fingerprint", "git_commit", "versions", "device", "world_size")


def summary(report: Report) -> dict[str, Any]:
    """The report as JSON: stages with their measures, claims with verdicts, the placebo, and every number tested."""
    return {
        "run": report.runs.main.name,
        "seeds": [run.name for run in report.runs.seeds],
        "placebos": [run.name for run in report.runs.placebos],
        "missing": report.missing,
        "notes": report.notes,
        "stages": {name: _stage(report, name) for name in report.runs.main.stages},
        "by_seed": {
            run.name: {name: counted.figures for name, counted in report.counts[run.name].items() if counted.figures}
            for run in report.runs.seeds
        },
        "claims": [_claim(report, index) for index in range(len(report.results))],
        "placebo_reproduces": [name for name, result in report.placebo.items() if result.verdict == "reproduced"],
        "evolution": {name: _aha(report, name) for name in report.evolutions},
    }


def _stage(report: Report, name: str) -> dict[str, Any]:
    counted, record = report.main[name], report.runs.main.stages[name].record
    known = {key: record[key] for key in (*EFFORT, *ORIGIN) if key in record}
    return {
        "title": stage_title(name),
        "metrics": counted.figures,
        "source": counted.source,
        "differs_from_record": list(counted.differs),
        **known,
    }


def _claim(report: Report, index: int) -> dict[str, Any]:
    result = report.results[index]
    claim = result.claim
    placebo = report.placebo.get(claim.id)
    return {
        "id": claim.id,
        "title": claim.title,
        "paper": claim.paper,
        "ours": ours(result),
        "test": " and ".join(contrast.test for contrast in claim.contrasts),
        "verdict": result.verdict,
        "why": result.why,
        "runs": list(result.runs),
        "findings": [found.to_json() for found in result.findings],
        "by_run": {name: results[index].verdict for name, results in report.by_run.items()},
        "placebo": placebo and {"verdict": placebo.verdict, "ours": ours(placebo), "runs": list(placebo.runs)},
    }


def _aha(report: Report, name: str) -> dict[str, Any] | None:
    aha = report.evolutions[name].aha
    if aha is None:
        return None
    return {
        "rule": RULE,
        "step": aha.step,
        "share": aha.share,
        "first": aha.first,
        "last": aha.last,
        "sample": aha.sample,
    }


def print_summary(report: Report, files: list[str]) -> None:
    """Prints the claims with their verdicts, and where the files are."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title=headline(report.results))
    for heading in ("claim", "ours", "verdict", "placebo"):
        table.add_column(heading, overflow="fold")
    for result in report.results:
        placebo = report.placebo.get(result.claim.id)
        table.add_row(result.claim.title, ours(result), result.verdict, placebo.verdict if placebo else "")
    console.print(table)
    if report.missing:
        console.print(f"missing stages: {', '.join(report.missing)}", highlight=False)
    for note in report.notes:
        console.print(note, highlight=False)
    console.print(f"Results: {' and '.join(files)}", highlight=False, soft_wrap=True)


def headline(results: list[Result]) -> str:
    """How many claims came to what."""
    verdicts = [result.verdict for result in results]
    parts = [f"{verdicts.count('reproduced')} of {len(verdicts)} claims reproduced"]
    for name in ("not reproduced", "not measurable here", "not measured"):
        if count := verdicts.count(name):
            parts.append(f"{count} {name}")
    return ", ".join(parts)
