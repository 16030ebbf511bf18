"""Configuration files that extend and change one another, and parts with names."""

import pytest
import yaml

from r1lit.configuration import get, merged, put, read_configuration, resolve_names
from r1lit.errors import InputError
from r1lit.freshness import config_files, config_hash

REWARDS = {"accuracy": {"class_path": "A"}, "format": {"class_path": "F", "init_args": {"style": "think"}}}


def write(folder, **files):
    for name, content in files.items():
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (folder / f"{name}.yaml").write_text(text)
    return [folder / f"{name}.yaml" for name in files]


def test_a_file_adds_to_those_it_extends(tmp_path):
    write(
        tmp_path,
        base="trainer: {devices: 1, precision: null}\nmodel: {init_args: {lr: 3e-6, n: 1}}\n",
        more="extends: base # and nothing else\nmodel: {init_args: {n: 2}}\n",
        last="extends: [base, more]\ntrainer: {devices: 2}\n",
    )
    found = read_configuration([tmp_path / "last.yaml"])
    assert found == {"trainer": {"devices": 2, "precision": None}, "model": {"init_args": {"lr": 3e-6, "n": 2}}}
    assert [file.stem for file in config_files(tmp_path / "last.yaml")] == ["base", "more", "last"]


def test_a_change_of_what_is_extended_is_a_change(tmp_path):
    base, last = write(tmp_path, base={"a": 1}, last="extends: base\n")
    before = config_hash([last])
    base.write_text("a: 2")
    assert config_hash([last]) != before


def test_a_shipped_file_can_be_extended(tmp_path):
    (mine,) = write(tmp_path, mine="extends: tiny/zero\nmodel: {init_args: {max_rollouts: 3}}\n")
    found = read_configuration([mine])
    assert get(found, "model", "max_rollouts") == 3
    assert get(found, "model", "class_path") == "GRPOModule"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "extends: b\n", "b": "extends: a\n"}, "extends itself"),
        ({"a": "extends: nothing_like_it\n"}, "nothing_like_it: there is no such config file"),
        ({"a": "- 1\n- 2\n"}, r"a\.yaml: not a mapping of settings, but list"),
        ({"a": "x: [1\n"}, r"a\.yaml: not valid YAML: .*line 2"),
    ],
)
def test_bad_files_are_named(tmp_path, files, message):
    paths = write(tmp_path, **files)
    with pytest.raises(InputError, match=message):
        read_configuration(paths[:1])


def test_another_class_takes_the_whole_place():
    first = {"train": {"class_path": "pack.A", "init_args": {"n": 1, "split": "x"}}}
    assert merged(first, {"train": {"class_path": "A", "init_args": {"n": 2}}}) == {
        "train": {"class_path": "A", "init_args": {"n": 2, "split": "x"}}
    }
    assert merged(first, {"train": {"class_path": "B"}}) == {"train": {"class_path": "B"}}
    assert first["train"]["init_args"]["n"] == 1


def test_parts_with_names_and_a_single_one_do_not_mix():
    named, single, arguments = {"a": {"class_path": "A"}}, {"class_path": "B"}, {"init_args": {"n": 1}}
    assert merged({"val": named}, {"val": single}) == {"val": single}
    assert merged({"val": single}, {"val": named}) == {"val": named}
    assert merged({"val": arguments}, {"val": single}) == {"val": arguments | single}
    assert merged({"val": single}, {"val": arguments}) == {"val": arguments | single}


def test_places_do_not_name_the_arguments():
    settings = {"model": {"class_path": "M", "init_args": {"policy": {"class_path": "P"}}}}
    changed = put(settings, ["model", "policy", "lora", "rank"], 8)
    assert changed["model"]["init_args"]["policy"] == {"class_path": "P", "init_args": {"lora": {"rank": 8}}}
    assert get(changed, "model", "policy", "lora", "rank") == 8
    assert get(changed, "model", "policy", "nothing", "rank") is None
    assert put(settings, ["model", "init_args", "policy"], None)["model"]["init_args"] == {"policy": None}


def test_named_parts_become_lists_and_flags_change_them():
    given = {"model": {"class_path": "M", "init_args": {"rewards": REWARDS}}}
    flags = ["--model.rewards.format.weight=0.5", "--x=1", "--model.rewards.accuracy", "null", "word"]
    found, rest = resolve_names(given, flags)
    assert get(found, "model", "rewards") == [{"class_path": "F", "init_args": {"style": "think", "weight": 0.5}}]
    assert rest == ["--x=1", "word"]
    assert resolve_names(given, [])[0]["model"]["init_args"]["rewards"] == list(REWARDS.values())
    assert REWARDS["format"]["init_args"] == {"style": "think"}
    with pytest.raises(
        InputError, match=r"--model\.rewards\.frmat\.weight: there is no 'frmat', only accuracy, format"
    ):
        resolve_names(given, ["--model.rewards.frmat.weight=0.5"])


def test_a_list_stays_a_list_and_a_single_source_one():
    given = {"model": {"init_args": {"rewards": [1]}}, "data": {"init_args": {"val": {"class_path": "V"}}}}
    flags = ["--data.val.path=x"]
    assert resolve_names(given, flags) == (given, flags)


def test_sources_may_come_with_a_flag_and_parts_may_go():
    given = {
        "data": {"init_args": {"sources": {}, "train": {"class_path": "Mix", "init_args": {"parts": {"a": 1, "b": 2}}}}}
    }
    found, rest = resolve_names(given, ["--data.sources.mine.path=x.jsonl", "--data.train.parts.b=null"])
    assert found["data"]["init_args"]["sources"] == {"mine": {"path": "x.jsonl"}}
    assert get(found, "data", "train", "parts") == {"a": 1}
    assert rest == []
