"""On-policy distillation from the command line: killed and resumed, and over two processes, it is the same run."""

import csv
import json
import signal

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

CONFIG = """
model:
  class_path: DistillModule
  init_args:
    policy:
      class_path: Policy
      init_args: {{init_from: {model}, template: "User: {{question}}\\nAssistant:"}}
    teacher:
      class_path: Policy
      init_args: {{init_from: "package:r1lit/assets/tiny/base", template: "Question: {{question}}\\nAnswer:"}}
    rewards:
      - {{class_path: FunctionReward, init_args: {{function: r1lit_test_parts.even_share}}}}
    optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 3.0e-3, weight_decay: 0.01}}}}
    scheduler: {{class_path: CosineToTenth}}
    sampling: {{n: 4, max_new_tokens: 8}}
    evaluation: {{n: 2, temperature: 0.6, top_p: 0.95, max_new_tokens: 8}}
    max_rollouts: 5
    minibatches: 2
    micro_batch_tokens: 150
data:
  class_path: PromptDataModule
  init_args:
    train: {{class_path: TinyWorldPrompts, init_args: {{n: 10}}}}
    val: {{class_path: TinyWorldPrompts, init_args: {{split: held_out, n: 3}}}}
    prompts_per_rollout: 5
trainer:
  accelerator: cpu
  devices: 1
  limit_val_batches: 0
  callbacks:
    - {{class_path: r1lit_test_parts.KillAt, init_args: {{file: {kill}}}}}
checkpoint: {{every_n_rollouts: 1}}
samples: {{every_n_rollouts: 0}}
"""
CLOCK = {"generate_s", "train_s", "tokens_per_s"}
FSDP2 = ("--trainer.devices", "2", "--trainer.strategy", "fsdp2")
DDP = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


@pytest.fixture
def fit(command_line, model_dir):
    command_line.config.write_text(CONFIG.format(model=model_dir, kill=command_line.kill))
    return command_line


def metrics_of(stage):
    with (stage / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in CLOCK} for row in csv.DictReader(file)]


def weights_of(stage):
    return load_file(stage / "model" / "model.safetensors")


def test_a_run_that_is_killed_equals_one_that_is_not(fit):
    straight, codes = fit("straight")
    assert codes == [0]
    for moment in ("update 5", "before checkpoint 4"):
        killed, codes = fit("killed", kill_at=moment)
        assert codes == [-signal.SIGKILL]
    state = torch.load(killed / "last.ckpt", weights_only=False)
    assert all(name.startswith("policy.lm.") for name in state["state_dict"])
    assert state["r1lit"]["train_s"] > 0
    killed, codes = fit("killed")
    assert codes == [0]
    ours, wanted = weights_of(killed), weights_of(straight)
    assert ours.keys() == wanted.keys()
    assert all(ours[name].equal(value) for name, value in wanted.items())
    assert metrics_of(killed) == metrics_of(straight)
    rows = metrics_of(straight)
    assert [row["rollout"] for row in rows] == ["0", "1", "2", "3", "4"]
    # What is compared took part: a teacher that teaches, and a schedule that ends at a tenth.
    assert float(rows[-1]["loss"]) < 0.95 * float(rows[0]["loss"])
    assert float(rows[-1]["learning_rate"]) < 6e-4
    ours, wanted = (json.loads((stage / "stage.json").read_text()) for stage in (killed, straight))
    for name in ("metrics", "updates", "rollouts", "tokens_sampled"):
        assert ours[name] == wanted[name], name
    assert ours["updates"] == 10


@pytest.mark.distributed
@pytest.mark.parametrize(
    "strategy", [pytest.param(DDP, id="ddp", marks=pytest.mark.slow), pytest.param(FSDP2, id="fsdp2")]
)
def test_two_processes_equal_one(fit, strategy):
    # A rollout has at most 160 tokens: the third is the last, also for a run that did two of them before.
    steps = ("--model.max_rollouts", "null", "--model.limits.tokens_sampled", "400", "--model.scheduler", "null")
    single, codes = fit("single", *steps)
    assert codes == [0]
    _, codes = fit("double", *steps, *strategy, ranks=2, kill_at="after checkpoint 2")
    assert codes == [-9, -9]
    double, codes = fit("double", *steps, *strategy, ranks=2)
    assert codes == [0, 0]
    ours, wanted = (pq.read_table(stage / "samples.parquet").to_pylist() for stage in (double, single))
    ours, wanted = ([row for row in rows if row.get("split", "train") == "train"] for rows in (ours, wanted))
    assert len(ours) == 3 * 20
    assert [row["text"] for row in ours] == [row["text"] for row in wanted]
    for a, b in zip(metrics_of(double), metrics_of(single), strict=True):
        for name in ("loss", "grad_norm", "entropy", "reward/even_share", "step"):
            assert float(a[name]) == pytest.approx(float(b[name]), abs=2e-5, rel=1e-3), name
    ours, wanted = weights_of(double), weights_of(single)
    for name, value in wanted.items():
        torch.testing.assert_close(ours[name], value, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
