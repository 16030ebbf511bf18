"""The stage that makes preference pairs."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import Trainer

from r1lit import Policy, PromptDataModule
from r1lit.data import PreferenceFile
from r1lit.errors import InputError, TrainingError
from r1lit.grading.parsing import parse_response
from r1lit.modules import JudgeModule
from r1lit.rejection.pair_generation import PairJudge
from r1lit.rollout import NativeEngine
from r1lit.samples.replay import ReplayEngine
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.types import Completion, SamplingParams


class Longest:
    """Judges by a rule: much better is what says ``good``. Breaks down at the call that it is told."""

    def __init__(self, breaks_at=None):
        self.calls, self.breaks_at = 0, breaks_at

    def generate(self, prompts, sampling):
        for prompt in prompts:
            self.calls += 1
            if self.calls == self.breaks_at:
                raise TrainingError("the judge is away")
            first = prompt.question.partition("<reply B>")[0]
            text = "[[A>>B]]" if "good" in first else "[[B>>A]]"
            yield Completion(prompt, 0, (), (), (), text, "stop", *parse_response(text))


@pytest.fixture
def prompts():
    return TinyWorldPrompts(n=6)


@pytest.fixture
def replies(prompts, tmp_path):
    """Two recorded replies to each prompt but the last, which has one."""
    rows = [
        {
            "prompt_id": prompt.id, "text": f"<think> hm </think> {word} {i}",
            "finish_reason": "stop", "tokens": 5, "sample": s,
        }
        for i, prompt in enumerate(prompts.load())
        for s, word in enumerate(("fair", "good") if i % 2 else ("good", "poor"))
        if i < 5 or s == 0
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "samples.parquet")
    return ReplayEngine(str(tmp_path / "samples.parquet"))


def run(module, prompts, folder):
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.predict(module, datamodule=PromptDataModule(prompts, prompts_per_rollout=2))
    return module


def test_given_replies_become_pairs(prompts, replies, tmp_path):
    module = run(JudgeModule(PairJudge(Longest()), teacher=replies), prompts, tmp_path / "a")
    pairs = PreferenceFile(str(tmp_path / "a" / "preferences.jsonl")).load()
    assert [pair.chosen.split()[-2] for pair in pairs] == ["good"] * 5
    assert {pair.rejected.split()[-2] for pair in pairs} == {"fair", "poor"}
    assert [pair.messages for pair in pairs] == [prompt.messages for prompt in prompts.load()[:5]]
    manifest = module.manifest
    assert (manifest["prompts"], manifest["kept"]) == (6, 5)
    assert manifest["judge"] == {"calls": 20, "unreadable": 0, "unjudged": 0}
    assert manifest["filters"]["too few replies"] == 1


def test_a_run_that_was_cut_off_asks_for_no_verdict_twice(prompts, replies, tmp_path):
    straight = run(JudgeModule(PairJudge(Longest()), teacher=replies), prompts, tmp_path / "a")
    with pytest.raises(TrainingError, match="the judge is away"):
        run(JudgeModule(PairJudge(Longest(breaks_at=12)), teacher=replies), prompts, tmp_path / "b")
    engine = Longest()
    again = run(JudgeModule(PairJudge(engine), teacher=replies), prompts, tmp_path / "b")
    assert engine.calls == 12  # the first two prompts had their eight
    assert again.manifest == straight.manifest
    files = [(tmp_path / name / "preferences.jsonl").read_text() for name in "ab"]
    assert files[0] == files[1] != ""
    with pytest.raises(InputError, match="the judge changed"):
        run(JudgeModule(PairJudge(Longest(), calls=2), teacher=replies), prompts, tmp_path / "b")


def test_a_policy_samples_both_replies(prompts, model_dir, tmp_path):
    torch.manual_seed(0)
    policy = Policy(model_dir, template="User: {question}\nAssistant:")
    sampling = SamplingParams(n=2, max_new_tokens=8)
    judge = PairJudge(Longest())
    module = run(JudgeModule(judge, policy, NativeEngine, sampling=sampling), prompts, tmp_path)
    assert module.manifest["sampled"] == 12
    entries = [json.loads(line) for line in (tmp_path / "judged" / "rank0.jsonl").read_text().splitlines()]
    assert all(len(entry["replies"]) == 2 and entry["tokens"] > 1 for entry in entries)


def test_settings(model_dir, replies):
    judge = PairJudge(Longest())
    with pytest.raises(InputError, match=r"either model.policy .* or model.teacher"):
        JudgeModule(judge)
    with pytest.raises(InputError, match=r"either model.policy .* or model.teacher"):
        JudgeModule(judge, Policy(model_dir, template="{question}"), teacher=replies)
    with pytest.raises(InputError, match="a pair has 2 replies"):
        JudgeModule(judge, teacher=replies, sampling=SamplingParams(n=4))
    with pytest.raises(InputError, match="margin is -1"):
        JudgeModule(judge, teacher=replies, margin=-1)
