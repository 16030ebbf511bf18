import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from r1lit.errors import InputError
from r1lit.tasks import Columns, FilePrompts

ROWS = [{"question": f"{i} + 1?", "answer": str(i + 1), "note": 'a "b",\tc\n, d\u2028e'} for i in range(5)]


def write_jsonl(path: Path) -> None:
    # A blank line, and the separator U+2028 within a string, end no row.
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), "utf-8")


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))


def write_delimited(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.DictWriter(out, list(ROWS[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(ROWS)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("train.jsonl", write_jsonl),
        ("train.jsonl.gz", write_gzip),
        ("train.json", lambda path: path.write_text(json.dumps(ROWS))),
        ("train.parquet", lambda path: parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)),
        ("train.csv", write_delimited),
        ("train.tsv", write_delimited),
    ],
)
def test_every_format_gives_the_same_prompts(tmp_path: Path, name: str, write: Callable[[Path], Any]) -> None:
    path = tmp_path / name
    write(path)
    prompts = FilePrompts(path).load()
    assert [(p.id, p.question, p.answer) for p in prompts] == [
        (f"train/{i}", row["question"], row["answer"]) for i, row in enumerate(ROWS, start=1)
    ]
    assert prompts[0].meta == {"note": ROWS[0]["note"]}
    assert prompts[0].source == str(path)
    assert FilePrompts(path, skip=1, limit=2, name="mine").load()[0].id == "mine/2"
    assert [p.id for p in FilePrompts(path, skip=1, limit=2).load()] == ["train/2", "train/3"]
    assert len(FilePrompts(path, skip=3, limit=99).load()) == 2


def test_parquet_with_chats(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Hi"}]
    parquet.write_table(pyarrow.Table.from_pylist([{"chat": chat, "answer": 1}]), tmp_path / "a.parquet")
    (prompt,) = FilePrompts(tmp_path / "a.parquet", Columns(messages="chat")).load()
    assert (prompt.question, prompt.answer) == ("Hi", "1")


def test_a_file_without_header(tmp_path: Path) -> None:
    path = tmp_path / "mgsm_zh.tsv"
    path.write_text("一加一？\t2\n二加二？\t1,004\n", "utf-8")
    prompts = FilePrompts(path, header=["question", "answer"], language="zh").load()
    assert [(p.question, p.answer, p.language) for p in prompts] == [
        ("一加一？", "2", "zh"),
        ("二加二？", "1,004", "zh"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"question": "a", "answer": "1"}\n\n{"question": \n', "invalid JSON in line 3"),
        ("a.jsonl", "[1]\n", "line 1 is not a JSON object but list"),
        ("a.jsonl", "", "the data set is empty"),
        ("a.jsonl", b"\xff\xfe{}", "not UTF-8 text"),
        ("a.jsonl.gz", "plain", "cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b'{"question": "a"}' * 9, mtime=0)[:-12], "cannot be read: Compressed file ended"),
        ("a.json", '[\n{"question": 1,}\n]', "invalid JSON in line 2"),
        ("a.json", '{"question": "a"}', "not a JSON list of objects but dict"),
        ("a.json", '[{"question": "a"}, 3]', "row 2 is not a JSON object but int"),
        ("a.parquet", "plain text", "not a readable Parquet file"),
        ("a.csv", "question,answer\na,1\nb\n", "row 2: 1 fields where 2 columns are expected"),
        ("a.csv", "question,question\na,1\n", "the header names a column twice"),
        ("a.csv", "question,answer\n" + "x" * 200_000 + ",1\n", "malformed at line 2: field larger"),
        ("a.csv", "", "the data set is empty"),
        ("a.txt", "a", "unknown format; use .jsonl"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        FilePrompts(path).load()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        FilePrompts(tmp_path / "none.jsonl").load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": -1}, "skip is -1"),
        ({"limit": 0}, "limit is 0"),
        ({"answer_pattern": "a"}, "answer_pattern 'a' has 0 groups"),
    ],
)
def test_impossible_arguments_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FilePrompts("a.jsonl", **options)


def test_header_is_for_tables_without_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"header is for \.csv and \.tsv files only"):
        FilePrompts(tmp_path / "a.jsonl", header=["question"]).load()
