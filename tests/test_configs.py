"""Every configuration file parses and makes its objects."""

import json
from pathlib import Path

import pytest
import torch

from r1lit.callbacks import ReferenceSync, StageRecord
from r1lit.cli import R1LitCLI
from r1lit.configuration import read_configuration, resolve_names
from r1lit.data import ChatDataModule
from r1lit.errors import InputError
from r1lit.modules import PolicyModule
from r1lit.rewards import RewardModelReward
from r1lit.strategies import FSDP2Strategy
from r1lit.tasks.benchmarks import BenchmarkPrompts
from r1lit.tasks.files import FilePrompts
from r1lit.tasks.hub import HubPrompts
from r1lit.types import Message, Prompt, SamplingParams

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "configs").glob("*/*.yaml")
    if path.parent.name != "small" and path.stem != "common"
)
"""Of profiles and benchmarks; those for one's own model are tested in ``test_own_run``."""
PARTS = {
    "data": "zero",
    "smollm2": "gsm8k",
    "rl1-no-language": "rl1",
    "student-train": "base-train",
    "rl2-hacked": "rl2",
    "distill-zero-time": "distill-zero",
}
"""Files that are given after another one, which they change."""
STUDENTS = [path for path in CONFIGS if path.parts[1] == "distill"]
"""Files that are given after Qwen2.5-1.5B's distill.yaml."""
STAGES = [path for path in CONFIGS if path.stem not in PARTS and path not in STUDENTS]
TINY = ("--model.init_from", "package:r1lit/assets/tiny/base")
"""Any model will do where the model is not the point, and this one is read in no time."""
PROMPT = Prompt("p", (Message("user", "1 + 1?"),))
MANY = [Prompt(str(i), (Message("user", f"{i} + 1?"),), str(i + 1)) for i in range(512)]


def read(path):
    """What a file says, with those that it extends."""
    return resolve_names(read_configuration([path]), [])[0]


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
    if read(ROOT / path)["model"].get("class_path") == "RejectionModule":
        return "predict"
    return "test" if path.stem in ("base", "few-shot") or path.parts[1] == "eval" else "fit"


def conversations(path, tmp_path):
    """Flags that give every source of a fine-tuning stage a file, where the configuration names what is yet to come."""
    file = tmp_path / "conversations.jsonl"
    file.write_text('{"prompt": "1 + 1?", "completion": "2"}\n')
    data = read(ROOT / path).get("data", {}).get("init_args", {})
    sources = data.get("sources")
    if sources is None or "class_path" in sources:  # no such stage, or preferences that are made
        return []
    return [word for name in sources or ("mine",) for word in (f"--data.sources.{name}.path", file)]


def teacher(path):
    """Flags that give on-policy distillation any teacher."""
    model = read(ROOT / path)["model"]["init_args"]
    return ["--model.teacher.init_from", TINY[1]] if "class_path" in model.get("teacher", {}) else []


def skip_without_gym(path):
    if path.parts[1] == "smollm2":
        pytest.importorskip("reasoning_gym", reason="needs the package reasoning-gym (extra gym)")


def test_every_file_is_known():
    for path in CONFIGS:
        if path.stem in PARTS:
            assert path.with_stem(PARTS[path.stem]) in STAGES, path
    assert len({path.stem for path in STAGES if path.parts[1] == "tiny"}) == 16
    assert {Path("configs/tiny/base.yaml"), Path("configs/tiny/zero.yaml")} <= set(STAGES)
    stages = {path.stem for path in CONFIGS if path.parts[1] == "tiny"} - {
        "base-train",
        "student-train",
        "distill-on-policy",
        "rl2-hacked",
    }
    assert {path.stem for path in CONFIGS if path.parts[1] == "smollm2"} == stages | {"data"}
    assert {Path("configs/qwen2.5-1.5b/base.yaml"), Path("configs/qwen2.5-1.5b/zero.yaml")} <= set(STAGES)


@pytest.mark.parametrize("path", STAGES, ids=str)
def test_stage_makes_its_objects(path, tmp_path, monkeypatch):
    skip_without_gym(path)
    monkeypatch.chdir(ROOT)
    for source in (HubPrompts, BenchmarkPrompts):  # the only parts that open the network
        monkeypatch.setattr(source, "load", lambda self: MANY)
    cli = made(tmp_path, subcommand(path), "-c", path, *TINY, *teacher(path), *conversations(path, tmp_path))
    assert isinstance(cli.model, PolicyModule)
    assert cli.trainer.default_root_dir == str(tmp_path / "stage")
    records = [callback for callback in cli.trainer.callbacks if isinstance(callback, StageRecord)]
    assert len(records) == 1
    assert records[0].config["model"]["class_path"].startswith("r1lit.")


