"""Runs the recipe's stages, shortened, from two checkouts and compares every result bit for bit.

    python tools/editions/compare.py run SOURCE OUT [--only zero rl1 ...]     # SOURCE: a checkout; OUT: a new folder
    python tools/editions/compare.py diff OUT_BEFORE OUT_AFTER [--allow sft2:cons@16 ...]

Compared: weights, metrics.csv without times, each rollout (token ids, log-probabilities, rewards, advantages), samples,
stored data, and the metrics of stage.json. ``diff`` prints each difference and fails if one is not allowed by name.
This script accompanies a change of the code's structure that must not change its behaviour, and goes with it.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from safetensors import safe_open

HERE = Path(__file__).resolve().parent
TIMES = ("generate_s", "train_s", "tokens_per_s")
MEASURE = ["--data.val_limit", "24", "--model.evaluation.n", "4"]
RENAMED = {"heading": "split"}
"""Columns of samples.parquet that have another name in the later edition."""


class Runner:
    """Runs the commands of one checkout."""

    def __init__(self, source: Path, out: Path) -> None:
        self.source, self.out = source.resolve(), out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        own = {"PYTHONPATH": f"{self.source / 'src'}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.environment = os.environ | own

    def command(self, word: str, config: str, name: str, *flags: str) -> list[str]:
        """The command of a stage, in the folder ``name``."""
        path = str(self.source / "configs" / f"{config}.yaml")
        folder = ["--stage.dir", str(self.out / name), "--seed_everything", "0"]
        return [sys.executable, "-m", "r1lit.cli", word, "-c", path, *folder, *flags]

    def start(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        """Starts a command with its output in a file."""
        with (self.out / f"{name.replace('/', '-')}.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, cwd=self.out, stdout=log, stderr=log)

    def stage(self, word: str, config: str, name: str, *flags: str) -> None:
        """Runs a stage; says how long it took."""
        began = time.monotonic()
        rollouts = ["--trainer.callbacks+=record_rollouts.Recorder"] if word == "fit" else []
        if self.start(self.command(word, config, name, *flags, *rollouts), name).wait() != 0:
            raise SystemExit(f"{name} failed; see {self.out / name.replace('/', '-')}.log")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)

    def model(self, name: str) -> str:
        """The model of a stage that has run."""
        return str(self.out / name / "model")


def base(run: Runner) -> None:
    """Measures and exports the base."""
    run.stage("test", "tiny/base", "base", *MEASURE)


def zero(run: Runner) -> None:
    """R1-Zero."""
    run.stage("fit", "tiny/zero", "zero", "--model.init_from", run.model("base"), "--stage.steps", "10", *MEASURE)


def coldstart(run: Runner) -> None:
    """The cold start's data and Dev1."""
    store = ["--model.init_from", run.model("zero"), "--model.store_for.init_from", run.model("base")]
    run.stage("predict", "tiny/coldstart-data", "coldstart-data", *store)
    data = ["--data.sources.coldstart.path", str(run.out / "coldstart-data" / "data")]
    run.stage("fit", "tiny/coldstart", "coldstart", "--model.init_from", run.model("base"), *data, *MEASURE)


def rl1(run: Runner) -> None:
    """Dev2."""
    run.stage("fit", "tiny/rl1", "rl1", "--model.init_from", run.model("coldstart"), "--stage.steps", "5", *MEASURE)


def reject(run: Runner) -> None:
    """Rejection sampling."""
    run.stage("predict", "tiny/reject", "reject", "--model.init_from", run.model("rl1"), "--data.train.n", "600")


def sft2(run: Runner) -> None:
    """Dev3."""
    data = ["--data.sources.reject.path", str(run.out / "reject" / "data"), "--stage.steps", "40"]
    run.stage("fit", "tiny/sft2", "sft2", "--model.init_from", run.model("base"), *data, *MEASURE)


def rewards(run: Runner) -> None:
    """Both reward models."""
    for name in ("helpful", "safety"):
        run.stage("fit", f"tiny/rewards-{name}", f"rewards/{name}", "--model.init_from", run.model("sft2"))


def rl2(run: Runner) -> None:
    """R1."""
    models = ["--stage.reward_models.helpful", run.model("rewards/helpful")]
    models += ["--stage.reward_models.safe", run.model("rewards/safety"), "--stage.steps", "5"]
    run.stage("fit", "tiny/rl2", "rl2", "--model.init_from", run.model("sft2"), *models, *MEASURE)


def distill(run: Runner) -> None:
    """The student by fine-tuning."""
    data = ["--data.sources.reject.path", str(run.out / "reject" / "chats.parquet"), "--stage.steps", "40"]
    run.stage("fit", "tiny/distill", "distill", *data, *MEASURE)


def distill_on_policy(run: Runner) -> None:
    """The student by the teacher's distributions."""
    teacher = ["--model.teacher.init_from", run.model("rl1"), "--stage.steps", "6"]
    run.stage("fit", "tiny/distill-on-policy", "distill-on-policy", *teacher, *MEASURE)


def evaluation(run: Runner) -> None:
    """An evaluation, and the same judged again."""
    run.stage("test", "eval/tiny", "eval", "--model.init_from", run.model("zero"), *MEASURE)
    command = [sys.executable, "-m", "r1lit.cli", "rescore", str(run.out / "eval")]
    if run.start(command, "rescore").wait() != 0:
        raise SystemExit("rescore failed")


