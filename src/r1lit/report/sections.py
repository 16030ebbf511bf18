"""The sections of the report's page."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from r1lit.recipe import STAGES, stage_title
from r1lit.report.claims import CLAIMS
from r1lit.report.data import Report, finding_text
from r1lit.report.html import cell, chart, figure_cell, row, table
from r1lit.report.recount import figure_name, tiers
from r1lit.report.svg import interval_chart
from r1lit.report.verdicts import Result

ON_PATH = tuple(stage.name for stage in STAGES if stage.on_path)
"""The stages of Table 3, after the base."""
STUDENTS = tuple(stage.name for stage in STAGES if stage.student)
MEASURES = {
    "pass@1": "pass@1",
    "pass@1_t1": "pass@1, temperature 1",
    "cons": "majority vote",
    "format": "format",
    "language_consistency": "language consistency",
    "helpful": "helpful",
    "refusal_harmful": "refuses harmful requests",
    "over_refusal": "refuses harmless ones",
    "json_valid": "valid JSON",
    "tool_accuracy": "right tool call",
    "mean_length": "length (tokens)",
    "mean_length_stepwise": "length of those that reason",
    "stepwise": "share that reasons",
    "reflection_per_1k_words": "reflection words per 1,000",
    "truncated": "truncated",
}
_LOWER = frozenset({"over_refusal", "truncated"})
_NEITHER = frozenset({"mean_length", "mean_length_stepwise", "stepwise", "reflection_per_1k_words"})


def claims_section(report: Report) -> str:
    """Every claim with its test, the paper's figures, ours, the verdict and the placebo's."""
    heads = ["Claim and test", "Paper", "This run", "Verdict", "Seeds agree", "Placebo"]
    rows = [_claim_row(report, index, heads) for index in range(len(report.results))]
    seeds = ", ".join(run.name for run in report.runs.seeds)
    caption = (
        "The paper’s claims. Each test was fixed in code before any run: a paired bootstrap over held-out problems and "
        f"seeds ({escape(seeds)}), 95 % intervals. “Not measurable here” means that the runs leave no room to see it, "
        "“not measured” that a stage is missing."
    )
    reproduced = [name for name, result in report.placebo.items() if result.verdict == "reproduced"]
    if report.placebo:
        told = f"It reproduces {', '.join(reproduced)}." if reproduced else "It reproduces none of them."
        asked = f"The placebo, RL on shuffled rewards, takes the same tests of {len(report.placebo)} claims. {told}"
    else:
        asked = "There is no placebo run, so nothing here shows that the tests can fail."
    return f"<p>{escape(asked)}</p>" + table(caption, heads, rows, "claims")


def _claim_row(report: Report, index: int, heads: Sequence[str]) -> str:
    result = report.results[index]
    claim = result.claim
    tests = "".join(f'<span class="test">{_minus(contrast.test)}</span>' for contrast in claim.contrasts)
    note = f'<span class="test">{escape(claim.note)}</span>' if claim.note else ""
    placebo = report.placebo.get(claim.id)
    seeds = "; ".join(f"{name}: {results[index].verdict}" for name, results in report.by_run.items())
    same = sum(results[index].verdict == result.verdict for results in report.by_run.values())
    cells = [
        f"<td>{escape(claim.paper)}</td>",
        f"<td>{_ours(result)}</td>",
        f"<td>{verdict_mark(result.verdict)}</td>",
        f'<td title="{escape(seeds)}">{same} of {len(report.by_run)}</td>',
        _placebo_cell(placebo),
    ]
    # On a narrow page each cell stands under its heading.
    headed = [c.replace("<td", f'<td data-head="{escape(h)}"', 1) for c, h in zip(cells, heads[1:], strict=True)]
    return row(f'<span class="title">{escape(claim.title)}</span>{tests}{note}', headed)


def _ours(result: Result) -> str:
    lines = [_minus(finding_text(found)) for found in result.findings]
    lines += [escape(found.why) for found in result.findings if found.estimate and found.why]
    if not lines:
        lines = [escape(result.why)]
    return "<br>".join(lines) or "–"


def _placebo_cell(result: Result | None) -> str:
    if result is None:
        return '<td class="none">–</td>'
    return f'<td title="{escape(_plain_ours(result))}">{verdict_mark(result.verdict)}</td>'


def _minus(text: str) -> str:
    """HTML of a text, with minus signs for hyphens that stand alone or before a number."""
    return re.sub(r"(?<![\w-])-(?=[\s\d])", "\N{MINUS SIGN}", escape(text))


def _plain_ours(result: Result) -> str:
    return "; ".join(finding_text(found) for found in result.findings) or result.why


def verdict_mark(verdict: str) -> str:
    """A verdict in its colour, with a sign that does without."""
    sign = {"reproduced": "✓", "not reproduced": "✗"}.get(verdict, "–")
    return f'<span class="verdict {verdict.replace(" ", "-")}">{sign} {escape(verdict)}</span>'


def stages_section(report: Report) -> str:
    """The stage table, as the paper's Table 3, and pass@1 as a chart for each tier."""
    present = [name for name in ON_PATH if report.main.get(name) and report.main[name].figures]
    caption = (
        "Every stage on the same held-out prompts at temperature 0.6 and top-p 0.95 (the paper’s Table 3). Below each "
        "figure its 95 % bootstrap interval over prompts. Bold: the best of the row."
    )
    names = dict.fromkeys(name for stage in present for name in report.main[stage].figures)
    pictures = [_by_stage(report, present, tier) for tier in ("", *tiers(names))]
    extra = "rl1-no-language"
    if extra in report.main:
        present = [*present, extra]
    return _stage_table(report, caption, present) + "".join(pictures)


