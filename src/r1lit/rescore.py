"""``r1lit rescore``: judges the stored samples of an evaluation anew, without the model."""

import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from r1lit.callbacks.stage import shown
from r1lit.errors import InputError
from r1lit.freshness import STAGE_FILE, find_config, write_json
from r1lit.functional.estimators import Interval
from r1lit.metrics.benchmark import BenchmarkMetrics, by_label, judge_of
from r1lit.rewards import Reward
from r1lit.rewards.scoring import score_completions
from r1lit.samples.evaluated import read_evaluated
from r1lit.types import ScoredCompletion

SAMPLES = "samples.parquet"
RESCORED = "rescored.json"
MOST_SHOWN = 10
"""Samples whose scores changed that are printed; the file has them all."""
_CHUNK = 256
_NOTICE_S = 10.0
Group = list[ScoredCompletion]
"""The samples of one prompt, with their scores."""


class Change(NamedTuple):
    """A sample whose score is another one now."""

    prompt_id: str
    sample: int
    reward: str
    before: float | None
    after: float | None
    answer: str | None


def rescore(
    run: Path, rewards: Sequence[Reward] | None = None, judge: str | None = None, out: Path | None = None
) -> dict[str, Any]:
    """Recomputes all scores and metrics of an evaluation from its stored samples, and says what changed.

    Args:
        run: The folder of an ``r1lit test`` run, or its ``samples.parquet``.
        rewards: Judge the samples; those of the run, with their settings, if None.
        judge: The reward that tells correctness; the run's judge if it is among the rewards, else the first.
        out: The file to write; ``rescored.json`` beside the samples if None.

    Returns:
        What is written: ``metrics`` and ``before`` as in ``stage.json``, ``identical``, ``samples``, ``changed`` (the
        samples whose score by a reward of the same name is another one), ``judge``.

    Raises:
        InputError: If there are no such samples, or no rewards are given where the run's are not known.
        TrainingError: If a reward fails; names the sample.
    """
    samples = run / SAMPLES if run.is_dir() else run
    prompts = read_evaluated(samples)
    record = _record(samples)
    if rewards is None:
        rewards = _rewards_of(record, samples)
    known = [*prompts[0][0].scores]
    old_judge = str(record.get("judge") or known[0])
    if judge is None and old_judge in [reward.name for reward in rewards]:
        judge = old_judge
    judge = judge_of(rewards, judge)
    ks = record.get("config", {}).get("model", {}).get("init_args", {}).get("pass_at")
    try:
        judged = _judged(prompts, rewards, judge)
    finally:
        for reward in rewards:
            reward.close()
    before = record.get("metrics") or figures(prompts, known, old_judge, ks)
    after = figures(judged, [reward.name for reward in rewards], judge, ks)
    changed = _changes(prompts, judged)
    found = {
        "samples": str(samples),
        "count": sum(map(len, judged)),
        "judge": judge,
        "identical": _same(before, after) and not changed,
        "metrics": after,
        "before": before,
        "changed": [change._asdict() for change in changed],
    }
    write_json(out or samples.with_name(RESCORED), found)
    return found


def figures(
    groups: Sequence[Group], rewards: Sequence[str], judge: str, ks: Sequence[int] | None
) -> dict[str, Interval]:
    """The metrics of an evaluation, as ``EvaluationModule`` computes them."""
    benchmark = BenchmarkMetrics(rewards, judge, max(map(len, groups)), ks)
    benchmark.update(enumerate(groups))
    return benchmark.compute() | by_label(enumerate(groups), judge)


def _record(samples: Path) -> dict[str, Any]:
    """The record of the run whose samples these are; empty where they lie alone."""
    path = samples.with_name(STAGE_FILE)
    if not path.is_file():
        return {}
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _rewards_of(record: dict[str, Any], samples: Path) -> list[Reward]:
    entries = (((record.get("config") or {}).get("model") or {}).get("init_args") or {}).get("rewards")
    if not entries:
        raise InputError(f"{samples}: no {STAGE_FILE} beside it names its rewards; give a config with -c")
    parser = _parser()
    rewards: list[Reward] = parser.instantiate_classes(parser.parse_object({"run": ".", "rewards": entries})).rewards
    return rewards


