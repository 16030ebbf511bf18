"""One schema for all tables of samples, whoever writes them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1lit.samples.entries import completion_of
from r1lit.samples.parts import add_measured, join_parts, remove_parts, write_part
from r1lit.samples.table import TYPES, SamplesFile, completion_row, prompt_columns, schema_of, table_of
from r1lit.types import Message, Prompt, Rollout, ScoredCompletion

PROMPT = Prompt("p/1", (Message("user", "1 + 1?"),), answer="2", source="here", meta={"level": 3})


def scored(sample=0, **scores):
    row = {"sample": sample, "text": "<think>a</think><answer>2</answer>", "finish_reason": "stop", "tokens": 7}
    return ScoredCompletion(completion_of(PROMPT, row), scores, sum(scores.values()))


def rollout(index, **scores):
    return Rollout(index, (scored(0, **scores), scored(1, **scores)), (0.5, -0.5), 14, 0, {"step": index + 1.0})


def types(path):
    return {field.name: field.type for field in pq.read_schema(path)}


def test_columns_have_one_type_whoever_writes(tmp_path):
    for index, scores in enumerate(({"accuracy": 1.0}, {"accuracy": 0.0, "late": 2.0})):
        write_part(tmp_path / "samples", rollout(index, **scores))
    join_parts(tmp_path / "samples", tmp_path / "trained.parquet")
    add_measured(
        tmp_path / "trained.parquet", [{"split": "eval", **completion_row(scored().completion), "figure/x": 1}]
    )
    with SamplesFile(tmp_path / "kept.parquet", ["accuracy"], ("dropped", "rewritten")) as file:
        file.add(scored(accuracy=1.0), dropped="long")
    with SamplesFile(tmp_path / "judged.parquet", ["accuracy"], (*prompt_columns(PROMPT), "seed", "correct")) as file:
        file.add(scored(accuracy=1.0), **prompt_columns(PROMPT), seed=0, correct=1.0)
    for path in tmp_path.glob("*.parquet"):
        found = types(path)
        assert {name: found[name] for name in found if name in TYPES} == {n: TYPES[n] for n in TYPES if n in found}
        assert {kind for name, kind in found.items() if name not in TYPES} == {pa.float64()}
        assert {"prompt_id", "question", "text", "answer", "tokens"} <= found.keys()
    rows = pq.read_table(tmp_path / "trained.parquet").to_pylist()
    assert [row["split"] for row in rows] == ["train"] * 4 + ["eval"]
    assert [row["reward/late"] for row in rows] == [None, None, 2.0, 2.0, None]
    assert [row["figure/x"] for row in rows] == [None] * 4 + [1.0]


def test_measuring_again_takes_the_place_of_the_first(tmp_path):
    write_part(tmp_path / "samples", rollout(0, accuracy=1.0))
    join_parts(tmp_path / "samples", tmp_path / "s.parquet")
    for text in ("first", "second"):
        add_measured(tmp_path / "s.parquet", [{"split": "eval", "prompt_id": "p", "text": text}])
    assert pq.read_table(tmp_path / "s.parquet")["text"].to_pylist()[2:] == ["second"]


def test_parts_of_rollouts_to_come_are_removed(tmp_path):
    for index in range(3):
        write_part(tmp_path, rollout(index, accuracy=1.0))
    remove_parts(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["000000.parquet"]


def test_rows_may_lack_columns():
    table = table_of([{"tokens": 1}, {"reward/a": 1, "text": "x"}])
    assert table.column_names == ["text", "tokens", "reward/a"]
    assert table.to_pylist()[0] == {"text": None, "tokens": 1, "reward/a": None}
    assert schema_of(["figure/b", "prompt_id"]).names == ["prompt_id", "figure/b"]


def test_a_value_of_another_type_is_no_silent_text():
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        table_of([{"tokens": "many"}])
