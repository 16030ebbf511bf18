"""Every configuration file parses and makes its objects."""

from pathlib import Path

import pytest
import torch
import yaml

from r1lit.callbacks import ReferenceSync, StageRecord
from r1lit.cli import R1LitCLI
from r1lit.modules import PolicyModule
from r1lit.strategies import FSDP2Strategy
from r1lit.tasks.files import FilePrompts
from r1lit.tasks.hub import HubPrompts
from r1lit.types import Message, Prompt, SamplingParams

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml"))
PARTS = {"data": "zero", "rl1-no-language": "rl1"}
"""Files that are given after another one, which they change."""
STAGES = [path for path in CONFIGS if path.stem not in PARTS]
TINY = ("--model.init_from", "package:r1lit/assets/tiny/base")
"""Any model will do where the model is not the point, and this one is read in no time."""
PROMPT = Prompt("p", (Message("user", "1 + 1?"),))
MANY = [Prompt(str(i), (Message("user", f"{i} + 1?"),), str(i + 1)) for i in range(512)]


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
    if yaml.safe_load((ROOT / path).read_text())["model"].get("class_path") == "RejectionModule":
        return "predict"
    return "test" if path.stem == "base" or path.parts[1] == "eval" else "fit"


def conversations(path, tmp_path):
    """Flags that give every source of a fine-tuning stage a file, where the configuration names what is yet to come."""
    file = tmp_path / "conversations.jsonl"
    file.write_text('{"prompt": "1 + 1?", "completion": "2"}\n')
    data = yaml.safe_load((ROOT / path).read_text()).get("data", {}).get("init_args", {})
    return [word for name in data.get("sources", {}) for word in (f"--data.sources.{name}.path", file)]


def skip_without_gym(path):
    if path.parts[1] == "smollm2":
        pytest.importorskip("reasoning_gym")


def test_every_file_is_known():
    for path in CONFIGS:
        if path.stem in PARTS:
            assert path.with_stem(PARTS[path.stem]) in STAGES, path
    assert len({path.stem for path in STAGES if path.parts[1] == "tiny"}) == 8
    assert {Path("configs/tiny/base.yaml"), Path("configs/tiny/zero.yaml")} <= set(STAGES)
    assert {Path("configs/smollm2/base.yaml"), Path("configs/smollm2/zero.yaml")} <= set(STAGES)
    assert {Path("configs/qwen2.5-1.5b/base.yaml"), Path("configs/qwen2.5-1.5b/zero.yaml")} <= set(STAGES)


@pytest.mark.parametrize("path", STAGES, ids=str)
def test_stage_makes_its_objects(path, tmp_path, monkeypatch):
    skip_without_gym(path)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(HubPrompts, "load", lambda self: MANY)  # the only part that opens the network
    cli = made(tmp_path, subcommand(path), "-c", path, *TINY, *conversations(path, tmp_path))
    assert isinstance(cli.model, PolicyModule)
    assert cli.trainer.default_root_dir == str(tmp_path / "stage")
    records = [callback for callback in cli.trainer.callbacks if isinstance(callback, StageRecord)]
    assert len(records) == 1
    assert records[0].config["model"]["class_path"].startswith("r1lit.")


def test_the_ablation_lacks_a_reward_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    whole = made(tmp_path / "a", "fit", "-c", "configs/tiny/rl1.yaml", *TINY)
    words = ["-c", "configs/tiny/rl1.yaml", "-c", "configs/tiny/rl1-no-language.yaml"]
    ablated = made(tmp_path / "b", "fit", *words, *TINY)
    assert [reward.name for reward in whole.model.rewards] == ["accuracy", "format", "language_consistency"]
    assert [reward.name for reward in ablated.model.rewards] == ["accuracy", "format"]
    ours, theirs = (
        next(c for c in cli.trainer.callbacks if isinstance(c, StageRecord)).config for cli in (whole, ablated)
    )
    for part in ("model", "data"):
        for key in ours[part]["init_args"].keys() - {"rewards"}:
            assert ours[part]["init_args"][key] == theirs[part]["init_args"][key], key


@pytest.mark.slow
@pytest.mark.smollm2
def test_real_weights_are_found_in_their_package(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    policy = made(tmp_path, "test", "-c", "configs/smollm2/base.yaml").model.policy
    assert policy.config.vocab_size == 49152
    assert policy.prefill_text(PROMPT) == " <think>"
    text = policy.template.render(PROMPT, policy.tokenizer)
    assert text.index("<answer>5</answer>") < text.index("1 + 1?") < text.rindex("<think>")


@pytest.mark.parametrize("profile", ["tiny", "smollm2", "qwen2.5-1.5b"])
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
    assert cli.model.sampling == SamplingParams(n=8, max_new_tokens=160, stop=("</answer>",))
    assert cli.model.evaluation.max_new_tokens == 160
    assert cli.model.evaluation.n == 4
    assert [prompt.answer for prompt in cli.datamodule.train_prompts] == [str(i + 1) for i in range(100, 120)]
    assert len(cli.datamodule.val_prompts) == 30
    assert cli.datamodule.val_prompts[0].question == "What is 0 + 1?"


def test_qwen_has_the_hyper_parameters_of_the_paper(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(HubPrompts, "load", lambda self: MANY)
    cli = made(tmp_path, "fit", "-c", "configs/qwen2.5-1.5b/zero.yaml", *TINY)
    model, data = cli.model, cli.datamodule
    assert data.prompts_per_rollout * model.sampling.n == 8192
    record = next(c for c in cli.trainer.callbacks if isinstance(c, StageRecord))
    assert record.config["model"]["init_args"]["minibatches"] == 16
    assert model.max_rollouts * 16 == 10400
    assert (model.sampling.n, model.sampling.temperature, model.objective.beta) == (16, 1.0, 0.001)
    assert model.optimizer_factory([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 3e-6
    assert isinstance(cli.trainer.strategy, FSDP2Strategy)
    assert cli.trainer.precision == "bf16-mixed"
    assert next(c for c in cli.trainer.callbacks if isinstance(c, ReferenceSync)).every_n_steps == 400


def test_a_file_of_prompts_takes_the_place_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    rows = [f'{{"question": "What is {i} + 1?", "answer": "#### {i + 1}"}}\n' for i in range(620)]
    (tmp_path / "train.jsonl").write_text("".join(rows))
    words = ["-c", "configs/qwen2.5-1.5b/data.yaml", "--data.path", tmp_path / "train.jsonl"]
    cli = made(tmp_path, "fit", "-c", "configs/qwen2.5-1.5b/zero.yaml", *words, *TINY)
    assert len(cli.datamodule.train_prompts) == 520
    assert len(cli.datamodule.val_prompts) == 100