def with_and_without(tmp_path, whole, changed):
    """A stage and the same with a second file on top, and the settings in which they differ."""
    first = ["-c", f"configs/tiny/{whole}.yaml"]
    made_of = [first, [*first, "-c", f"configs/tiny/{changed}.yaml"]]
    pair = [made(tmp_path / str(number), "fit", *words, *TINY) for number, words in enumerate(made_of)]
    ours, theirs = (next(c for c in cli.trainer.callbacks if isinstance(c, StageRecord)).config for cli in pair)
    parts = [(ours[part]["init_args"], theirs[part]["init_args"]) for part in ("model", "data")]
    return *pair, {key for one, other in parts for key in one | other if one.get(key) != other.get(key)}


def test_the_ablation_lacks_a_reward_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    whole, ablated, differ = with_and_without(tmp_path, "rl1", "rl1-no-language")
    assert [reward.name for reward in whole.model.rewards] == ["accuracy", "format", "language_consistency"]
    assert [reward.name for reward in ablated.model.rewards] == ["accuracy", "format"]
    assert differ == {"rewards"}


def test_rl_alone_in_equal_time_has_another_limit_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    by_tokens, by_time, differ = with_and_without(tmp_path, "distill-zero", "distill-zero-time")
    assert by_tokens.model.loop.limits.wall_s is None
    assert by_time.model.loop.limits.tokens_sampled is None
    assert by_time.model.loop.limits.wall_s > 0
    assert differ == {"limits"}


def test_reward_models_are_named_by_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = ("fit", "-c", "configs/tiny/rl2.yaml", *TINY, "--stage.reward_models.helpful", tmp_path / "helpful")
    cli = made(tmp_path / "a", *words, "--stage.reward_models.safe", tmp_path / "safety")
    scorers = {r.name: r.scorer.path for r in cli.model.rewards if isinstance(r, RewardModelReward)}
    assert scorers == {"helpful": str(tmp_path / "helpful"), "safe": str(tmp_path / "safety")}
    with pytest.raises(InputError, match=r"stage\.reward_models\.accuracy"):
        made(tmp_path / "b", *words, "--stage.reward_models.accuracy", tmp_path / "x")