def _by_stage(report: Report, stages: Sequence[str], tier: str) -> str:
    """pass@1 of the stages as a chart; nothing where none has it."""
    rows = [
        (stage_title(name), figure["value"], figure["low"], figure["high"])
        for name in stages
        if (figure := report.main[name].figures.get(f"pass@1_{tier}" if tier else "pass@1"))
        and figure["value"] is not None
    ]
    title = f"pass@1 by stage{f', {tier}' if tier else ''}"
    picture = chart(title, "share of completions that are correct", (), interval_chart(rows, "pass@1"), True)
    return picture if rows else ""


def distillation_section(report: Report) -> str:
    """The student's tables, as the paper's Tables 5 and 6."""
    present = [name for name in STUDENTS if report.main.get(name) and report.main[name].figures]
    if not present:
        return "<p>No student was trained: the stages distill, distill-zero and distill-rl are missing.</p>"
    teacher = next((name for name in ("rl2", "sft2") if name in report.main), None)
    first = _stage_table(
        report,
        "The student by way of learning, beside its teacher (the paper’s Tables 5 and 6).",
        [*([teacher] if teacher else []), *present],
    )
    rows = []
    for name in present:
        record = report.runs.main.stages[name].record
        figure = report.main[name].figures.get("pass@1")
        rows.append(row(escape(stage_title(name)), [figure_cell(figure), *_effort(record)]))
    second = table(
        "Distillation against RL on the same student, with what each took.",
        ["Student", "pass@1", "minutes", "updates", "tokens sampled", "peak memory (GB)", "energy (Wh)"],
        rows,
    )
    return first + second


def _stage_table(report: Report, caption: str, stages: Sequence[str]) -> str:
    rows = []
    for measure, words in _measures(report, stages).items():
        figures = [_figure(report, stage, measure) for stage in stages]
        values = [figure["value"] for figure in figures if figure and figure.get("value") is not None]
        if not values:
            continue
        best = None
        if len(values) > 1 and measure not in _NEITHER and min(values) < max(values):
            best = min(values) if measure in _LOWER else max(values)
        cells = [figure_cell(f, f is not None and f.get("value") is not None and f["value"] == best) for f in figures]
        rows.append(row(escape(words), cells))
    return table(caption, ["", *(stage_title(name) for name in stages)], rows)