def _judged(groups: Sequence[Group], rewards: Sequence[Reward], judge: str) -> list[Group]:
    """The groups with new scores; chunks of whole groups, so that progress can be shown."""
    found: list[Group] = []
    shown_at, total = time.monotonic(), len(groups)
    waiting: list[Group] = []
    for number, group in enumerate(groups, 1):
        waiting.append(group)
        if sum(map(len, waiting)) < _CHUNK and number < total:
            continue
        completions = [sample.completion for sample in itertools.chain(*waiting)]
        fresh = iter(score_completions(rewards, completions, 0, judge))
        found += [[next(fresh) for _ in group] for group in waiting]
        waiting = []
        if time.monotonic() - shown_at > _NOTICE_S:
            shown_at = time.monotonic()
            print(f"judged: {number} of {total} prompts", flush=True)
    return found


def _changes(before: Sequence[Group], after: Sequence[Group]) -> list[Change]:
    return [
        Change(old.completion.prompt.id, old.completion.sample, name, old.scores[name], score, new.completion.answer)
        for old, new in zip(itertools.chain(*before), itertools.chain(*after), strict=True)
        for name, score in new.scores.items()
        if name in old.scores and old.scores[name] != score
    ]


def _same(before: dict[str, Interval], after: dict[str, Interval]) -> bool:
    """Whether all figures agree to the last bit; NaN is null in a file."""
    return json.dumps(before).replace("NaN", "null") == json.dumps(after).replace("NaN", "null")


# Command line


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="r1lit rescore", description=__doc__, exit_on_error=False)
    parser.add_argument("run", type=str, help="Folder of an `r1lit test` run, or its samples.parquet.")
    parser.add_argument(
        "-c", "--config", type=str | None, default=None, help="A file with rewards: of an evaluation, or rewards alone."
    )
    parser.add_argument("--rewards", type=list[Reward] | None, default=None, help="Rewards, as in such a file.")
    parser.add_argument("--judge", type=str | None, default=None, help="The reward that tells correctness.")
    parser.add_argument("--out", type=str | None, default=None, help="File to write, not rescored.json.")
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs ``r1lit rescore``."""
    parser = _parser()
    config = parser.parse_args(list(argv))
    if config.config is not None:
        config = parser.parse_object(_from_file(find_config(config.config), config), config)
    rewards = parser.instantiate_classes(config).rewards
    out = None if config.out is None else Path(config.out)
    found = rescore(Path(config.run), rewards, config.judge, out)
    print_changes(found)
    print(f"Written: {out or Path(found['samples']).with_name(RESCORED)}", flush=True)
    return 0


def _from_file(path: Path, given: Namespace) -> dict[str, Any]:
    """Rewards and judge of a configuration, for what the command line does not say."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such config file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    content = content if isinstance(content, dict) else {}
    part = (content.get("model") or {}).get("init_args") or content
    if not part.get("rewards"):
        raise InputError(f"{path}: it names no rewards, neither at the top nor in model.init_args")
    return {name: part[name] for name in ("rewards", "judge") if part.get(name) and given[name] is None}


def print_changes(found: dict[str, Any]) -> None:
    """Prints the figures before and after, and the first samples that changed."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(title=f"{found['count']:,} samples of {found['samples']} judged anew by {found['judge']!r}")
    for heading in ("measure", "before", "after"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    before, after = found["before"], found["metrics"]
    for name in dict.fromkeys([*before, *after]):
        table.add_row(escape(name), *(shown(figures.get(name)) for figures in (before, after)))
    console.print(table)
    if found["identical"]:
        console.print("Identical: every score and every figure is as before.", highlight=False)
        return
    changed = found["changed"]
    console.print(f"{len(changed):,} scores changed.", highlight=False)
    for change in changed[:MOST_SHOWN]:
        line = f"  {change['prompt_id']} sample {change['sample']}, {change['reward']}: {change['before']} -> "
        console.print(
            f"{line}{change['after']} (answer {change['answer']!r})", highlight=False, markup=False, soft_wrap=True
        )
