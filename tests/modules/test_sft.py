"""Fine-tuning: its loss by a second, simpler way, the same however a batch is cut, and a run that learns."""

import csv
import json
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer

from r1lit import ChatDataModule, Policy, PromptDataModule, SFTModule
from r1lit.callbacks import MetricsFile
from r1lit.data import ChatSource
from r1lit.data.encoding import ChatEncoder
from r1lit.errors import InputError, TrainingError
from r1lit.modules import CosineToTenth
from r1lit.rewards import FormatReward
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.types import Message, Prompt, SamplingParams

SGD = partial(torch.optim.SGD, lr=0.5)
CHATS = [
    [f"what is {a} + {b}?", str(a + b), *(["sure?", f"yes, {a + b}"] if a % 2 else [])]
    for a in range(4)
    for b in (3, 5)
]


@pytest.fixture
def chats(tmp_path):
    """Conversations of one and two turns, as a file."""

    def write(rows=CHATS):
        roles = ("user", "assistant")
        lines = [{"messages": [{"role": roles[i % 2], "content": t} for i, t in enumerate(texts)]} for texts in rows]
        (tmp_path / "chats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return {"chats": ChatSource(str(tmp_path / "chats.jsonl"))}

    return write


@pytest.fixture
def train(model_dir, tmp_path, chats):
    """Fine-tunes a small module; ``data`` and ``trainer`` take settings of those, all others are the module's."""

    def start(data=None, trainer=None, rows=CHATS, template="chat", policy=None, **settings):
        policy = policy or Policy(model_dir, template=template)
        evaluation = SamplingParams(n=2, temperature=0.6, top_p=0.95, max_new_tokens=8)
        module = SFTModule(policy, **{"optimizer": SGD, "evaluation": evaluation, "max_updates": 1} | settings)
        chosen = ChatDataModule(**{"sources": chats(rows), "batch_size": len(rows)} | (data or {}))
        run = Trainer(
            accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
            callbacks=[MetricsFile()], num_sanity_val_steps=0, **(trainer or {}),
        )  # fmt: skip
        run.fit(module, datamodule=chosen)
        with (tmp_path / "metrics.csv").open(newline="") as file:
            module.rows = list(csv.DictReader(file))
        (tmp_path / "metrics.csv").unlink()
        return module

    return start


def weights(module):
    return {name: value.detach().clone() for name, value in module.policy.lm.named_parameters()}


def second_way(model_dir, rows, learning_rate, clip=1.0):
    """One update in float64, a conversation at a time, by cross-entropy on whole logits: loss, norm and weights."""
    policy = Policy.from_pretrained(model_dir, template="chat")
    encoder = ChatEncoder.of(policy)
    lm = policy.lm.double()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for texts in rows:
        turns = [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
        ids, mask = (torch.tensor(column) for column in encoder.encode(turns))
        logits = lm(input_ids=ids[None]).logits[0].double()
        losses = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
        total = total + (losses * mask[1:]).sum()
        count += int(mask.sum())
    (total / count).backward()
    norm = torch.nn.utils.clip_grad_norm_(lm.parameters(), clip)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter -= learning_rate * parameter.grad
    return float(total.detach() / count), float(norm), {name: value.detach() for name, value in lm.named_parameters()}


@pytest.fixture(scope="module")
def reference(model_dir):
    return second_way(model_dir, CHATS, 0.5)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"micro_batch_tokens": 60},
        {"micro_batch_tokens": 1},
        {"packing": False},
        {"packing": False, "micro_batch_tokens": 80},
    ],
    ids=str,
)
def test_an_update_equals_the_second_way_however_the_batch_is_cut(train, reference, data):
    module = train(data)
    loss, norm, wanted = reference
    assert float(module.rows[0]["loss"]) == pytest.approx(loss, rel=1e-5)
    assert float(module.rows[0]["grad_norm"]) == pytest.approx(norm, rel=1e-4)
    for name, value in weights(module).items():
        torch.testing.assert_close(
            value.double(), wanted[name], atol=2e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    parts = int(float(module.rows[0]["micro_batches"]))
    assert parts == len(CHATS) if data.get("micro_batch_tokens") == 1 else parts < len(CHATS)


def test_logs_schedule_and_counts(train):
    optimizer = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.0)
    module = train({"epochs": 3, "batch_size": 4}, optimizer=optimizer, scheduler=CosineToTenth, max_updates=None)
    assert module.updates == len(module.rows) == 6
    assert [row["batch"] for row in module.rows] == [*"012345"]
    assert [float(row["step"]) for row in module.rows] == [1, 2, 3, 4, 5, 6]
    assert [float(row["epoch"]) for row in module.rows] == [0.5, 1, 1.5, 2, 2.5, 3]
    rate = [float(row["learning_rate"]) for row in module.rows]
    assert (rate[0], rate[-1]) == (1e-3, pytest.approx(1e-4))
    for row in module.rows:
        assert 0 < float(row["target_tokens"]) < float(row["tokens"])
        assert float(row["tokens_per_s"]) > 0


