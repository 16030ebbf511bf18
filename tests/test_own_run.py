"""The configurations for one's own model and data: the table's values, what is fitted, and a run of each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import Namespace

from r1lit import freshness
from r1lit.cli import main
from r1lit.errors import InputError
from r1lit.own_run import VALUES, fit, rows, values_table

ROOT = Path(__file__).parents[1]
MODEL = "package:r1lit/assets/tiny/base"
SUBCOMMAND = {"reject": "predict", "eval": "test"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with one's own data."""
    monkeypatch.chdir(tmp_path)
    sums = [(a, b) for a in range(1, 9) for b in range(1, 9)]
    for name, row in {
        "questions": lambda a, b: {"question": f"{a} + {b}?", "answer": str(a + b)},
        "chats": lambda a, b: {"prompt": f"{a} + {b}?", "completion": f"<think>{a} + {b}</think>{a + b}"},
        "pairs": lambda a, b: {"prompt": f"{a} + {b}?", "chosen": str(a + b), "rejected": str(a + b + 1)},
        "requests": lambda a, b: {"prompt": f"Say {a} and {b}."},
    }.items():
        Path(f"{name}.jsonl").write_text("\n".join(json.dumps(row(a, b)) for a, b in sums))
    return tmp_path


def data_of(name):
    return {"sft": "chats", "distill": "chats", "rewards": "pairs"}.get(name, "questions") + ".jsonl"


def saved(monkeypatch, capsys, name, *words):
    """The configuration that a command would run with."""
    reward_models = ["--model.rewards.helpful=null", "--model.rewards.safe=null"]
    parts = [f"--data.train.parts.{part}.source.path=requests.jsonl" for part in ("helpful", "harmless")]
    more = [*reward_models, *parts] if name == "rl2" else []
    flags = ["--model.init_from", MODEL, "--data.path", data_of(name), *more]
    with pytest.raises(SystemExit):
        main([SUBCOMMAND.get(name, "fit"), "-c", name, *flags, *words, "--print_config"])
    from jsonargparse import get_loader

    return get_loader("yaml")(capsys.readouterr().out)


@pytest.mark.parametrize("name", VALUES)
def test_a_run_starts_from_the_tables_values(folder, monkeypatch, capsys, name):
    for key, value, origin in rows(name, saved(monkeypatch, capsys, name)):
        assert origin.startswith(("paper", "sized")), (key, value, origin)


def test_what_is_not_the_tables_is_told(folder, monkeypatch, capsys):
    config = saved(monkeypatch, capsys, "zero", "--stage.size", "small", "--model.optimizer.lr", "1e-5")
    found = {key: origin for key, _, origin in rows("zero", config)}
    assert found["model.optimizer.lr"] == "yours, or fitted (paper: 3e-06)"
    assert found["model.sampling.n"] == "small size (paper: 16)"
    assert found["model.objective.beta"].startswith("paper (2.1")


def test_nothing_of_the_tiny_world_is_in_them():
    for name in VALUES:
        for path in freshness.config_files(ROOT / "configs" / f"{name}.yaml", "small"):
            text = path.read_text().lower()
            assert "tiny" not in text, path
            assert "smollm2" not in text, path


def test_the_readme_holds_the_table():
    assert values_table() in (ROOT / "README.md").read_text(encoding="utf-8")


def settings(**changes):
    """A parsed configuration with what ``fit`` looks at."""
    sampling = Namespace(max_new_tokens=4096)
    policy = Namespace(init_args=Namespace(init_from=MODEL, max_context=None))
    args = Namespace(policy=policy, sampling=sampling, evaluation=None, optimizer=Namespace())
    trainer = Namespace(accelerator="auto", devices="auto", strategy="auto", precision=None)
    for key, value in changes.items():
        setattr(trainer, key, value)
    return Namespace(model=Namespace(class_path="r1lit.GRPOModule", init_args=args), trainer=trainer)


def test_lengths_fit_the_context():
    config = settings()
    (note,) = fit(config)
    context = json.loads((ROOT / "src/r1lit/assets/tiny/base/config.json").read_text())["max_position_embeddings"]
    assert config.model.init_args.sampling.max_new_tokens == context - context // 4
    assert f"{context:,}" in note
    assert fit(config) == []


