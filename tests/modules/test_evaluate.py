"""``r1lit test`` on a small random model: any number of processes, kills, servers, short contexts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import r1lit
from r1lit import Policy
from r1lit.cli import main
from r1lit.errors import InputError
from r1lit.modules import EvaluationModule
from r1lit.rewards import AccuracyReward, FunctionReward
from r1lit.samples.replay import ReplayEngine
from r1lit.types import SamplingParams

MORE_PARTS = '''

def even_text(completions):
    return [float(len(c.text) % 2 == 0) for c in completions]


class KillAfter(RolloutCallback):
    """Ends the process by SIGKILL after so many completions, where a file says so."""

    def __init__(self, file):
        self.file = Path(file)

    def on_completions(self, trainer, pl_module, done, total, tokens):
        if self.file.is_file() and self.file.read_text() == f"completion {done}":
            os.kill(os.getpid(), signal.SIGKILL)
'''
CONFIG = """
stage: {{title: a benchmark}}
model:
  class_path: EvaluationModule
  init_args:
    policy:
      class_path: Policy
      init_args: {{init_from: {model}, template: "User: {{question}}\\nAssistant:"}}
    rewards:
      - {{class_path: FunctionReward, init_args: {{function: r1lit_test_parts.even_text}}}}
      - class_path: FormatReward
    evaluation: {{n: 4, temperature: 0.6, top_p: 0.95, max_new_tokens: 10}}
    chunk_prompts: 4
data:
  class_path: PromptDataModule
  init_args:
    val: {{class_path: TinyWorldPrompts, init_args: {{split: held_out, n: 10}}}}
    val_batch_size: 3
trainer:
  accelerator: cpu
  devices: 1
  callbacks:
    - {{class_path: r1lit_test_parts.KillAfter, init_args: {{file: {kill}}}}}
"""


@pytest.fixture
def evaluate(command_line, model_dir):
    """The command line, for ``r1lit test`` with the configuration above."""
    parts = command_line.folder / "r1lit_test_parts.py"
    parts.write_text(parts.read_text() + MORE_PARTS)
    command_line.config.write_text(CONFIG.format(model=model_dir, kill=command_line.kill))
    command_line.arguments = lambda name, *more: [
        *("test", "-c", str(command_line.config), "--stage.dir", str(command_line.folder / name)), *more,
    ]  # fmt: skip
    return command_line


def samples(folder):
    return pq.read_table(folder / "samples.parquet").to_pylist()


def metrics(folder):
    return json.loads((folder / "stage.json").read_text())["metrics"]


def keys(folder):
    """Of all entries of the journal, in order."""
    lines = [line for file in sorted((folder / "sampled").glob("rank*.jsonl")) for line in file.read_text().split("\n")]
    return [json.loads(line)["key"] for line in lines if line]


@pytest.mark.distributed
def test_two_processes_and_a_killed_run_do_what_one_does(evaluate):
    single, codes = evaluate("single")
    assert codes == [0]
    rows = samples(single)
    assert [(row["prompt_id"], row["sample"]) for row in rows] == [
        (name, sample) for name in dict.fromkeys(row["prompt_id"] for row in rows) for sample in range(4)
    ]
    assert len(rows) == 40
    assert len({row["text"] for row in rows}) > 10
    found = metrics(single)
    assert found["pass@1"]["n"] == 10
    assert found["pass@1"]["value"] == pytest.approx(sum(len(r["text"]) % 2 == 0 for r in rows) / 40)
    assert found["mean_length"]["value"] == pytest.approx(sum(row["tokens"] for row in rows) / 40)

    # DDP through Lightning's own launcher, as a user starts it.
    arguments = evaluate.arguments("ddp", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    paths = [str(evaluate.folder), str(Path(r1lit.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "MASTER_ADDR": "127.0.0.1"}
    subprocess.run([sys.executable, "-m", "r1lit.cli", *arguments], env=environment, check=True, timeout=240)
    assert samples(evaluate.folder / "ddp") == rows
    assert metrics(evaluate.folder / "ddp") == found
    assert len(keys(evaluate.folder / "ddp")) == 10
    assert (evaluate.folder / "ddp" / "sampled" / "rank1.jsonl").is_file()

    killed, codes = evaluate("killed", kill_at="completion 26")
    assert codes == [-9]
    assert not (killed / "samples.parquet").exists()
    before = keys(killed)
    assert 4 <= len(before) < 10
    # One of the two processes that go on finds what the one before has left.
    killed, codes = evaluate("killed")
    assert codes == [0]
    assert f"{len(before)} of 10 prompts are sampled already" in evaluate.output("killed", 0)
    assert keys(killed)[: len(before)] == before
    assert sorted(keys(killed)) == sorted(set(keys(single)))
    assert [(r["prompt_id"], r["sample"], r["seed"]) for r in samples(killed)] == [
        (r["prompt_id"], r["sample"], r["seed"]) for r in rows
    ]

    exact, codes = evaluate("exact", "--model.resume", "chunk", kill_at="completion 26")
    assert codes == [-9]
    exact, codes = evaluate("exact", "--model.resume", "chunk")
    assert codes == [0]
    assert samples(exact) == rows
    assert metrics(exact) == found


TINY = Path(r1lit.__file__).parent / "assets" / "tiny" / "base"
PLAIN = """
model:
  class_path: EvaluationModule
  init_args:
    policy: {class_path: Policy, init_args: {init_from: nowhere, template: "User: {question}\\nAssistant:"}}
    rewards: [{class_path: AccuracyReward}]
    evaluation: {n: 2, temperature: 0.6, top_p: 0.95, max_new_tokens: 24}