def test_it_learns_and_measures(train, tmp_path):
    rows = [[f"colour of {thing}?", colour] for thing, colour in (("sky", "blue"), ("grass", "green"), ("sun", "gold"))]
    optimizer = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.0)
    held_out = TinyWorldPrompts(split="held_out", n=3)
    module = train(
        {"epochs": 30, "val": held_out, "val_batch_size": 2}, {"limit_val_batches": 0}, rows,
        optimizer=optimizer, scheduler=CosineToTenth, max_updates=None, rewards=[FormatReward()],
    )  # fmt: skip
    losses = [float(row["loss"]) for row in module.rows]
    assert losses[0] > 2
    assert losses[-1] < 0.05
    prompts = [Prompt(question, (Message("user", question),)) for question, _ in rows]
    answers = module.engine.generate(prompts, SamplingParams(n=1, temperature=0.0, max_new_tokens=20))
    assert {c.prompt.id: (c.text, c.finish_reason) for c in answers} == {q: (a, "stop") for q, a in rows}

    module.trainer.test(module, datamodule=module.trainer.datamodule, verbose=False)
    assert {"pass@1", "pass@1_t1", "cons@2", "format", "mean_length"} <= set(module.test_results)
    assert module.test_results["pass@1"]["n"] == 3


def test_a_loss_that_is_not_finite_stops_the_run(train, model_dir):
    policy = Policy.from_pretrained(model_dir, template="chat")
    with torch.no_grad():
        policy.lm.model.norm.weight[0] = torch.inf
    with pytest.raises(TrainingError, match="at step 1; the update was not taken"):
        train(policy=policy)


def test_prompts_are_no_conversations(model_dir, tmp_path):
    module = SFTModule(Policy(model_dir, template="chat"), SGD, evaluation=SamplingParams(max_new_tokens=8))
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path, enable_progress_bar=False)
    with pytest.raises(InputError, match="SFTModule trains on a ChatDataModule, and data is PromptDataModule"):
        trainer.fit(module, datamodule=PromptDataModule(TinyWorldPrompts(n=2), prompts_per_rollout=1))


def test_settings_out_of_range(model_dir, train):
    with pytest.raises(InputError, match="max_updates is 0"):
        SFTModule(Policy(model_dir, template="chat"), SGD, max_updates=0)
    with pytest.raises(InputError, match=r"evaluation\.max_new_tokens is 128"):
        train(evaluation=SamplingParams(max_new_tokens=128))


def test_it_measures_without_training(model_dir, tmp_path, chats):
    module = SFTModule(Policy(model_dir, template="chat"), SGD, evaluation=SamplingParams(n=2, max_new_tokens=4))
    data = ChatDataModule(chats(), TinyWorldPrompts(split="held_out", n=3))
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path, enable_progress_bar=False)
    trainer.test(module, datamodule=data, verbose=False)
    assert module.test_results["mean_length"]["n"] == 3
    assert module.updates == 0
