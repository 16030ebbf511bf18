"""Groups and chats to disk and back."""

import json

import pyarrow.parquet as pq
import pytest

from r1lit.data.chatfile import ChatFile, read_chat_file
from r1lit.data.formats import ChatRow
from r1lit.data.sources import ChatSource, read_chats
from r1lit.samples import tablefile
from r1lit.samples.entries import completion_of, from_entry, to_entry
from r1lit.samples.table import SamplesFile
from r1lit.types import Message, Prompt, ScoredCompletion

PROMPT = Prompt("p/1", (Message("user", "1 + 1?"),), answer="2", language="zh", source="here")


def group():
    rows = [("<think>a</think><answer>2</answer>", "stop", 7), ("cut off at", "length", 3)]
    return [
        ScoredCompletion(
            completion_of(PROMPT, {"sample": i, "text": text, "finish_reason": reason, "tokens": tokens}),
            {"accuracy": 1.0 - i, "format": None},
            None if i else 1.1,
        )
        for i, (text, reason, tokens) in enumerate(rows)
    ]


def test_an_entry_gives_the_group_back():
    entry = json.loads(json.dumps(to_entry(PROMPT, group(), 1.25)))
    assert entry["key"] == "p/1"
    assert from_entry(PROMPT, entry) == group()
    assert group()[0].completion.answer == "2"


@pytest.mark.parametrize("at_once", [1, 100])
def test_samples_file(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(tablefile, "ROWS_AT_ONCE", at_once)
    with SamplesFile(tmp_path / "s.parquet", ["accuracy", "format"], ("dropped", "rewritten")) as file:
        file.add(group()[0], dropped=None, rewritten="again")
        file.add(group()[1], dropped="truncated")
    rows = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert [(row["sample"], row["tokens"], row["dropped"], row["rewritten"]) for row in rows] == [
        (0, 7, None, "again"),
        (1, 3, "truncated", None),
    ]
    assert rows[0]["reward/accuracy"] == 1
    assert rows[0]["reward/format"] is None
    assert (rows[0]["reference"], rows[0]["language"], rows[1]["total"]) == ("2", "zh", None)


@pytest.mark.parametrize("make", [lambda path: SamplesFile(path, []), ChatFile])
def test_an_error_leaves_no_file(tmp_path, make):
    with pytest.raises(KeyboardInterrupt), make(tmp_path / "x.parquet"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_chat_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tablefile, "ROWS_AT_ONCE", 2)
    rows = [
        ChatRow(
            (Message("user", f"q{i}"), Message("assistant", f" a{i}\n")),
            "here",
            {"prompt_id": f"p{i}", "sample": i, "kind": "reasoning", "task": "math", "language": "en"},
        )
        for i in range(5)
    ]
    rows.append(ChatRow((Message("user", "q"), Message("assistant", "a")), "there"))
    with ChatFile(tmp_path / "c.parquet") as file:
        for row in rows:
            file.add(row)
    assert list(read_chat_file(tmp_path / "c.parquet")) == rows
    # ... and any reader of chats takes it.
    again = list(read_chats(ChatSource(str(tmp_path / "c.parquet")), "n"))
    assert [row.messages for row in again] == [row.messages for row in rows]
