"""Stores: what is written is read, by the right policy only, and a store is complete or not there."""

import json
import os
import shutil

import numpy as np
import pytest

from r1lit import Policy
from r1lit.data.encoding import ChatEncoder
from r1lit.data.formats import ChatRow
from r1lit.data.sources import BadRows
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