def _measures(report: Report, stages: Sequence[str]) -> dict[str, str]:
    """The measures of a stage table, by name, in words; those of harder tiers stand below the main one's."""
    names = list(dict.fromkeys(name for stage in stages for name in report.main[stage].figures))
    found = {}
    for measure, words in MEASURES.items():
        votes = measure == "cons"
        found[measure] = figure_name(names, measure) if votes else words
        if votes:
            for tier in tiers(names):
                found[f"pass@1_{tier}"] = f"pass@1, {tier}"
                found[f"cons_{tier}"] = figure_name(names, f"cons_{tier}").replace("_", ", ")
    return found


def _figure(report: Report, stage: str, measure: str) -> dict[str, Any] | None:
    figures = report.main[stage].figures
    return figures.get(figure_name(figures, measure))


def _effort(record: dict[str, object]) -> list[str]:
    def shown(key: str, scale: float, form: str) -> str:
        value = record.get(key)
        return cell(format(float(value) / scale, form) if isinstance(value, int | float) else "–")

    return [
        shown("wall_s", 60, ".1f"),
        shown("updates", 1, ",.0f"),
        shown("tokens_sampled", 1, ",.0f"),
        shown("peak_rss_gb", 1, ".2f"),
        shown("energy_wh", 1, ".1f"),
    ]


def cost_section(report: Report) -> str:
    """Wall time, tokens, memory and energy of each stage."""
    records = {name: stage.record for name, stage in report.runs.main.stages.items()}
    rows = [row(escape(stage_title(name)), [cell(name), *_effort(record)]) for name, record in records.items()]
    total = {
        key: sum(value for record in records.values() if isinstance(value := record.get(key), int | float))
        for key in ("wall_s", "updates", "tokens_sampled")
    }
    energies = [wh for record in records.values() if (wh := record.get("energy_wh")) is not None]
    if len(energies) == len(records):  # else the sum would be too small
        total["energy_wh"] = sum(energies)
    rows.append(row("<b>All</b>", [cell(""), *_effort(dict(total))]))
    caption = "What each stage took. A dash: not recorded, as energy is where the machine does not tell it."
    heads = ["Stage", "folder", "minutes", "updates", "tokens sampled", "peak memory (GB)", "energy (Wh)"]
    return table(caption, heads, rows)


def origin_section(report: Report) -> str:
    """Where every artefact comes from: seed, commit, and the hashes of config, code and inputs."""
    rows = []
    for name, stage in report.runs.main.stages.items():
        record = stage.record
        print_of = record.get("fingerprint") or {}
        inputs = print_of.get("inputs") or {}
        read = "<br>".join(
            f'{escape(flag.removeprefix("--"))} <code title="{escape(value)}">{escape(value[:12])}</code>'
            for flag, value in inputs.items()
        )
        rows.append(
            row(
                escape(name),
                [
                    cell(str(record.get("seed", "–"))),
                    _hash(record.get("git_commit")),
                    _hash(print_of.get("config")),
                    _hash(print_of.get("code")),
                    f"<td>{read or '–'}</td>",
                    cell(str(record.get("device", "–"))),
                ],
            )
        )
    first = next(iter(report.runs.main.stages.values())).record
    versions = ", ".join(f"{name} {version}" for name, version in (first.get("versions") or {}).items())
    caption = "Beginnings of SHA-256 hashes; the whole ones are in summary.json and under the pointer."
    heads = ["Stage", "seed", "commit", "config", "code", "inputs", "device"]
    return table(caption, heads, rows, "origin") + f"<p class='soft'>{escape(versions)}</p>"


def _hash(value: object) -> str:
    if not isinstance(value, str):
        return "<td>–</td>"
    return f'<td><code title="{escape(value)}">{escape(value[:12])}</code></td>'


def notices(report: Report) -> str:
    """What is missing, and what else a reader must know."""
    lines = []
    if report.missing:
        lines.append(f"Missing stages: {', '.join(report.missing)}. Claims that need them are not measured.")
    never = sorted({name for claim in CLAIMS for name in claim.stages} - report.main.keys() - set(report.missing))
    if never:
        lines.append(f"Further runs that claims ask for and that are not here: {', '.join(never)}.")
    lines += report.notes
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<aside class="notice" aria-label="Notes">{body}</aside>' if lines else ""
