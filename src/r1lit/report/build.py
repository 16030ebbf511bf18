"""``r1lit report``: the claims of the paper beside what a run measured, as a page and as JSON."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from jsonargparse import ArgumentParser

from r1lit.freshness import write_json
from r1lit.report.curves import curves_section
from r1lit.report.data import Report, gather
from r1lit.report.html import page
from r1lit.report.sections import (
    claims_section,
    cost_section,
    distillation_section,
    notices,
    origin_section,
    stages_section,
)
from r1lit.report.summary import headline, print_summary, summary

PAGE = "report.html"
SUMMARY = "summary.json"


def report(folder: str, out: str | None = None) -> None:
    """Writes report.html and summary.json of a run: stages, curves, costs, and a verdict on each claim of the paper.

    The runs of other seeds (FOLDER-seed1, ...) and the placebo (FOLDER-placebo) that lie beside it take part.

    Args:
        folder: Of the run, such as runs/tiny.
        out: Folder to write to; the run's own by default.

    Raises:
        InputError: If the folder is no run's, or a file of a stage cannot be read.
    """
    found = gather(folder)
    target = Path(out or folder)
    target.mkdir(parents=True, exist_ok=True)
    draft = target / f".{PAGE}.{os.getpid()}"
    draft.write_text(render(found), encoding="utf-8")
    draft.replace(target / PAGE)
    write_json(target / SUMMARY, summary(found))
    print_summary(found, [str(target / PAGE), str(target / SUMMARY)])


def main(argv: Sequence[str]) -> int:
    """Runs ``r1lit report``."""
    parser = ArgumentParser(prog="r1lit report", exit_on_error=False)
    parser.add_function_arguments(report, as_positional=True)
    report(**parser.parse_args(list(argv)).as_dict())
    return 0


def render(found: Report) -> str:
    """The page."""
    name = found.runs.main.name
    seeds = len(found.runs.seeds)
    header = (
        f"<h1>DeepSeek-R1’s recipe, run again: {escape(name)}</h1>"
        f'<p class="lead">{escape(headline(found.results))}.</p>'
        f'<p class="soft">{len(found.runs.main.stages)} stages, {seeds} seed{"s" * (seeds != 1)}'
        f"{', with a placebo' if found.placebo else ''}. Figures are counted from the stored completions; those of the "
        "paper are of models of quite another size and stand for direction, not for level.</p>"
    )
    sections = [
        ("claims", "Claims", claims_section(found)),
        ("stages", "Stages", stages_section(found)),
        ("self-evolution", "Self-evolution", curves_section(found)),
        ("distillation", "Distillation", distillation_section(found)),
        ("cost", "Cost", cost_section(found)),
        ("provenance", "Provenance", origin_section(found)),
    ]
    footer = (
        "Written by r1lit. The paper: DeepSeek-R1, arXiv 2501.12948 (v2 where not marked v1). The same figures, with "
        "every number tested, are in summary.json."
    )
    return page(f"r1lit report: {name}", header + notices(found), sections, footer)
