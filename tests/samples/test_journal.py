"""The journal: what is on disk counts, once."""

import json

import pytest

from r1lit.errors import InputError
from r1lit.samples.journal import Journal


def entry(key, text="x", elapsed_s=1.0):
    return {"key": key, "elapsed_s": elapsed_s, "text": text}


def opened(folder, rank=0, **header):
    journal = Journal(folder / "j", rank, header)
    journal.open()
    return journal


def test_entries_are_found_again(tmp_path):
    first = opened(tmp_path)
    first.append([entry("a", "größer\n<br>"), entry("b")])
    first.append([entry("c", "漢字", 7.5)])
    assert first.read("c")["text"] == "漢字"
    again = opened(tmp_path)
    assert set(again.entries) == {"a", "b", "c"}
    assert [again.read(key)["text"] for key in "abc"] == ["größer\n<br>", "x", "漢字"]
    assert again.elapsed_s == 7.5
    assert "a" in again
    assert "d" not in again
    assert len(again) == 3
    with pytest.raises(KeyError):
        again.read("d")


@pytest.mark.parametrize(
    "rest", [b"{", b'{"key": "b", "elapsed_s": 1.0, "text": "cut', b'{"key": "b", "elapsed_s": 1.0}']
)
def test_a_line_cut_short_is_removed(tmp_path, rest):
    first = opened(tmp_path)
    first.append([entry("a")])
    with first.own_file.open("ab") as file:
        file.write(rest)
    again = opened(tmp_path)
    assert set(again.entries) == {"a"}
    again.append([entry("b")])
    lines = again.own_file.read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["a", "b"]
    assert opened(tmp_path).read("b")["text"] == "x"


def test_files_of_other_ranks_are_read_and_left_alone(tmp_path):
    other = opened(tmp_path, rank=3)
    other.append([entry("a", "first")])
    with other.own_file.open("ab") as file:
        file.write(b'{"under way')
    mine = opened(tmp_path)
    mine.append([entry("b"), entry("a", "second")])
    assert other.own_file.read_bytes().endswith(b'{"under way')
    again = opened(tmp_path)
    assert set(again.entries) == {"a", "b"}
    mine.refresh()
    assert set(mine.entries) == {"a", "b"}


def test_of_one_key_the_first_entry_counts(tmp_path):
    journal = opened(tmp_path)
    journal.append([entry("a", "first")])
    journal.append([entry("a", "second")])
    assert journal.read("a")["text"] == "first"
    assert opened(tmp_path).read("a")["text"] == "first"


def test_nothing_is_written_for_nothing(tmp_path):
    journal = opened(tmp_path)
    journal.append([])
    assert not journal.own_file.exists()


def test_another_header_is_refused(tmp_path):
    opened(tmp_path, prompts="abc", seed=0)
    opened(tmp_path, prompts="abc", seed=0)
    with pytest.raises(InputError, match="the seed changed"):
        opened(tmp_path, prompts="abc", seed=1)


def test_a_damaged_line_is_named(tmp_path):
    journal = opened(tmp_path)
    journal.append([entry("a"), entry("b")])
    text = journal.own_file.read_text()
    journal.own_file.write_text(text.replace('{"key": "b"', '{"key" "b"'))
    with pytest.raises(InputError, match=r"rank0\.jsonl, line 2: damaged"):
        opened(tmp_path)
