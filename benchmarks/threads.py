"""Tokens per second of R1-Zero by threads, alone and next to one busy process.

    python benchmarks/threads.py [--config configs/tiny/zero.yaml] [--rollouts 4] [--rounds 2] [-- MORE FLAGS]

Each line is one way to choose the threads: "openmp" leaves it to OpenMP, "one" takes one thread, "sleeping" lets
waiting threads of one thread for each core sleep at once, "chosen" is what ``r1lit`` does by itself. A line gives the
median over all rollouts but the first of a run. The ways take turns within each round, as other work on the machine
comes and goes.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS: dict[str, dict[str, str]] = {
    "openmp": {},
    "one": {"OMP_NUM_THREADS": "1"},
    "sleeping": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    "chosen": {},
}
_OWN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def run(way: str, options: argparse.Namespace) -> list[float]:
    """Tokens per second of each rollout but the first."""
    environment = {name: value for name, value in os.environ.items() if name not in _OWN}
    environment |= WAYS[way]
    module = "r1lit" if way == "chosen" else "r1lit.cli"  # which takes the threads as they are
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", module, "fit", "-c", str(options.config), "--stage.dir", f"{folder}/run"]
        command += ["--stage.steps", str(options.rollouts), "--data.val_limit", "2", "--model.evaluation.n", "2"]
        command += ["--model.evaluation.max_new_tokens", "32", *options.more]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with (Path(folder) / "run" / "metrics.csv").open(encoding="utf-8") as file:
            return [float(row["tokens_per_s"]) for row in csv.DictReader(file)][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/tiny/zero.yaml"))
    parser.add_argument("--rollouts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("more", nargs="*")
    options = parser.parse_args()
    print(f"{options.config}, {len(os.sched_getaffinity(0))} cores", flush=True)
    found: dict[tuple[str, bool], list[float]] = {}
    for _ in range(options.rounds):
        for busy in (False, True):
            other = None
            if busy:  # in a session of its own, as a user's other work is
                other = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
            try:
                for way in options.ways:
                    rates = run(way, options)
                    found.setdefault((way, busy), []).extend(rates)
                    print(f"  {way}, {'next to one' if busy else 'alone'}: {statistics.median(rates):,.0f}", flush=True)
            finally:
                if other is not None:
                    other.kill()
                    other.wait()
    print(f"{'way':10} {'alone':>10} {'one busy process':>20}")
    for way in options.ways:
        alone, beside = (statistics.median(found[way, busy]) for busy in (False, True))
        print(f"{way:10} {alone:10,.0f} {beside:20,.0f}")


if __name__ == "__main__":
    main()
