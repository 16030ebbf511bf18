"""The section of curves: every stage of reinforcement learning while it learns, and its "aha" sample."""

import re
from html import escape
from typing import Any

from r1lit.metrics.measures import REFLECTION_WORDS, REFLECTION_WORDS_ZH
from r1lit.recipe import stage_title
from r1lit.report.data import Report
from r1lit.report.evolution import PANELS, RULE, Aha, Evolution
from r1lit.report.html import chart
from r1lit.report.svg import line_chart

_WORDS = re.compile(
    rf"\b(?:{'|'.join(REFLECTION_WORDS)})\b|{'|'.join(sorted(REFLECTION_WORDS_ZH, key=len, reverse=True))}",
    re.IGNORECASE,
)


def curves_section(report: Report) -> str:
    """Curves and sample of each stage of reinforcement learning."""
    if not report.evolutions:
        return "<p>No stage of reinforcement learning is there.</p>"
    intro = (
        "<p>Training’s own completions, at each rollout’s temperature: a dot for each rollout, and a running mean as "
        "the line. The dashed line marks the sample below the curves, which a rule chose.</p>"
        f"<details><summary>The rule</summary><p>{escape(RULE)}</p></details>"
    )
    return intro + "".join(_stage(name, found) for name, found in report.evolutions.items())


def _stage(name: str, found: Evolution) -> str:
    mark = found.aha.step if found.aha else None
    charts = []
    for heading, unit, series in PANELS:
        lines = {label: found.curves[key] for key, label in series.items() if found.curves.get(key)}
        if lines:
            charts.append(chart(heading, unit, list(lines), line_chart(lines, mark=mark)))
    title = stage_title(name)
    heading = f"{title} ({name})" if title != name else name
    sample = _sample(found.aha) if found.aha else f"<p class='soft'>No such sample: {escape(found.missing)}.</p>"
    return f'<h3>{escape(heading)}</h3><div class="charts">{"".join(charts)}</div>{sample}'


def _sample(aha: Aha) -> str:
    row: dict[str, Any] = aha.sample
    parts: list[str] = []
    place = 0
    for match in _WORDS.finditer(row["text"]):
        parts += [escape(row["text"][place : match.start()]), f"<mark>{escape(match.group())}</mark>"]
        place = match.end()
    parts.append(escape(row["text"][place:]))
    return (
        '<div class="sample"><b>Where trying again becomes common</b>: '
        f"update {aha.step}, {aha.share:.0%} of correct completions (from {aha.first:.0%} at the beginning to "
        f"{aha.last:.0%} at the end). Prompt <code>{escape(row['prompt_id'])}</code>, sample {row['sample']}, "
        f"{row['tokens']} tokens, reference {escape(str(row['reference']))}."
        f"<pre><b>{escape(row['question'])}</b>\n\n{''.join(parts)}</pre></div>"
    )
