import os
import subprocess
import sys
from pathlib import Path

import pytest

from r1lit.errors import InputError
from r1lit.tasks import Columns, HubPrompts

pytest.importorskip("datasets", reason="needs the package datasets (extra hub)")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "sums"
    folder.mkdir()
    for split, count in (("train", 5), ("test", 2)):
        rows = [f'{{"problem": "{i}+1?", "answer": "so #### {i + 1}", "level": {i}}}\n' for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(rows))
    return folder


def test_a_local_data_set(folder: Path) -> None:
    options = {"columns": Columns(question="problem"), "answer_pattern": "#### (.+)$"}
    prompts = HubPrompts(str(folder), **options).load()
    assert [(p.id, p.question, p.answer) for p in prompts[:2]] == [
        ("sums-train/1", "0+1?", "1"),
        ("sums-train/2", "1+1?", "2"),
    ]
    assert len(prompts) == 5
    assert prompts[3].meta == {"level": 3}
    part = HubPrompts(str(folder), split="train", skip=3, limit=9, **options).load()
    assert [p.id for p in part] == ["sums-train/4", "sums-train/5"]
    assert [p.id for p in HubPrompts(str(folder), split="test", **options).load()] == ["sums-test/1", "sums-test/2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "nope"}, "cannot load split 'nope': Unknown split"),
        ({"name": "nope"}, "cannot load split 'train': BuilderConfig 'nope' not found"),
        ({"skip": 5}, "the data set is empty"),
        ({}, "no column 'question'"),
    ],
)
def test_errors_name_the_data_set(folder: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        HubPrompts(str(folder), **options).load()
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def load_in_process(before: str) -> str:
    code = f"{before}\nfrom r1lit.tasks import HubPrompts\ntry:\n    HubPrompts('nobody/nothing').load()\n"
    code += "except Exception as error:\n    print(type(error).__name__, error)\n"
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout


def test_a_hub_out_of_reach_is_one_line() -> None:
    line = load_in_process("")
    assert line.startswith("InputError nobody/nothing: cannot load split 'train': ")
    assert line.count("\n") == 1


def test_without_the_extra_the_command_is_told() -> None:
    # None in sys.modules makes the import fail as if the package were not there.
    line = load_in_process("import sys; sys.modules['datasets'] = None")
    assert line == "InputError nobody/nothing: HubPrompts needs the package datasets: pip install 'r1lit[hub]'\n"