def resumed(run: Runner) -> None:
    """R1-Zero, killed and resumed."""
    flags = [
        "--model.init_from",
        run.model("base"),
        "--stage.steps",
        "6",
        "--checkpoint.every_n_rollouts",
        "2",
        *MEASURE,
    ]
    flags += ["--data.prompts_per_rollout", "4"]
    command = run.command("fit", "tiny/zero", "resumed", *flags, "--trainer.callbacks+=record_rollouts.Recorder")
    process = run.start(command, "resumed")
    metrics = run.out / "resumed" / "metrics.csv"
    while process.poll() is None and (not metrics.is_file() or len(metrics.read_text().splitlines()) < 4):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run.out / "resumed" / "rollouts.jsonl").unlink()  # how far it came depends on the moment of the kill
    run.stage("fit", "tiny/zero", "resumed", *flags)
    (run.out / "resumed" / "rollouts.jsonl").unlink()


def ranks(run: Runner) -> None:
    """R1-Zero on two processes."""
    flags = ["--model.init_from", run.model("base"), "--stage.steps", "2", "--data.prompts_per_rollout", "4"]
    flags += ["--trainer.devices", "2", "--model.sampling.max_new_tokens", "64", *MEASURE]
    for strategy in ("ddp", "fsdp2"):
        run.stage("fit", "tiny/zero", f"ranks-{strategy}", *flags, "--trainer.strategy", strategy)


def smollm2(run: Runner) -> None:
    """SmolLM2 with LoRA."""
    flags = [
        "--stage.steps",
        "2",
        "--data.prompts_per_rollout",
        "2",
        "--data.val_limit",
        "2",
        "--model.evaluation.n",
        "2",
    ]
    run.stage("fit", "smollm2/zero", "smollm2", *flags)


STEPS: dict[str, Callable[[Runner], None]] = {
    "base": base, "zero": zero, "coldstart": coldstart, "rl1": rl1, "reject": reject, "sft2": sft2, "rewards": rewards,
    "rl2": rl2, "distill": distill, "distill-on-policy": distill_on_policy, "evaluation": evaluation,
    "resumed": resumed, "ranks": ranks, "smollm2": smollm2,
}  # fmt: skip


# What is compared: (name of a part, its content in a form that can be compared)


def contents(folder: Path) -> Iterator[tuple[str, Any]]:
    """The parts of a stage's result."""
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name)
                digest = hashlib.sha256(tensor.tobytes()).hexdigest()[:16]
                yield f"{path.relative_to(folder)}:{name}", f"{tensor.dtype}{list(tensor.shape)} {digest}"
    if (folder / "metrics.csv").is_file():
        with (folder / "metrics.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                kept = {name: value for name, value in row.items() if name not in TIMES}
                yield f"metrics.csv:{next(iter(row.values()))}", dict(sorted(kept.items()))
    for path in sorted(folder.rglob("*.parquet")):
        if path.parent.name != "samples":
            for number, row in enumerate(pq.read_table(path).to_pylist()):
                named = {RENAMED.get(name, name): value for name, value in row.items()}
                yield f"{path.name}:{number}", dict(sorted(named.items()))
    if (folder / "rollouts.jsonl").is_file():
        for number, line in enumerate((folder / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()):
            yield f"rollouts.jsonl:{number}", line
    for path in sorted(folder.glob("*.jsonl")):
        if path.name != "rollouts.jsonl":
            yield path.name, hashlib.sha256(path.read_bytes()).hexdigest()
    if (folder / "data" / "manifest.json").is_file():
        yield "manifest content", json.loads((folder / "data" / "manifest.json").read_text())["content"]
    for name in ("stage.json", "rescored.json"):
        if (folder / name).is_file():
            record = json.loads((folder / name).read_text(encoding="utf-8"))
            for key, value in record["metrics"].items():
                yield f"{name}:{key}", value
            for key in ("updates", "rollouts", "tokens_sampled", "identical", "changed"):
                yield f"{name}:{key}", record.get(key)


def diff(before: Path, after: Path, allowed: list[str]) -> int:
    """Prints what differs; returns how many differences no name allows."""
    wrong = parts = 0
    folders = sorted({path.parent.relative_to(before) for path in before.rglob("stage.json")})
    others = {path.parent.relative_to(after) for path in after.rglob("stage.json")}
    for name in sorted(others.symmetric_difference(folders)):
        print(f"{name}: only in one of the two")
        wrong += 1
    for name in folders:
        old, new = dict(contents(before / name)), dict(contents(after / name))
        parts += len(old)
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) == new.get(key):
                continue
            named = any(f"{name}:{key}".startswith(prefix) or key.startswith(prefix) for prefix in allowed)
            wrong += not named
            print(f"{'allowed' if named else 'DIFFERS'} {name} {key}: {_short(old.get(key))} | {_short(new.get(key))}")
    print(f"{len(folders)} stages, {parts:,} parts compared, {wrong} differences that nothing allows")
    return wrong


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="word", required=True)
    run = commands.add_parser("run")
    run.add_argument("source", type=Path)
    run.add_argument("out", type=Path)
    run.add_argument("--only", nargs="+", default=list(STEPS), choices=list(STEPS))
    compare = commands.add_parser("diff")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    compare.add_argument("--allow", nargs="*", default=[])
    options = parser.parse_args()
    if options.word == "diff":
        sys.exit(diff(options.before, options.after, options.allow) > 0)
    runner = Runner(options.source, options.out)
    for name in options.only:
        for folder in (name, f"{name}.log"):
            shutil.rmtree(runner.out / folder, ignore_errors=True)
        STEPS[name](runner)


if __name__ == "__main__":
    main()
