"""Stores: what is written is read, by the right policy only, and a store is complete or not there."""

import json
import os
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from r1lit import Policy
from r1lit.data.encoding import ChatEncoder
from r1lit.data.formats import ChatRow
from r1lit.data.sources import BadRows, ChatSource, read_chats
from r1lit.data.store import Manifest, is_store, open_store, write_store
from r1lit.errors import InputError
from r1lit.freshness import artefact_hash
from r1lit.types import Message

BASE = "package:r1lit/assets/tiny/base"


@pytest.fixture(scope="module")
def encoder():
    return ChatEncoder.of(Policy(BASE, template="chat"))


def make_rows(n, source="numbers"):
    return [ChatRow((Message("user", f"{i} + 1?"), Message("assistant", str(i + 1))), source) for i in range(n)]


def test_what_is_written_is_read(tmp_path, encoder):
    rows = [*make_rows(20), *make_rows(5, "more")]
    bad = BadRows(count=3)
    manifest = write_store(tmp_path / "s", rows, encoder, extra={"filters": {"truncated": 2}}, bad_rows=bad)
    store = open_store(tmp_path / "s", encoder)
    assert store.manifest == manifest
    assert len(store) == manifest.rows == 25
    assert manifest.sources == {"more": 5, "numbers": 20}
    assert manifest.left_out == {"malformed": 3}
    assert manifest.extra == {"filters": {"truncated": 2}}
    tokens = targets = 0
    for index, row in enumerate(rows):
        wanted = encoder.encode(row.messages)
        assert store[index].input_ids.tolist() == wanted.input_ids
        assert store[index].loss_mask.tolist() == wanted.loss_mask
        assert store[index].source == row.source
        assert store.lengths[index].tolist() == [len(wanted.input_ids), sum(wanted.loss_mask)]
        tokens, targets = tokens + len(wanted.input_ids), targets + sum(wanted.loss_mask)
    assert (manifest.tokens, manifest.targets, manifest.longest) == (tokens, targets, int(store.lengths[:, 0].max()))


def test_any_reader_of_litdata_streams_a_store(tmp_path, encoder):
    from litdata import StreamingDataset

    write_store(tmp_path / "s", make_rows(7), encoder)
    store = open_store(tmp_path / "s", encoder)
    streamed = list(StreamingDataset(str(tmp_path / "s")))
    assert [row["input_ids"].tolist() for row in streamed] == [store[i].input_ids.tolist() for i in range(7)]


def test_equal_rows_make_equal_stores_and_others_do_not(tmp_path, encoder):
    first = write_store(tmp_path / "a", make_rows(6), encoder)
    assert write_store(tmp_path / "b", make_rows(6), encoder) == first
    assert write_store(tmp_path / "c", make_rows(7), encoder).content != first.content
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == ["chunk-0-0.bin", "index.json", "lengths.npy", "manifest.json"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    hashes = [artefact_hash(tmp_path / name) for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"template": "{question}"}, "another template"), ({"template": "chat", "system": "x"}, "another template")],
)
def test_another_template_is_refused(tmp_path, encoder, settings, told):
    write_store(tmp_path / "s", make_rows(2), encoder)
    with pytest.raises(InputError, match=told) as caught:
        open_store(tmp_path / "s", ChatEncoder.of(Policy(BASE, **settings)))
    assert str(caught.value).startswith(str(tmp_path / "s"))
    assert "\n" not in str(caught.value)


def test_another_tokenizer_is_refused(tmp_path, encoder):
    write_store(tmp_path / "s", make_rows(2), encoder)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    (tmp_path / "s" / "manifest.json").write_text(json.dumps({**manifest, "tokenizer": "f" * 64}))
    with pytest.raises(InputError, match=r"another tokenizer \(ffffffff\)"):
        open_store(tmp_path / "s", encoder)
    assert len(open_store(tmp_path / "s", None)) == 2


def test_what_is_too_long_is_left_out_and_counted(tmp_path, encoder):
    long = ChatRow((Message("user", "1 + 1 " * 50), Message("assistant", "2")))
    manifest = write_store(tmp_path / "s", [*make_rows(3), long], encoder, max_length=20)
    assert (manifest.rows, manifest.left_out) == (3, {"too_long": 1})
    with pytest.raises(InputError, match="all 1 are longer than 20 tokens"):
        write_store(tmp_path / "t", [long], encoder, max_length=20)
    assert not (tmp_path / "t").exists()


def test_a_failed_writer_leaves_an_earlier_store_alone(tmp_path, encoder):
    def broken():
        yield from make_rows(5)
        raise InputError("row 6 is broken")

    first = write_store(tmp_path / "s", make_rows(3), encoder)
    with pytest.raises(InputError, match="row 6"):
        write_store(tmp_path / "s", broken(), encoder)
    assert open_store(tmp_path / "s", encoder).manifest == first
    # And the next attempt is not disturbed by what the failed one left.
    assert write_store(tmp_path / "s", make_rows(5), encoder).rows == 5
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_row_that_cannot_be_rendered_is_named(tmp_path):
    plain = ChatEncoder.of(Policy(BASE, template="{question}"))
    turns = (Message("user", "a"), Message("assistant", "b")) * 2
    with pytest.raises(InputError, match=r"^chats \('a'\): .*one user message"):
        write_store(tmp_path / "s", [ChatRow(turns, "chats")], plain)


