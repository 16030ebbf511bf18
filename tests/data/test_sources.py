"""Files and hub data sets of chats; malformed rows are named, or counted."""

import gzip
import json
import logging

import pytest

from r1lit.data.sources import BadRows, ChatSource, read_chats
from r1lit.errors import InputError


def rows(n):
    return [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(n)]


def write(path, lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def questions(source, bad=None):
    return [chat.messages[0].content for chat in read_chats(source, "name", bad)]


def test_a_malformed_row_amid_seven_thousand(tmp_path, caplog):
    lines = rows(7000)
    lines[3500] = '{"question": "cut off'
    path = write(tmp_path / "train.jsonl", lines)
    with pytest.raises(InputError) as caught:
        questions(ChatSource(path))
    assert str(caught.value).startswith(f"{path}, row 3501: invalid JSON")
    assert "on_bad_row: skip" in str(caught.value)

    bad = BadRows()
    found = questions(ChatSource(path, on_bad_row="skip"), bad)
    assert len(found) == 6999
    assert "3500 + 1?" not in found
    assert bad.count == 1
    with caplog.at_level(logging.WARNING):
        bad.report(path, len(found))
    assert "1 malformed rows left out, 6999 kept" in caplog.text
    assert "row 3501" in caplog.text


@pytest.mark.parametrize(
    "line", ['["a list"]', '{"question": "no answer"}', '{"question": "", "answer": "x"}', b'{"question": "\xff"}']
)
def test_every_kind_of_bad_line_can_be_skipped(tmp_path, line):
    path = tmp_path / "train.jsonl"
    good = json.dumps(rows(1)[0]).encode()
    path.write_bytes(b"\n".join([good, line if isinstance(line, bytes) else line.encode(), good]))
    with pytest.raises(InputError, match="row 2"):
        questions(ChatSource(str(path)))
    bad = BadRows()
    assert len(questions(ChatSource(str(path), on_bad_row="skip"), bad)) == 2
    assert bad.count == 1


def test_few_bad_rows_are_shown_of_many():
    bad = BadRows()
    for i in range(100):
        bad.add(f"row {i}")
    assert (bad.count, len(bad.shown)) == (100, 5)


def test_formats_of_files(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [f"{i} + 1?" for i in range(4)]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(json.dumps(r) for r in rows(4)).encode()))
    (tmp_path / "a.json").write_text(json.dumps(rows(4)))
    (tmp_path / "a.csv").write_text("question,answer\n" + "".join(f"{i} + 1?,{i + 1}\n" for i in range(4)))
    pq.write_table(pa.Table.from_pylist(rows(4)), tmp_path / "a.parquet")
    turns = [{"role": "user", "content": "0 + 1?"}, {"role": "assistant", "content": "1"}]
    pq.write_table(pa.Table.from_pylist([{"messages": turns}]), tmp_path / "chat.parquet")
    for name in ("a.jsonl.gz", "a.json", "a.csv", "a.parquet"):
        assert questions(ChatSource(str(tmp_path / name))) == wanted, name
    assert questions(ChatSource(str(tmp_path / "chat.parquet"))) == wanted[:1]


def test_skip_and_limit_keep_row_numbers(tmp_path):
    path = write(tmp_path / "a.jsonl", [*rows(5), {"question": 1, "answer": "x"}])
    assert questions(ChatSource(path, skip=1, limit=2)) == ["1 + 1?", "2 + 1?"]
    with pytest.raises(InputError, match="row 6: question is 1"):
        questions(ChatSource(path, skip=3))


def test_a_data_set_of_the_hub(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="needs the package datasets (extra hub)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    write(folder / "train.jsonl", rows(3))
    assert questions(ChatSource("owner/name")) == ["0 + 1?", "1 + 1?", "2 + 1?"]
    with pytest.raises(InputError, match="cannot load split 'test'"):
        questions(ChatSource("owner/name", split="test"))


@pytest.mark.parametrize(
    ("lines", "told"),
    [([], "no usable row"), ([{"text": "x"}], "columns text"), ([{"question": 1, "answer": 2}], "row 1")],
)
def test_useless_files(tmp_path, lines, told):
    path = write(tmp_path / "a.jsonl", lines)
    with pytest.raises(InputError, match=told):
        questions(ChatSource(path))


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        questions(ChatSource(str(tmp_path / "none.jsonl")))
    with pytest.raises(InputError, match=r"neither a store nor a file that can be read \(\.jsonl"):
        questions(ChatSource(str(tmp_path / "none.txt")))


@pytest.mark.parametrize("settings", [{"weight": 0.0}, {"weight": -1.0}, {"skip": -1}, {"limit": 0}])
def test_numbers_out_of_range(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        ChatSource("a.jsonl", **settings)
