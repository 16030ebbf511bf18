"""A stage's measures, counted again from the completions that are stored: what the report shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from r1lit.freshness import STAGE_FILE
from r1lit.metrics.measures import ACCURACY, GENERAL_MEANS, MEANS, prompt_values, rows_by_prompt, summarize
from r1lit.report.runs import Stage
from r1lit.samples.table import FILE as SAMPLES

REFLECTIONS = "reflections"
"""Reflection words in a completion: what claims count beside the measures of ``stage.json``."""
_TOLERANCE = 1e-9

Figure = dict[str, Any]
"""``{"value", "low", "high", "n", "samples"}``: n counts prompts, samples completions; no value where n is 0."""


@dataclass(frozen=True)
class Recount:
    """The measures of a stage."""

    figures: dict[str, Figure]
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    """Each measure's value by prompt; none where the completions were not stored."""
    source: str = SAMPLES
    differs: tuple[str, ...] = ()
    """Measures that ``stage.json`` has otherwise."""


def recount(stage: Stage) -> Recount:
    """Counts a stage's measures from its stored completions; takes them from ``stage.json`` where none are stored.

    Raises:
        InputError: If the table of samples cannot be read.
    """
    recorded: Mapping[str, Any] = stage.record.get("metrics") or {}
    rows = stage.evaluation.get("eval", [])
    if not rows:
        return Recount({name: dict(figure) for name, figure in recorded.items()}, source=STAGE_FILE)
    figures: dict[str, Figure] = {
        name: _figure(interval, _count(rows, name)) for name, interval in summarize(rows).items()
    }
    values = prompt_values(rows) | {REFLECTIONS: _reflections(rows)}
    at_one = stage.evaluation.get("t1", [])
    if at_one:
        found = _figure(summarize(at_one)["pass@1"], _count(at_one, "pass@1"))
        figures = {"pass@1": figures.pop("pass@1"), "pass@1_t1": found, **figures}
        values["pass@1_t1"] = prompt_values(at_one)["pass@1"]
    # What is recorded beside and was not counted from completions.
    figures |= {name: dict(figure) for name, figure in recorded.items() if name not in figures}
    differs = tuple(name for name, figure in figures.items() if not _same(figure, recorded.get(name)))
    return Recount(figures, values, differs=differs)


def figure_name(names: Iterable[str], measure: str) -> str:
    """The figure that a measure means: ``cons`` and ``cons_TIER`` are the majority vote over all samples."""
    vote, _, tier = measure.partition("_")
    if vote != "cons":
        return measure
    return next((name for name in names if name.startswith("cons@") and name.partition("_")[2] == tier), measure)


def tiers(names: Iterable[str]) -> list[str]:
    """The tiers of difficulty beside the main one that figures are there of, in their order."""
    return [name.partition("_")[2] for name in names if name.startswith("pass@1_") and name != "pass@1_t1"]


def _figure(interval: Mapping[str, Any], samples: int) -> Figure:
    known = bool(interval["n"])
    return {name: interval[name] if known else None for name in ("value", "low", "high")} | {
        "n": interval["n"],
        "samples": samples,
    }


def _count(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    """Completions that a measure is counted from."""
    if name.startswith(("pass@", "cons@")):
        tier = name.partition("_")[2] or None
        return sum(row.get(ACCURACY) is not None and row.get("tier") == tier for row in rows)
    if name in GENERAL_MEANS:
        return sum(row.get(GENERAL_MEANS[name]) is not None for row in rows)
    return sum(row.get(MEANS.get(name, "figure/words")) is not None and row.get("tier") is None for row in rows)


def _reflections(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    groups = rows_by_prompt(row for row in rows if row.get("figure/reflections") is not None)
    return {prompt: sum(row["figure/reflections"] for row in group) / len(group) for prompt, group in groups.items()}


def _same(figure: Figure, recorded: Mapping[str, Any] | None) -> bool:
    if recorded is None:
        return not figure["n"]
    pairs = [(figure[name], recorded.get(name)) for name in ("value", "low", "high", "n")]
    return all(a == b if a is None or b is None else abs(a - b) <= _TOLERANCE * max(1.0, abs(a)) for a, b in pairs)