def test_one_rank_of_several_writes_and_every_rank_reads_all(tmp_path, encoder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (1, 0):
        monkeypatch.setenv("GLOBAL_RANK", str(rank))
        before = dict(os.environ)
        write_store(tmp_path / "s", make_rows(9), encoder)
        assert dict(os.environ) == before
        store = open_store(tmp_path / "s", encoder)
        assert [store[i].source for i in range(9)] == ["numbers"] * 9


def test_object_stores(tmp_path, encoder):
    url, cache = f"local:{tmp_path / 'bucket'}", str(tmp_path / "cache")
    assert is_store(url)
    manifest = write_store(url, make_rows(8), encoder)
    assert isinstance(manifest, Manifest)
    assert (tmp_path / "bucket" / "manifest.json").is_file()
    store = open_store(url, encoder, cache)
    assert np.array_equal(store[5].input_ids, encoder.encode(make_rows(8)[5].messages).input_ids)
    write_store(url, make_rows(4, "new"), encoder)
    assert open_store(url, encoder, cache)[2].source == "new"  # not what was downloaded before
    shutil.rmtree(tmp_path / "bucket")
    with pytest.raises(InputError, match=r"cannot be read|no store is here"):
        open_store(url, encoder, cache)


def test_no_store(tmp_path, encoder):
    assert not is_store(tmp_path)
    with pytest.raises(InputError, match=r"no store is here \(manifest\.json is missing\)"):
        open_store(tmp_path, encoder)


REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% if m['role'] == 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_row_that_the_template_refuses_is_named_or_left_out_and_counted(tmp_path):
    (tmp_path / "t.jinja").write_text(REFUSES_SYSTEM)
    encoder = ChatEncoder.of(Policy(BASE, template=str(tmp_path / "t.jinja")))
    rows = [{"prompt": f"{i}?", "completion": "a"} | ({"system": "Sing"} if i == 2 else {}) for i in range(4)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    source = ChatSource(str(path))
    with pytest.raises(InputError, match=r"rows.jsonl, row 3 \('2\?'\): .* a chat of system, user.*: no system role"):
        write_store(tmp_path / "s", read_chats(source, "x"), encoder)
    bad = BadRows()
    made = write_store(tmp_path / "s", read_chats(source, "x", bad), encoder, bad_rows=bad, on_bad_row="skip")
    assert (made.rows, made.left_out, bad.count) == (3, {"malformed": 1}, 1)
    path.write_text(json.dumps(rows[2]))
    with pytest.raises(InputError, match=r"no rows to store; 1 are malformed; the first: .*rows.jsonl, row 1"):
        write_store(tmp_path / "s", read_chats(source, "x"), encoder, on_bad_row="skip")


def test_a_store_of_last_turns_is_read_as_one(tmp_path):
    last = ChatEncoder.of(Policy(BASE, template="chat"), "last")
    write_store(tmp_path / "s", make_rows(3), last)
    assert len(open_store(tmp_path / "s", last)) == 3
    with pytest.raises(InputError, match="written to learn from turns: last"):
        open_store(tmp_path / "s", ChatEncoder.of(Policy(BASE, template="chat")))


TOOLS = [
    {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    {
        "name": "add",
        "description": "Adds",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        },
    },
    {"name": "noon", "parameters": None},
]
CALLS = [{"city": "Rome", "days": 2}, {"b": 2}, {}, {"a": 1, "b": 2}]


def tool_rows(n=8):
    for i in range(n):
        name = ("weather", "add", "noon", "add")[i % 4]
        call = {"type": "function", "function": {"name": name, "arguments": CALLS[i % 4]}}
        tools = [{k: v for k, v in tool.items() if v is not None} for tool in TOOLS[: 1 + i % 3]]
        asked = [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "tool_calls": [call]}]
        done = {"role": "assistant", "content": "It is done", **({"reasoning_content": "Easy"} if i % 2 else {})}
        yield {"messages": [*asked, {"role": "tool", "content": "42"}, done], "tools": tools}


def test_tool_rows_of_parquet_and_of_the_hub_train_on_the_text_of_json_lines(tmp_path, encoder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(tool_rows())
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert '"days": null' in json.dumps(pq.read_table(tmp_path / "rows.parquet").to_pylist())  # nulls are there
    wanted = [encoder.encode(row.messages) for row in read_chats(ChatSource(str(tmp_path / "rows.jsonl")), "x")]
    text = encoder.tokenizer.decode([i for row in wanted for i in row.input_ids])
    assert "null" not in text and "Rome" in text and "Adds" in text  # noqa: PT018
    found = [encoder.encode(row.messages) for row in read_chats(ChatSource(str(tmp_path / "rows.parquet")), "x")]
    assert found == wanted
    if find_spec("datasets") is not None:  # the extra hub
        (tmp_path / "hub").mkdir()
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub" / "train.parquet")
        found = [encoder.encode(row.messages) for row in read_chats(ChatSource(str(tmp_path / "hub")), "x")]
        assert found == wanted


def test_nulls_that_json_lines_mean_stay(tmp_path, encoder):
    row = next(tool_rows())
    row["messages"][1]["tool_calls"][0]["function"]["arguments"] = {"city": None}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (found,) = read_chats(ChatSource(str(tmp_path / "rows.jsonl")), "x")
    assert '"city": null' in found.messages[2].content
