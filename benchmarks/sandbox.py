"""Judges the reference solutions of HumanEval and MBPP, and a mutant of each, in the sandbox.

    python benchmarks/sandbox.py --data DIR [--isolation auto] [--seed 0] [--workers N]

DIR holds ``humaneval/HumanEval.jsonl.gz`` and ``mbpp/mbpp.jsonl``. A mutant differs from its solution at one place
drawn by the seed: a comparison negated, an operator of arithmetic or logic replaced, a constant changed, a returned
value replaced by None. Some mutants are equivalent to their solution, or differ only where no test looks; nothing can
tell these apart for certain, so they are neither removed nor counted as failed. The table gives the share of first
mutants that fail, as drawn, and beside it how many solutions have a failing one among their first three.
"""

import argparse
import ast
import copy
import gzip
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from r1lit.sandbox import AssertTest, Job, Limits, Verdict, choose, cores, judge_all

TRIES = 3
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitXor: ast.BitOr,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


def humaneval(data: Path) -> list[tuple[str, list[AssertTest]]]:
    with gzip.open(data / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        (row["prompt"] + row["canonical_solution"], [AssertTest(f"{row['test']}\ncheck({row['entry_point']})")])
        for row in rows
    ]


def mbpp(data: Path) -> list[tuple[str, list[AssertTest]]]:
    lines = (data / "mbpp" / "mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line]
    return [(row["code"], [AssertTest(test, row["test_setup_code"]) for test in row["test_list"]]) for row in rows]


def _changed(node: ast.AST) -> bool:
    """Mutates a node in place; False if it is of no kind that can be."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        node.ops = [_COMPARISONS[type(node.ops[0])]()]
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _OPERATORS:
        node.op = _OPERATORS[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        node.value = ast.Constant(None)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value += 1
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        node.value += "x"
    else:
        return False
    return True


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _places(tree: ast.AST) -> list[ast.AST]:
    """Nodes that can be mutated, in order; no docstrings, annotations or default arguments."""
    found: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if _changed(copy.deepcopy(node)):
            found.append(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "args") and not isinstance(node, ast.Call):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child)

    visit(tree)
    return found


def mutants(program: str, seed: str) -> Iterator[str]:
    """Versions of a program that differ from it at one place each, in an order drawn by the seed.

    The kind of the place is drawn first, as else constants, of which there are most, would be nearly all.
    """
    draw = random.Random(seed)
    kinds: dict[str, list[int]] = {}
    for i, node in enumerate(_places(ast.parse(program))):
        kinds.setdefault(type(node).__name__, []).append(i)
    while kinds:
        kind = draw.choice(sorted(kinds))
        place = kinds[kind].pop(draw.randrange(len(kinds[kind])))
        if not kinds[kind]:
            del kinds[kind]
        tree = ast.parse(program)
        _changed(_places(tree)[place])
        yield ast.unparse(tree)


def timed(
    programs: Sequence[str], tests: Sequence[list[AssertTest]], options: argparse.Namespace
) -> tuple[list[Verdict], float]:
    began = time.perf_counter()
    jobs = [Job(program, test) for program, test in zip(programs, tests, strict=True)]
    verdicts = judge_all(
        jobs, Limits(wall_s=options.wall_s, cpu_s=6), isolation=options.isolation, workers=options.workers
    )
    return verdicts, time.perf_counter() - began


def measure(name: str, rows: list[tuple[str, list[AssertTest]]], options: argparse.Namespace) -> bool:
    """Judges one benchmark, prints its lines and says whether they are as they should be."""
    tests = [test for _, test in rows]
    verdicts, seconds = timed([program for program, _ in rows], tests, options)
    right = sum(verdict.passed for verdict in verdicts)
    for i, verdict in enumerate(verdicts):
        if not verdict.passed:
            print(f"  {name} {i}: {verdict.reason}")
    each = 1000 * seconds / len(rows)
    print(f"{name:10} {right:5} of {len(rows):5} pass {seconds:6.1f} s {each:6.0f} ms each", end="", flush=True)
    drawn = [
        list(itertools.islice(mutants(program, f"{options.seed} {i}"), TRIES)) for i, (program, _) in enumerate(rows)
    ]
    first, mutant_seconds = timed([made[0] for made in drawn], tests, options)
    failed = {i for i, verdict in enumerate(first) if not verdict.passed}
    share, ever = len(failed) / len(rows), set(failed)
    for number in range(1, TRIES):
        left = [i for i in range(len(rows)) if i not in ever and len(drawn[i]) > number]
        more, _ = timed([drawn[i][number] for i in left], [tests[i] for i in left], options)
        ever |= {i for i, verdict in zip(left, more, strict=True) if not verdict.passed}
    print(
        f"   mutants: {100 * share:5.1f} % of the first fail ({mutant_seconds:.1f} s), "
        f"{100 * len(ever) / len(rows):5.1f} % have one of {TRIES} that does"
    )
    return right == len(rows) and len(ever) >= 0.95 * len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--isolation", default="auto", choices=("auto", "bubblewrap", "namespaces", "plain"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--wall-s", type=float, default=20.0)
    parser.add_argument("--only", choices=("humaneval", "mbpp"))
    options = parser.parse_args()
    print(f"isolation {choose(options.isolation)}, {options.workers or cores()} at a time, seed {options.seed}")
    sets = {"humaneval": humaneval, "mbpp": mbpp}
    good = [measure(name, sets[name](options.data), options) for name in sets if options.only in (None, name)]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
