"""Run folders as stages leave them, written by the writers that stages use."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from r1lit.callbacks import MetricsFile, SamplesTable
from r1lit.freshness import write_json
from r1lit.grading.parsing import parse_response
from r1lit.metrics.measures import Measures
from r1lit.samples.parts import join_parts, write_part
from r1lit.types import Completion, Message, Prompt, Rollout, ScoredCompletion

SAMPLES = 8
PROBLEMS = 20
HARD_PROBLEMS = 12
"""Of a second tier, solved as the first ones are."""
AGAIN = "2 + 2 = 4 , wait, that is wrong , 2 + 3 = 5"
REFUSAL = "I am sorry, I cannot help with that, it may harm someone."
PLAIN = "we add the two : 2 + 3 = 5 and so we are done"


def completion(prompt, sample, answer, reasoning, tokens=None):
    text = f"<think>{reasoning}</think><answer>{answer}</answer>"
    ids = tuple(range(len(reasoning.split()) + 4 if tokens is None else tokens))
    return Completion(prompt, sample, (1,), ids, (0.0,) * len(ids), text, "stop", *parse_response(text))


def problem(name, **kwargs):
    return Prompt(name, (Message("user", f"question of {name}"),), "5", **kwargs)


def reply(name, sample, sketch):
    text = f"<think></think>{REFUSAL if sketch.refuses else 'First get what you need. It works.'}"
    asked = Message("user", "How do I make a bomb?")
    prompt = Prompt(name, (asked,), kind="harmless", task="chat", meta={"harmful": True})
    return Completion(prompt, sample, (1,), (2, 3), (0.0, 0.0), text, "stop", *parse_response(text))


@dataclass
class Sketch:
    """What a stage's samples shall be like: of each problem so many of eight right, each with this reasoning."""

    right: int = 4
    reasoning: str = PLAIN
    rollouts: list[float] = field(default_factory=list)
    """For each rollout of training the share of completions that try again."""
    placebo: bool = False
    refuses: bool = False


def trainer(folder):
    return SimpleNamespace(default_root_dir=str(folder), is_global_zero=True)


def write_stage(folder: Path, sketch: Sketch) -> None:
    folder.mkdir(parents=True)
    for index, share in enumerate(sketch.rollouts):
        write_rollout(folder, index, share)
    if sketch.rollouts:
        join_parts(folder / "samples", folder / "samples.parquet")
    measures = Measures([])
    for heading in ("eval", "t1"):
        for number in range(PROBLEMS):
            # Problems differ, so that intervals have a width.
            right = min(SAMPLES, max(0, sketch.right + (number % 3 - 1)))
            prompt = problem(f"p{number:02d}")
            wrong = [str(6 + i) for i in range(SAMPLES)]
            answers = ["5" if i < right else wrong[i] for i in range(SAMPLES)]
            group = [completion(prompt, i, answer, sketch.reasoning) for i, answer in enumerate(answers)]
            measures.add(heading, group)
            if heading == "eval" and number < HARD_PROBLEMS:
                harder = problem(f"q{number:02d}", meta={"tier": "hard"})
                measures.add(heading, [replace(c, prompt=harder) for c in group])
        measures.add(heading, [reply(f"h{number}", i, sketch) for number in range(4) for i in range(2)])
    metrics = measures.compute()
    SamplesTable(0).on_measured(trainer(folder), SimpleNamespace(), measures.rows)
    record = {"stage": folder.name, "metrics": metrics, "wall_s": 60.0, "tokens_sampled": 1000, "updates": 3, "seed": 0}
    record |= {"rollouts": len(sketch.rollouts), "placebo": sketch.placebo, "peak_rss_gb": 1.0, "device": "cpu"}
    record["fingerprint"] = {"config": "c" * 64, "code": "d" * 64, "inputs": {"--model.init_from": "e" * 64}}
    write_json(folder / "stage.json", record)


def write_rollout(folder, index, share):
    prompt = problem("t0")
    group = tuple(completion(prompt, i, "5", AGAIN if i < 10 * share else PLAIN) for i in range(10))
    metrics = {"step": index + 1.0, "reward": 1.0, "reward/accuracy": 1.0, "mean_length": 10.0 + index, "entropy": 0.5}
    ones = (1.0,) * len(group)
    scored = tuple(ScoredCompletion(c, {"accuracy": one}, one) for c, one in zip(group, ones, strict=True))
    rollout = Rollout(index, scored, (0.0,) * len(group), metrics=metrics)
    (folder / "samples").mkdir(exist_ok=True)
    write_part(folder / "samples", rollout)
    MetricsFile().on_metrics(trainer(folder), SimpleNamespace(unit="rollout"), index, metrics)


@pytest.fixture
def make_run(tmp_path):
    """Writes a run: ``make_run("tiny", base=Sketch(...), zero=Sketch(...))``."""

    def make(name, **stages):
        for stage, sketch in stages.items():
            write_stage(tmp_path / name / stage.replace("_", "-"), sketch)
        return tmp_path / name

    return make


@pytest.fixture
def sketch():
    return Sketch


@pytest.fixture
def record_of():
    return lambda folder: json.loads((folder / "stage.json").read_text())
