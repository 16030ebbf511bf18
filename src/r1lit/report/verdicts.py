"""What becomes of the claims on given runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from r1lit.report.claims import CLAIMS, Claim, Contrast
from r1lit.report.contrast import Estimate, Values, estimate
from r1lit.report.recount import Recount, figure_name
from r1lit.report.runs import Run

Verdict = Literal["reproduced", "not reproduced", "not measurable here", "not measured"]
Recounts = Mapping[str, Recount]
"""A run's stages, counted."""

BOUNDED = frozenset(
    {"pass@1", "cons", "format", "language_consistency", "helpful", "refusal_harmful", "json_valid", "tool_accuracy"}
)
"""Measures that end at 1, those of all tiers too."""
_NO_ROOM = 0.005


@dataclass(frozen=True)
class Finding:
    """A contrast on given runs."""

    contrast: Contrast
    estimate: Estimate | None
    passed: bool | None
    """None where it could not be tested, and then ``why``."""
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """What ``summary.json`` says of it."""
        found = self.estimate
        shown = {} if found is None else {name: getattr(found, name) for name in Estimate.__dataclass_fields__}
        return {"number": self.contrast.number, "test": self.contrast.test, "passed": self.passed, **shown}


@dataclass(frozen=True)
class Result:
    """A claim's verdict on given runs."""

    claim: Claim
    verdict: Verdict
    findings: tuple[Finding, ...]
    runs: tuple[str, ...]
    """Names of the runs that it was tested on."""
    why: str = ""
    """Why it is not measured, or not measurable."""


def judge_claims(runs: Sequence[tuple[Run, Recounts]], claims: Sequence[Claim] = CLAIMS) -> list[Result]:
    """Tests every claim on all runs that have its stages, over problems and seeds together."""
    return [judge_claim(claim, runs) for claim in claims]


def judge_claim(claim: Claim, runs: Sequence[tuple[Run, Recounts]]) -> Result:
    """Tests one claim."""
    complete = [(run, counts) for run, counts in runs if all(name in counts for name in claim.stages)]
    if not complete:
        missing = min(([n for n in claim.stages if n not in counts] for _, counts in runs), key=len, default=[])
        return Result(claim, "not measured", (), (), f"no stage {', '.join(missing) or ', '.join(claim.stages)}")
    stored = [(run, counts) for run, counts in complete if all(counts[name].values for name in claim.stages)]
    if not stored:
        run, counts = complete[0]
        bare = next(name for name in claim.stages if not counts[name].values)
        why = f"{run.stages[bare].folder.parent.name}/{bare} keeps no evaluation samples; run it again"
        return Result(claim, "not measured", (), (), why)
    findings = tuple(_find(contrast, [counts for _, counts in stored]) for contrast in claim.contrasts)
    names = tuple(run.name for run, _ in stored)
    if any(found.passed is False for found in findings):
        return Result(claim, "not reproduced", findings, names)
    if unclear := [found.why for found in findings if found.passed is None]:
        return Result(claim, "not measurable here", findings, names, "; ".join(unclear))
    return Result(claim, "reproduced", findings, names)


def _find(contrast: Contrast, runs: Sequence[Recounts]) -> Finding:
    after = [_values(counts[contrast.after], contrast.measure) for counts in runs]
    before = None
    if contrast.before is not None:
        before = [_values(counts[contrast.before], contrast.before_measure or contrast.measure) for counts in runs]
    found = estimate(contrast.kind, after, before)
    if found is None:
        return Finding(contrast, None, None, f"no problem has {contrast.measure} in {contrast.number}")
    if contrast.floor is not None and found.after < contrast.floor:
        why = f"{contrast.after} is at {found.after:.3f}, below {contrast.floor:g}: it fails for another reason"
        return Finding(contrast, found, None, why)
    end: float = getattr(found, contrast.end)
    if contrast.below is not None:
        # That the gain is below this says nothing where no such gain is possible.
        passed, unclear = end < contrast.below, contrast.below > 0 and _leaves_no_room(contrast, found, contrast.below)
    else:
        assert contrast.above is not None
        passed = end > contrast.above
        unclear = not passed and contrast.above >= 0 and _leaves_no_room(contrast, found, contrast.above)
        unclear = unclear and found.high >= 0  # a clear loss can be measured
    if unclear:
        return Finding(
            contrast, found, None, f"{contrast.before} is at {found.before:.3f}, which leaves no room to gain"
        )
    return Finding(contrast, found, passed)


def _leaves_no_room(contrast: Contrast, found: Estimate, gain: float) -> bool:
    """Whether what is compared with is so near the top that nothing can lie so much above it."""
    if contrast.kind != "difference" or not _is_bounded(contrast.measure) or found.before is None:
        return False
    return found.before + gain > 1 - _NO_ROOM


def _is_bounded(measure: str) -> bool:
    return measure in BOUNDED or measure.partition("_")[0] in ("pass@1", "cons")


def _values(counted: Recount, measure: str) -> Values:
    return counted.values.get(figure_name(counted.values, measure), {})
