"""Fine-tuning from the command line: killed and resumed, and over two processes, it is the same run."""

import csv
import json
import signal

import pytest
import torch
from safetensors.torch import load_file

CONFIG = """
model:
  class_path: SFTModule
  init_args:
    policy:
      class_path: Policy
      init_args: {{init_from: {model}, template: chat}}
    optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 3.0e-3, weight_decay: 0.01}}}}
    scheduler: {{class_path: CosineToTenth}}
    evaluation: {{n: 2, temperature: 0.6, top_p: 0.95, max_new_tokens: 8}}
data:
  class_path: ChatDataModule
  init_args:
    sources:
      sums: {{path: {folder}/sums.jsonl, weight: 2}}
      words: {{path: {folder}/words.jsonl, weight: 1}}
    val: {{class_path: TinyWorldPrompts, init_args: {{split: held_out, n: 3}}}}
    batch_size: 5
    epochs: 2.5
    micro_batch_tokens: 40
trainer:
  accelerator: cpu
  devices: 1
  limit_val_batches: 0
  callbacks:
    - {{class_path: r1lit_test_parts.KillAt, init_args: {{file: {kill}}}}}
checkpoint: {{every_n_rollouts: 2}}
"""
UPDATES = 10
"""2.5 epochs of 20 rows in batches of 5."""


@pytest.fixture
def fit(command_line, model_dir):
    """Runs the command line with a configuration of fine-tuning on a mixture of two files."""
    folder = command_line.folder
    rows = {
        "sums": [(f"{i} + {i % 5}?", str(i + i % 5)) for i in range(6)],
        "words": [(f"{c}?", c * 3) for c in "abcdefghijklmn"],
    }
    for name, pairs in rows.items():
        lines = [json.dumps({"prompt": question, "completion": answer}) + "\n" for question, answer in pairs]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    command_line.config.write_text(CONFIG.format(model=model_dir, folder=folder, kill=command_line.kill))
    return command_line


def rows_of(stage):
    with (stage / "metrics.csv").open(newline="") as file:
        return [{n: v for n, v in row.items() if n != "tokens_per_s"} for row in csv.DictReader(file)]


def weights_of(stage):
    return load_file(stage / "model" / "model.safetensors")


def test_a_run_killed_amid_an_epoch_of_a_mixture_equals_one_that_is_not(fit):
    straight, codes = fit("straight")
    assert codes == [0]
    assert len(rows_of(straight)) == UPDATES
    for moment in ("update 3", "update 7", "before test 0"):
        killed, codes = fit("killed", kill_at=moment)
        assert codes == [-signal.SIGKILL]
        assert not (killed / "stage.json").exists()
    killed, codes = fit("killed")
    assert codes == [0]
    assert "resuming from" in fit.output("killed", 0)
    ours, wanted = weights_of(killed), weights_of(straight)
    assert ours.keys() == wanted.keys()
    assert all(ours[name].equal(value) for name, value in wanted.items())
    assert rows_of(killed) == rows_of(straight)
    ours, wanted = (json.loads((stage / "stage.json").read_text()) for stage in (killed, straight))
    assert (ours["metrics"], ours["updates"]) == (wanted["metrics"], UPDATES)
    # What is compared took part: both sources, and a schedule that went on.
    rate = [float(row["learning_rate"]) for row in rows_of(straight)]
    assert rate == sorted(rate, reverse=True)
    assert rate[-1] == pytest.approx(3e-4)


@pytest.mark.distributed
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_equal_one(fit, strategy):
    single, codes = fit("single")
    assert codes == [0]
    both, codes = fit("both", "--trainer.devices", "2", "--trainer.strategy", strategy, ranks=2)
    assert codes == [0, 0]
    for a, b in zip(rows_of(both), rows_of(single), strict=True):
        for name in ("loss", "grad_norm", "tokens", "target_tokens", "learning_rate", "epoch"):
            assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-4, abs=1e-6), name
    wanted = weights_of(single)
    for name, value in weights_of(both).items():
        torch.testing.assert_close(value, wanted[name], atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    metrics = [json.loads((stage / "stage.json").read_text())["metrics"] for stage in (both, single)]
    assert metrics[0]["mean_length"]["n"] == metrics[1]["mean_length"]["n"] == 3


def test_steps_say_how_long_to_train_and_sources_can_be_named_on_the_command_line(fit):
    other = fit.folder / "other.jsonl"
    other.write_text('{"prompt": "x?", "completion": "y"}\n')
    stage, codes = fit("short", "--stage.steps", "2", "--data.sources.words.path", str(other))
    assert codes == [0]
    assert [row["step"] for row in rows_of(stage)] == ["1", "2"]
    record = json.loads((stage / "stage.json").read_text())
    assert record["updates"] == 2
    assert set(record["fingerprint"]["inputs"]) == {"--data.sources.words.path"}
    assert float(rows_of(stage)[-1]["learning_rate"]) == pytest.approx(3e-4)


def test_a_malformed_row_is_named_in_one_line(fit):
    with (fit.folder / "words.jsonl").open("a") as file:
        file.write('{"prompt": "x?"}\n')
    _, codes = fit("broken")
    assert codes == [2]
    lines = [line for line in fit.output("broken", 0).splitlines() if line.startswith("r1lit: ")]
    assert len(lines) == 1
    assert "words.jsonl, row 15: completion is None, not a text" in lines[0]
    _, codes = fit("skipping", "--stage.steps", "1", "--data.sources.words.on_bad_row", "skip")
    assert codes == [0]
    assert "1 malformed rows left out, 14 kept" in fit.output("skipping", 0)
