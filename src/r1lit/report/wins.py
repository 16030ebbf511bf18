"""How often one stage's replies are more helpful than another's, prompt by prompt, from the samples that both kept."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from r1lit.functional.estimators import Interval, bootstrap_interval
from r1lit.samples.table import FILE as SAMPLES
from r1lit.samples.table import SPLIT

GRADE = "figure/helpfulness"
"""The grade of the held-out check, a rule and no reward model: 1, 0.5 or 0."""


def win_rate(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Share of all pairs of our and their replies to one prompt that ours wins; a tie is half a win."""
    wins = sum((a > b) + (a == b) / 2 for a in ours for b in theirs)
    return wins / (len(ours) * len(theirs))


def read_grades(stage: Path) -> dict[str, list[float]]:
    """Grades of a stage's replies to the held-out prompts, by prompt id; empty where it kept none."""
    path = stage / SAMPLES
    if not path.is_file() or not {SPLIT, GRADE} <= {*pq.read_schema(path).names}:
        return {}
    found: dict[str, list[float]] = {}
    for row in pq.read_table(path, columns=[SPLIT, "prompt_id", GRADE]).to_pylist():
        if row[SPLIT] == "eval" and row[GRADE] is not None:
            found.setdefault(row["prompt_id"], []).append(float(row[GRADE]))
    return found


def helpful_wins(stage: Path, other: Path) -> Interval | None:
    """Mean over prompts of the win rate of one stage's replies against another's, with a 95 % bootstrap interval.

    Args:
        stage: Folder of the stage whose wins are counted.
        other: Folder of the stage it is set against.

    Returns:
        None where either kept no graded replies, or they share no prompt.
    """
    ours, theirs = read_grades(stage), read_grades(other)
    rates = [win_rate(ours[name], theirs[name]) for name in sorted(ours.keys() & theirs.keys())]
    return bootstrap_interval(rates) if rates else None