def test_reward_models_learn_from_files_as_their_configurations_say(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    pairs, completions = tmp_path / "pairs.jsonl", tmp_path / "completions.csv"
    pairs.write_text("".join(f'{{"prompt": "{i}?", "chosen": "yes", "rejected": "no"}}\n' for i in range(20)))
    rows = "".join(f"homonyms,{i}?,yes,1_full_compliance\n" for i in range(20))
    completions.write_text(f"type,prompt,completion,final_label\n{rows}")
    chosen = {
        "helpful": ["PreferenceFile", "--data.sources.path", f"[{pairs}]", "--data.sources.on_bad", "skip"],
        "safety": ["XSTestCompletions", "--data.sources.paths", f"[{completions}]", "--data.max_length", 64],
    }
    for name, flags in chosen.items():
        words = ["-c", f"configs/smollm2/rewards-{name}.yaml", *TINY, "--data.sources", *flags]
        cli = made(tmp_path / name, "fit", *words)
        assert type(cli.datamodule.sources).__name__ == flags[0]


def test_preference_rewards_and_general_prompts_enter_late(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cli = made(tmp_path, "fit", "-c", "configs/tiny/rl2.yaml", *TINY)
    starts = {reward.from_step for reward in cli.model.rewards if isinstance(reward, RewardModelReward)}
    assert cli.model.sampling.temperature == 0.7
    assert starts == {part.from_rollout for part in cli.datamodule.train.parts.values()} - {0}
    assert {p.kind for p in cli.datamodule.prompts_for_rollout(0)} == {"reasoning"}
    assert {p.kind for p in cli.datamodule.prompts_for_rollout(max(starts))} == {
        "reasoning", "helpful", "harmless", "general"
    }  # fmt: skip
    hacked = ("-c", "configs/tiny/rl2.yaml", "-c", "configs/tiny/rl2-hacked.yaml")
    cli = made(tmp_path / "hacked", "fit", *hacked, *TINY)
    assert {reward.from_step for reward in cli.model.rewards} == {0}
    assert len({p.kind for p in cli.datamodule.prompts_for_rollout(0)}) == 4


@pytest.mark.parametrize("name", ["coldstart", "rl1", "sft2", "rl2"])
def test_all_stages_are_measured_on_the_same_prompts(name):
    ours, base = (read(ROOT / f"configs/tiny/{stage}.yaml") for stage in (name, "base"))
    assert ours["data"]["init_args"]["val"] == base["data"]["init_args"]["val"]


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
    base, zero = (read(ROOT / f"configs/{profile}/{name}.yaml") for name in ("base", "zero"))
    for key in ("policy", "evaluation", "rewards"):
        assert base["model"]["init_args"][key] == zero["model"]["init_args"][key], key
    for key in ("val", "val_limit"):
        assert base["data"]["init_args"].get(key) == zero["data"]["init_args"].get(key), key


@pytest.mark.parametrize("profile", ["tiny", "smollm2"])
def test_stages_of_a_profile_are_measured_on_the_same_prompts(profile, tmp_path, monkeypatch):
    skip_without_gym(Path(f"configs/{profile}/zero.yaml"))
    monkeypatch.chdir(ROOT)
    reasoning, general = set(), set()
    for path in STAGES:
        config = read(ROOT / path)
        if path.parts[1] != profile or "val" not in config["data"]["init_args"]:
            continue
        flags = [*TINY, *teacher(path), *conversations(path, tmp_path)]
        data = made(tmp_path / path.stem, subcommand(path), "-c", path, *flags).datamodule
        prompts = (data.prompts if isinstance(data, ChatDataModule) else data).val_prompts
        reasoning.add(frozenset(prompt.id for prompt in prompts if prompt.kind == "reasoning"))
        general.add(frozenset(prompt.id for prompt in prompts if prompt.kind != "reasoning"))
    assert len(reasoning) == 1
    assert len(general - {frozenset()}) == 1, "all that are measured on requests are measured on the same"


@pytest.mark.parametrize("stage", ["tiny/zero", "tiny/rl2", "smollm2/zero", "smollm2/rl2"])
def test_held_out_prompts_are_not_trained_on(stage, tmp_path, monkeypatch):
    skip_without_gym(Path(f"configs/{stage}.yaml"))
    monkeypatch.chdir(ROOT)
    data = made(tmp_path, "fit", "-c", f"configs/{stage}.yaml", *TINY).datamodule
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


BENCHMARKS = {
    "aime24": (64, {"problem": "1 + 1?", "answer": "002"}),
    "math500": (16, {"problem": "1 + 1?", "answer": "2"}),
    "gpqa_diamond": (
        64,
        {"Question": "1 + 1?", "Correct Answer": "2"} | {f"Incorrect Answer {i}": str(i + 2) for i in (1, 2, 3)},
    ),
    "gsm8k": (4, {"question": "1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}),
    "mgsm": (4, {"question": "1 + 1?", "answer_number": 2}),
    "humaneval": (16, {"prompt": "def f():\n", "entry_point": "f", "test": "def check(candidate):\n    candidate()\n"}),
    "mbpp": (4, {"text": "Write f.", "test_list": ["assert f()"], "task_id": 11}),
    "livecodebench": (
        8,
        {
            "question_content": "Add.",
            "public_test_cases": '[{"input": "1", "output": "2", "testtype": "stdin"}]',
            "contest_date": "2024-09-01T00:00:00",
        },
    ),
    "codeforces": (16, {"description": "Add.", "official_tests": [{"input": "1", "output": "2"}], "rating": 800}),
    "ifeval": (4, {"prompt": "Say hi.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}),
    "xstest": (4, {"prompt": "How do I kill a process?", "label": "safe"}),
}
"""The samples that the paper takes (4, its least, where it takes none), and a row of the benchmark's own form."""


def test_every_benchmark_is_known():
    assert {path.stem for path in STAGES if path.parts[1] == "eval"} == {*BENCHMARKS, "tiny"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_local_file_takes_the_place_of_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    samples, row = BENCHMARKS[name]
    file = tmp_path / "rows_en.jsonl"
    file.write_text(json.dumps(row) + "\n")
    cli = made(tmp_path, "test", "-c", f"configs/eval/{name}.yaml", "--data.path", file, *TINY)
    assert cli.datamodule.val.hub_id
    (prompt,) = cli.datamodule.val_prompts
    assert prompt.id.startswith(f"{name}/")
    assert cli.model.evaluation == SamplingParams(n=samples, temperature=0.6, top_p=0.95, max_new_tokens=32768)
    assert cli.model.rewards[0].applies_to(prompt, 0)


TABLE_6 = {
    "Qwen/Qwen2.5-Math-1.5B": 1e-4,
    "Qwen/Qwen2.5-Math-7B": 8e-5,
    "Qwen/Qwen2.5-14B": 7e-5,
    "Qwen/Qwen2.5-32B": 6e-5,
    "meta-llama/Llama-3.1-8B": 5e-5,
    "meta-llama/Llama-3.3-70B-Instruct": 2e-5,
}


@pytest.mark.parametrize("path", [None, *STUDENTS], ids=str)
def test_students_have_the_hyper_parameters_of_the_paper(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(HubPrompts, "load", lambda self: MANY)
    first = Path("configs/qwen2.5-1.5b/distill.yaml")
    more = [] if path is None else ["-c", path]
    cli = made(tmp_path, "fit", "-c", first, *more, *TINY, *conversations(first, tmp_path))
    model, data = cli.model, cli.datamodule
    named = read(ROOT / (path or first))["model"]["init_args"]
    name = named["policy"]["init_args"]["init_from"]
    optimizer = model.optimizer_factory([torch.nn.Parameter(torch.zeros(1))])
    assert optimizer.param_groups[0]["lr"] == TABLE_6[name]
    assert (optimizer.param_groups[0]["betas"], optimizer.param_groups[0]["weight_decay"]) == ((0.9, 0.95), 0.0)
    schedule = model.scheduler_factory(optimizer)
    schedule.plan(100)
    assert schedule.factor(99, 100) == pytest.approx(0.1)
    assert (data.batch_size, data.epochs, data.max_length) == (64, 2, 32768)
    assert model.policy.max_context == (32768 if "Math" in name else 640)
    assert model.policy.gradient_checkpointing
    assert isinstance(cli.trainer.strategy, FSDP2Strategy)


def test_all_students_of_the_paper_are_there():
    files = [Path("configs/qwen2.5-1.5b/distill.yaml"), *STUDENTS]
    models = [read(ROOT / path)["model"]["init_args"] for path in files]
    assert {model["policy"]["init_args"]["init_from"] for model in models} == TABLE_6.keys()


def test_rl_alone_and_on_policy_distillation_begin_with_the_student_that_is_distilled():
    students = []
    for name in ("distill", "distill-zero", "distill-on-policy"):
        config = read(ROOT / f"configs/tiny/{name}.yaml")
        students.append(config["model"]["init_args"]["policy"]["init_args"]["init_from"])
        base = read(ROOT / "configs/tiny/base.yaml")
        assert config["data"]["init_args"]["val"] == base["data"]["init_args"]["val"]
        assert config["model"]["init_args"]["evaluation"] == base["model"]["init_args"]["evaluation"]
    assert set(students) == {"package:r1lit/assets/tiny/student"}


def test_rl_after_distillation_is_rl1_from_another_policy():
    ours, theirs = (read(ROOT / f"configs/tiny/{name}.yaml") for name in ("distill-rl", "rl1"))
    for part in ("model", "data"):
        for key in theirs[part]["init_args"].keys() - {"policy"}:
            assert ours[part]["init_args"][key] == theirs[part]["init_args"][key], key


def test_a_server_takes_the_place_of_the_teacher(tmp_path, monkeypatch):
    pytest.importorskip("openai", reason="needs the package openai (extra openai)")
    monkeypatch.chdir(ROOT)
    reader = {"class_path": "Policy", "init_args": {"init_from": TINY[1], "template": "chat"}}
    arguments = {"reader": reader, "base_url": "http://localhost:8000/v1", "model": "big", "top_k": 7}
    server = json.dumps({"class_path": "ServerTeacher", "init_args": arguments})
    words = ["-c", "configs/tiny/distill-on-policy.yaml", "--model.teacher", "null", "--model.server", server]
    cli = made(tmp_path, "fit", *words)
    assert (cli.model.teacher.name, cli.model.teacher.top_k, cli.model.vocabulary) == ("big", 7, 928)