data:
  class_path: PromptDataModule
  init_args:
    val: {class_path: FilePrompts, init_args: {path: nowhere}}
trainer: {accelerator: cpu, devices: 1}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a configuration, a file of prompts and the evaluation of the tiny base on two of them."""
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "eval.yaml").write_text(PLAIN)
    rows = [{"question": f"Make {i + 9} from 9 and {i}.", "answer": str(i + 9), "level": i % 2} for i in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["test", "-c", str(folder / "eval.yaml"), "--model.init_from", str(TINY)]
    words += ["--data.path", str(folder / "rows.jsonl"), "--data.limit", "2", "--stage.dir", str(folder / "run")]
    assert main(words) == 0
    return folder


def test_an_evaluation_leaves_samples_and_a_record_and_no_model(finished):
    record = json.loads((finished / "run" / "stage.json").read_text())
    assert record["outputs"] == ["samples.parquet"]
    assert (record["prompts"], record["samples"], record["judge"]) == (2, 4, "accuracy")
    assert record["previous"] is None
    assert record["tokens_sampled"] == sum(row["tokens"] for row in samples(finished / "run"))
    assert not (finished / "run" / "model").exists()
    names = {"pass@1", "pass@2", "cons@2", "mean_length", "truncated", "unparsable", "unscored"}
    assert names <= set(record["metrics"])
    assert [row["meta"] for row in samples(finished / "run")] == ['{"level": 0}'] * 4


def test_an_engine_without_a_policy(finished, tmp_path, capsys):
    words = ["test", "-c", str(finished / "eval.yaml"), "--model.policy", "null", "--stage.dir", str(tmp_path / "run")]
    words += ["--model.server", "r1lit.samples.replay.ReplayEngine"]
    words += ["--model.server.samples", str(finished / "run" / "samples.parquet")]
    words += ["--data.path", str(finished / "rows.jsonl"), "--data.limit", "2"]
    assert main(words) == 0
    assert samples(tmp_path / "run") == samples(finished / "run")
    assert metrics(tmp_path / "run") == metrics(finished / "run")
    assert "measured on 2 prompts x 2 samples" in " ".join(capsys.readouterr().out.split())


def test_a_short_context_limits_completions_with_a_notice(finished, tmp_path, capsys):
    words = ["test", "-c", str(finished / "eval.yaml"), "--model.init_from", str(TINY), "--data.limit", "1"]
    words += ["--data.path", str(finished / "rows.jsonl"), "--stage.dir", str(tmp_path / "run")]
    words += ["--model.evaluation.max_new_tokens", "32768", "--model.evaluation.n", "1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "NOTICE: completions end after" in out
    assert "rather than 32,768: the model's context has 640" in out
    record = json.loads((tmp_path / "run" / "stage.json").read_text())
    assert 400 < record["max_new_tokens"] < 640
    assert "pass@2" not in record["metrics"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--model.policy", "null"), "give either model.policy"),
        (("--model.judge", "exactness"), "none of the rewards: accuracy"),
        (("--model.pass_at", "[1,3]"), "evaluation.n is 2"),
        (("--model.chunk_prompts", "0"), "chunk_prompts is 0"),
    ],
)
def test_bad_settings(finished, tmp_path, capsys, words, told):
    common = ["test", "-c", str(finished / "eval.yaml"), "--stage.dir", str(tmp_path / "run")]
    common += ["--data.path", str(finished / "rows.jsonl")]
    model = [] if "--model.policy" in words else ["--model.init_from", str(TINY)]
    assert main([*common, *model, *words]) == 2
    assert told in capsys.readouterr().err


def test_an_evaluation_does_not_fit(finished, tmp_path, capsys):
    words = ["fit", "-c", str(finished / "eval.yaml"), "--model.init_from", str(TINY)]
    assert main([*words, "--stage.dir", str(tmp_path / "run")]) == 2
    assert "EvaluationModule does not fit; use `r1lit test`" in capsys.readouterr().err


def test_policy_and_server_exclude_each_other(finished):
    policy = Policy(str(TINY), template="{question}")
    server = ReplayEngine(str(finished / "run" / "samples.parquet"))
    with pytest.raises(InputError, match="either"):
        EvaluationModule([AccuracyReward()], policy, server=server)


def test_the_paper_s_protocol_is_the_default():
    rewards = [FunctionReward(len, name="f"), AccuracyReward()]
    module = EvaluationModule(rewards, Policy(str(TINY), template="{question}"))
    assert module.evaluation == SamplingParams(n=16, temperature=0.6, top_p=0.95, max_new_tokens=32768)
    assert module.judge == "f"
