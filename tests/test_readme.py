"""Every command and program of the README runs: r1lit's on a tiny model and small data, make's as far as their plan."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from r1lit.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL = "package:r1lit/assets/tiny/base"
QUICK = {
    "zero": "--model.max_rollouts=1 --model.policy.template=examples",
    "rl1": "--model.max_rollouts=1 --data.prompts_per_rollout=4",
    "mine.yaml": "--model.max_rollouts=1 --model.policy.template=examples",
    "sft": "--model.max_updates=2",
    "distill": "--model.max_updates=2",
    "rewards": "--model.max_updates=2",
    "reject": "--model.filters.correct=null --model.filters.format=null --model.filters.reasons=null",
    "eval": "--data.limit=4",
    "eval/math500": "--data.limit=4 --model.evaluation.max_new_tokens=64",
}
"""What makes a run of a configuration a matter of seconds."""


def blocks():
    """The indented blocks of the page, without their indentation."""
    return ["\n".join(line[4:] for line in block.splitlines()) for block in re.findall(r"(?:^ {4}.*\n)+", README, re.M)]


def commands(word):
    """The commands that begin with a word, continued lines joined, comments cut."""
    lines = "\n".join(blocks()).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.split(" ", 1)[0] == word]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the files that the README names."""
    monkeypatch.chdir(tmp_path)
    sums = [(a, b) for a in range(1, 9) for b in range(1, 9)]
    Path("math500").mkdir()
    for name, row in {
        "train": lambda a, b: {"question": f"{a} + {b}?", "answer": str(a + b)},
        "test": lambda a, b: {"question": f"{b} + {a}?", "answer": str(a + b)},
        "math500/test": lambda a, b: {"problem": f"{b} + {a}?", "answer": str(a + b)},
        "chats": lambda a, b: {"prompt": f"{a} + {b}?", "completion": f"<think>{a} + {b}</think>{a + b}"},
        "pairs": lambda a, b: {"prompt": f"{a} + {b}?", "chosen": str(a + b), "rejected": str(a + b + 1)},
    }.items():
        Path(f"{name}.jsonl").write_text("\n".join(json.dumps(row(a, b)) for a, b in sums))
    config = next(block for block in blocks() if block.startswith("# mine.yaml"))
    Path("mine.yaml").write_text(config.replace("Qwen/Qwen2.5-1.5B", MODEL))
    return tmp_path


def test_the_commands_run_one_after_another(folder, capsys):
    found = commands("r1lit")
    assert len(found) >= 10
    for words in found:
        config = words[words.index("-c") + 1] if "-c" in words else ""
        argv = [re.sub(r"^Qwen/.*", MODEL, word) for word in words[1:]]
        if config and not config.startswith("eval/"):
            argv += ["--stage.size", "small"]
        if "8" in argv:  # no machine here has as many
            argv[argv.index("8")], argv[argv.index("gpu")] = "1", "cpu"
        status = main([*argv, *shlex.split(QUICK.get(config, ""))])
        printed = capsys.readouterr()
        assert status == 0, f"{shlex.join(words)}\n{printed.out[-2000:]}\n{printed.err[-2000:]}"
    assert Path("runs/mine/rl1/model/config.json").is_file()
    assert Path("runs/eval/math500/stage.json").is_file()


def test_the_configuration_says_what_its_text_says(folder):
    assert yaml.safe_load(Path("mine.yaml").read_text())["extends"] == "zero"


def test_make_knows_the_targets():
    for words in commands("make"):
        done = subprocess.run(
            ["make", "-C", ROOT, "-n", *words[1:], "MODEL=some/model"], capture_output=True, text=True
        )
        assert done.returncode == 0, (words, done.stderr)
        assert re.search(r"^(r1lit|.*pytest)", done.stdout, re.MULTILINE), words


def test_the_program_runs(folder):
    (program,) = [block for block in blocks() if block.startswith("import torch")]
    program = program.replace("Qwen/Qwen2.5-0.5B", MODEL).replace("max_rollouts=100", "max_rollouts=1")
    program = program.replace("max_rollouts=1,", "max_rollouts=1, sampling=SamplingParams(n=2, max_new_tokens=16),")
    program = program.replace("prompts_per_rollout=32", "prompts_per_rollout=4")
    program = "from r1lit.types import SamplingParams\n" + program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_its_pictures_and_links_are_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).is_file(), path
    assert shutil.which("make")
