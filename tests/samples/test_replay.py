"""Recorded completions as an engine."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1lit.errors import InputError
from r1lit.samples.replay import ReplayEngine
from r1lit.types import Message, Prompt, SamplingParams

PROMPTS = [Prompt(name, (Message("user", "?"),)) for name in ("a", "b", "c")]


def recorded(tmp_path):
    rows = [
        {
            "rollout": rollout,
            "prompt_id": prompt,
            "sample": sample,
            "text": f"<think>{rollout}</think><answer>{prompt}{sample}</answer>",
            "finish_reason": "stop",
            "tokens": 10 * rollout + sample,
        }
        for rollout, prompt in ((0, "a"), (1, "b"), (2, "a"))
        for sample in range(2)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "samples.parquet")
    return str(tmp_path / "samples.parquet")


def found(engine, n):
    rows = engine.generate(PROMPTS, SamplingParams(n=n))
    return [(c.prompt.id, c.sample, c.reasoning, c.answer, c.tokens) for c in rows]


def test_latest_rollouts_come_first(tmp_path):
    engine = ReplayEngine(recorded(tmp_path))
    assert found(engine, 3) == [
        ("a", 0, "2", "a0", 20),
        ("a", 1, "2", "a1", 21),
        ("a", 2, "0", "a0", 0),
        ("b", 0, "1", "b0", 10),
        ("b", 1, "1", "b1", 11),
    ]


def test_early_rollouts_are_left_out(tmp_path):
    assert [row[:2] for row in found(ReplayEngine(recorded(tmp_path), from_rollout=2), 8)] == [("a", 0), ("a", 1)]


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        ReplayEngine(str(tmp_path / "samples.parquet"))
    path = tmp_path / "samples.parquet"
    pq.write_table(pa.table({"prompt_id": ["a"]}), path)
    with pytest.raises(InputError, match="no column 'text'"):
        list(ReplayEngine(str(path)).generate(PROMPTS, SamplingParams()))
    path.write_text("nonsense")
    with pytest.raises(InputError, match=r"samples\.parquet"):
        list(ReplayEngine(str(path)).generate(PROMPTS, SamplingParams()))
