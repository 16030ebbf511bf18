"""How well ``check_answer`` knows the gold answers of GSM8K, MATH-500, MATH's training set and MGSM.

    python benchmarks/answers.py --data DIR

DIR holds ``gsm8k/*.jsonl``, ``math500/*.jsonl``, ``math_train/*.json`` and ``mgsm/*.tsv`` as published; what is not
there is left out. Every gold answer must equal itself in all its usual spellings and none of its neighbours, and
MATH-500's full solutions must be judged right by their last box. Prints a table and the failing rows.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rewritings import neighbours, rewritings

from r1lit.grading.answers import compare
from r1lit.grading.workers import Job, close_pools, run_jobs
from r1lit.rewards import parse_response

BATCH = 2000


class Case(NamedTuple):
    """One comparison and what it should find."""

    file: str
    row: int
    name: str
    answer: str
    gold: str
    equal: bool


def golds(folder: Path) -> Iterator[tuple[str, int, str, str | None]]:
    """Yields (file, row, gold answer, full solution or None) of the files that are there."""
    for path in sorted((folder / "gsm8k").glob("*.jsonl")):
        for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"gsm8k/{path.stem}", row, json.loads(line)["answer"].rpartition("####")[2].strip(), None
    for path in sorted((folder / "math500").glob("*.jsonl")):
        for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            record = json.loads(line)
            yield "math500", row, record["answer"], record["solution"]
    for path in sorted((folder / "math_train").glob("*.json")):
        for row, record in enumerate(json.loads(path.read_text(encoding="utf-8")), 1):
            if record["answer"]:  # a few rows have none
                yield "math_train", row, record["answer"], None
    for path in sorted((folder / "mgsm").glob("*.tsv")):
        for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"mgsm/{path.stem}", row, line.split("\t")[1], None


def cases(rows: Iterable[tuple[str, int, str, str | None]]) -> Iterator[Case]:
    """Yields all comparisons of all rows; of golds that occur several times in a file only the first is taken."""
    seen = set()
    for file, row, gold, solution in rows:
        if solution is not None:
            yield Case(file, row, "SOLUTION", parse_response(solution)[1] or "", gold, True)
        if (file, gold) in seen:
            continue
        seen.add((file, gold))
        for equal, variants in ((True, rewritings(gold)), (False, neighbours(gold))):
            for name, answer in dict.fromkeys(variants):
                yield Case(file, row, name, answer, gold, equal)


def judge(batch: list[Case], timeout_s: float) -> list[bool | None]:
    """Compares, what needs a worker in parallel."""
    verdicts: list[bool | Job | None] = [compare(case.answer, case.gold) for case in batch]
    places = [i for i, verdict in enumerate(verdicts) if isinstance(verdict, Job)]
    jobs = [verdict for verdict in verdicts if isinstance(verdict, Job)]
    for i, verdict in zip(places, run_jobs(jobs, timeout_s), strict=True):
        verdicts[i] = verdict
    JOBS.update(batch[i].file for i in places)
    return [verdict for verdict in verdicts if not isinstance(verdict, Job)]


JOBS: Counter[str] = Counter()


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--only", default="", help="files whose name starts so")
    parser.add_argument("--timeout_s", type=float, default=5.0, help="limit of one comparison")
    parser.add_argument("--show", type=int, default=10**9, help="failing rows to print")
    options = parser.parse_args()
    everything = list(cases(row for row in golds(options.data) if row[0].startswith(options.only)))
    start = time.perf_counter()
    counts: dict[tuple[str, str, str], list[int]] = {}
    failures: list[tuple[Case, bool | None]] = []
    for first in range(0, len(everything), BATCH):
        batch = everything[first : first + BATCH]
        for case, verdict in zip(batch, judge(batch, options.timeout_s), strict=True):
            ok = verdict is case.equal
            for key in ((case.file, kind(case), ""), ("", kind(case), case.name)):
                tally = counts.setdefault(key, [0, 0])
                tally[0] += 1
                tally[1] += not ok
            if not ok:
                failures.append((case, verdict))
    seconds = time.perf_counter() - start
    close_pools()
    for title, keys in (
        ("file", sorted(key for key in counts if key[0])),
        ("rewriting", sorted(key for key in counts if not key[0])),
    ):
        print(f"\n{title:32} {'expected':10} {'cases':>8} {'wrong':>6} {'right':>9}")
        for key in keys:
            cases_, wrong = counts[key]
            print(f"{key[0] or key[2]:32} {key[1]:10} {cases_:8,} {wrong:6,} {1 - wrong / cases_:9.3%}")
    print(f"\n{len(failures)} of {len(everything):,} cases failed:")
    for case, verdict in failures[: options.show]:
        print(f"  {case.file}:{case.row} {case.name}: {case.answer!r} for {case.gold!r}: {verdict}")
    print(f"{seconds:.0f} s, {sum(JOBS.values()):,} comparisons by computer algebra")


def kind(case: Case) -> str:
    """The column of the table that a case belongs to."""
    return "solution" if case.name == "SOLUTION" else "equal" if case.equal else "unequal"


if __name__ == "__main__":
    main()
