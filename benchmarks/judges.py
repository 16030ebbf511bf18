r"""r1lit's judge of answers beside math-verify alone and beside a plain string match: who pays for what.

    python benchmarks/judges.py [--data DIR] [--cases FILE...] [--golds 400] [--seed 0]

Pairs of answers, each with whether they are equal: by kind those of ``tests/grading/kinds.jsonl``, those of FILE (JSON
lines with ``one`` and ``other``, or ``answer`` and ``gold``, and ``equal``), and of the public gold answers in DIR (see
``answers.py``) a sample of their usual spellings and of their wrong neighbours. Prints a Markdown table: pairs that a
judge took for equal though they are not (it would pay for a wrong answer), for different though they are equal (it
would refuse a right one), and did not judge, and its time for a pair.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from answers import cases, golds
from math_verify import parse, verify

from r1lit.grading.answers import compare
from r1lit.grading.workers import Job, close_pools, run_jobs

KINDS = Path(__file__).parents[1] / "tests" / "grading" / "kinds.jsonl"
TIMEOUT_S = 5


class Pair(NamedTuple):
    """An answer, the reference, and whether they are equal."""

    group: str
    answer: str
    gold: str
    equal: bool


Verdicts = list[bool | None]


def of_r1lit(pairs: Sequence[Pair]) -> Verdicts:
    """By ``check_answer``'s rule; None where computer algebra runs out of time."""
    found: list[bool | Job | None] = [compare(pair.answer, pair.gold) for pair in pairs]
    places = [place for place, verdict in enumerate(found) if isinstance(verdict, Job)]
    jobs = [verdict for verdict in found if isinstance(verdict, Job)]
    for place, done in zip(places, run_jobs(jobs, float(TIMEOUT_S)), strict=True):
        found[place] = done
    return [verdict for verdict in found if not isinstance(verdict, Job)]


def of_math_verify(pairs: Sequence[Pair]) -> Verdicts:
    """By math-verify as its README has it, both answers in a box; None where it finds nothing to read, or fails."""
    found: Verdicts = []
    for pair in pairs:
        try:
            gold, answer = (
                parse(rf"$\boxed{{{text}}}$", parsing_timeout=TIMEOUT_S) for text in (pair.gold, pair.answer)
            )
            found.append(verify(gold, answer, timeout_seconds=TIMEOUT_S) if gold and answer else None)
        except Exception:  # whatever a judge raises, it has not judged
            found.append(None)
    return found


def of_strings(pairs: Sequence[Pair]) -> Verdicts:
    """By the same characters, but for spaces at the ends."""
    return [pair.answer.strip() == pair.gold.strip() for pair in pairs]


JUDGES: dict[str, Callable[[Sequence[Pair]], Verdicts]] = {
    "r1lit": of_r1lit,
    "math-verify": of_math_verify,
    "string match": of_strings,
}


def listed(path: Path) -> Iterator[Pair]:
    """Pairs of a file, both ways round."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        one, other = row.get("one", row.get("answer")), row.get("other", row.get("gold"))
        yield Pair(path.stem, one, other, row["equal"])
        yield Pair(path.stem, other, one, row["equal"])


def of_golds(folder: Path, count: int, seed: int) -> Iterator[Pair]:
    """A sample of the spellings and the neighbours of public gold answers."""
    found: dict[tuple[str, bool], list[Pair]] = {}
    for case in cases(golds(folder)):
        name = case.file.partition("/")[0]
        found.setdefault((name, case.equal), []).append(Pair(f"{name} golds", case.answer, case.gold, case.equal))
    for key in sorted(found):
        yield from random.Random(f"{seed}/{key}").sample(found[key], min(count, len(found[key])))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of public data sets")
    parser.add_argument("--cases", type=Path, nargs="*", default=[], help="more files of pairs")
    parser.add_argument("--golds", type=int, default=400, help="gold pairs of a data set, equal and unequal each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pairs = [pair for path in (KINDS, *options.cases) for pair in listed(path)]
    if options.data:
        pairs += of_golds(options.data, options.golds, options.seed)
    groups = list(dict.fromkeys(pair.group for pair in pairs))
    print("| pairs | judge | equal | refused | unequal | paid for | not judged | ms a pair |")
    print("|---|---|---|---|---|---|---|---|")
    for group in groups:
        of_group = [pair for pair in pairs if pair.group == group]
        right = sum(pair.equal for pair in of_group)
        for name, judge in JUDGES.items():
            began = time.perf_counter()
            verdicts = judge(of_group)
            taken_ms = (time.perf_counter() - began) * 1000 / len(of_group)
            told = list(zip(of_group, verdicts, strict=True))
            refused = sum(pair.equal and verdict is False for pair, verdict in told)
            paid = sum(not pair.equal and verdict is True for pair, verdict in told)
            cells = (right, refused, len(of_group) - right, paid, verdicts.count(None))
            print(f"| {group} | {name} | {' | '.join(f'{cell:,}' for cell in cells)} | {taken_ms:.1f} |")
    close_pools()


if __name__ == "__main__":
    main()
