"""Win rates from stored samples."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1lit.report.wins import helpful_wins, win_rate


def write(folder, grades):
    folder.mkdir()
    rows = [
        {"split": heading, "prompt_id": name, "figure/helpfulness": grade}
        for name, column in grades.items()
        for grade in column
        for heading in ("eval", "t1")
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
    return folder


def test_win_rate_counts_pairs_and_half_the_ties():
    assert win_rate([1.0, 1.0], [0.5, 1.0]) == pytest.approx(3 / 4)
    assert win_rate([0.0], [1.0, 1.0]) == 0.0
    assert win_rate([0.5], [0.5]) == 0.5


def test_prompts_that_both_have_are_compared(tmp_path):
    ours = write(tmp_path / "rl2", {"a": [1.0, 1.0], "b": [0.5, 0.5], "only": [1.0], "reasoning": [None]})
    theirs = write(tmp_path / "sft2", {"a": [0.0, 1.0], "b": [1.0, 0.5], "reasoning": [None]})
    found = helpful_wins(ours, theirs)
    assert found["n"] == 2
    assert found["value"] == pytest.approx((3 / 4 + 1 / 4) / 2)


def test_stages_without_graded_replies_have_no_rate(tmp_path):
    ours = write(tmp_path / "rl2", {"a": [1.0]})
    assert helpful_wins(ours, tmp_path / "sft2") is None