@pytest.mark.parametrize(
    ("gpus", "given", "precision", "strategy"),
    [
        (0, {}, None, "auto"),
        (1, {}, "bf16-mixed", "auto"),
        (8, {}, "bf16-mixed", "fsdp2"),
        (8, {"devices": 1}, "bf16-mixed", "auto"),
        (8, {"precision": "32-true", "strategy": "ddp"}, "32-true", "ddp"),
        (8, {"accelerator": "cpu"}, None, "auto"),
    ],
)
def test_gpus_compute_in_bfloat16(monkeypatch, gpus, given, precision, strategy):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    config = settings(**given)
    fit(config)
    assert (config.trainer.precision, config.trainer.strategy) == (precision, strategy)


def test_a_size_needs_a_configuration_that_has_it(folder, capsys):
    assert main(["fit", "-c", "tiny/zero", "--stage.size", "small"]) == 2
    assert "stage.size is small, and none of the configurations has such a size" in capsys.readouterr().err


def test_a_small_size_is_part_of_the_fingerprint(folder):
    words = ["fit", "-c", "zero", "--stage.dir", "x"]
    plain, small = (
        freshness.fingerprint(freshness.parse_command([*words, *more])) for more in ((), ("--stage.size", "small"))
    )
    assert plain["config"] != small["config"]
    assert len(freshness.config_files(freshness.find_config("zero"), "small")) == 2


RUNS = [
    ("zero", ["--model.max_rollouts=1", "--model.policy.template=examples"]),
    ("rl1", ["--model.max_rollouts=1", "--data.prompts_per_rollout=4"]),
    ("sft", ["--model.max_updates=2"]),
    ("distill", ["--model.max_updates=2", "--data.val=TablePrompts", "--data.val.path=questions.jsonl"]),
    ("reject", ["--model.filters.correct=null", "--model.filters.format=null", "--model.filters.reasons=null"]),
    ("rewards", ["--model.max_updates=2"]),
    ("eval", ["--data.limit=4"]),
]


@pytest.mark.parametrize(("name", "flags"), RUNS, ids=[name for name, _ in RUNS])
def test_each_runs_on_ones_own_data(folder, capsys, name, flags):
    """Three flags, the small size, and what makes it a matter of seconds."""
    words = [SUBCOMMAND.get(name, "fit"), "-c", name, "--model.init_from", MODEL, "--data.path", data_of(name)]
    assert main([*words, "--stage.size", "small", *flags, "--trainer.accelerator=cpu"]) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert f"{name}: where the values come from" in out
    record = json.loads(Path(f"runs/mine/{name}/stage.json").read_text())
    assert record["stage"] == name
    if name in ("zero", "rl1"):
        assert "estimated time: " in out
        assert "questions.jsonl: 58 of 64 rows, questions from 'question', answers from 'answer'" in out
    assert bool(record["metrics"]) == (name not in ("sft", "reject"))


def test_all_scenarios_run_with_ones_own_reward_models(folder, capsys):
    words = ["--model.init_from", MODEL, "--stage.size", "small", "--trainer.accelerator=cpu"]
    assert main(["fit", "-c", "rewards", *words, "--data.path=pairs.jsonl", "--model.max_updates=1"]) == 0
    flags = [
        "--data.path=questions.jsonl", "--data.train.parts.helpful.source.path=requests.jsonl",
        "--data.train.parts.helpful.from_rollout=0", "--model.rewards.helpful.from_step=0",
        "--stage.reward_models.helpful=runs/mine/rewards/model",
        "--data.train.parts.harmless=null", "--model.rewards.safe=null",
        "--model.max_rollouts=1", "--data.prompts_per_rollout=4",
    ]  # fmt: skip
    assert main(["fit", "-c", "rl2", *words, *flags]) == 0, capsys.readouterr()
    assert json.loads(Path("runs/mine/rl2/stage.json").read_text())["updates"] == 1


def test_what_is_to_be_given_is_asked_for(folder, capsys):
    assert main(["fit", "-c", "zero", "--data.path", "questions.jsonl"]) == 2
    assert "--model.init_from" in capsys.readouterr().err
    assert main(["fit", "-c", "zero", "--model.init_from", MODEL]) == 2
    assert "--data.path" in capsys.readouterr().err


def test_the_table_can_be_printed():
    done = subprocess.run([sys.executable, "-m", "r1lit.own_run"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == values_table()


def test_an_unknown_size_is_refused(folder, capsys):
    assert main(["fit", "-c", "zero", "--stage.size", "medium"]) == 2
    with pytest.raises(InputError):
        freshness.find_config("zero-medium")
