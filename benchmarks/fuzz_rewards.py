r"""Fuzzed completions through every reward: none may hang, crash or leave a process behind.

    python benchmarks/fuzz_rewards.py --count 10000 --seed 0

Huge and empty texts, nested and torn tags, control characters, right-to-left and lone surrogates, LaTeX that blows up
(towers of powers, factorials, deep nesting), texts that make careless patterns run for ever. Prints for each reward the
throughput, how its scores fall, and the share of completions that ran out of time; fails if a score is not one of those
that the reward may give, or a process or thread is left.
"""

import argparse
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from r1lit.rewards import (
    UNSCORED,
    AccuracyReward,
    FormatReward,
    FunctionReward,
    LanguageConsistencyReward,
    Reward,
    parse_response,
)
from r1lit.types import Completion, Message, Prompt, Task

GOLDS: dict[Task, tuple[str, ...]] = {
    "math": (
        "5",
        r"\frac{14}{3}",
        "x^2+1",
        r"(-\infty, 2) \cup (3, \infty)",
        r"\begin{pmatrix}1\\2\end{pmatrix}",
        "1,-2",
    ),
    "choice": ("B",),
    "logic": ("knight",),
    "json": ('{"a": [1, 2]}',),
    "tool": ('{"name": "add", "arguments": {"a": 1}}',),
}
LANGUAGES = ("en", "zh", "ja", "de", "fr", "ru", "ar", "hi")
TAGS = (
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<tool_call>",
    "</tool_call>",
    r"\boxed{",
    "}",
    "```",
    "$",
    "\\[",
)


def huge(rng: random.Random) -> str:
    """A piece of text a great many times."""
    return rng.choice(
        ("9", "a", " ", "<think>", "{", "\\boxed{", "\\frac{1}", "(", "\n", "$", "`", "-", "1,", "字", "a'")
    ) * (rng.choice((100, 1990, 5000, 200_000)))


def tags(rng: random.Random) -> str:
    """Tags in any order, some torn."""
    pieces = [rng.choice((*TAGS, "5", " ", "x")) for _ in range(rng.randrange(60))]
    return "".join(piece[: rng.randrange(1, len(piece) + 1)] if rng.random() < 0.1 else piece for piece in pieces)


def noise(rng: random.Random) -> str:
    """Characters from everywhere: control, combining, right-to-left, private, lone surrogates."""
    ranges = ((0, 32), (32, 127), (0x300, 0x370), (0x590, 0x700), (0x200B, 0x2070), (0x3040, 0x9FFF), (0xD800, 0xE000),
              (0xFF00, 0xFFF0), (0x1D400, 0x1D800), (0x1F300, 0x1FAFF))  # fmt: skip
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(300)))


def explosive(rng: random.Random) -> str:
    """Mathematics that is short to write and endless to compute."""
    n = rng.randrange(2, 40)
    big = rng.randrange(10**3, 10**9)
    return rng.choice((
        "9" + "^{9" * n + "}" * n, f"{big}!", f"{big}!!", rf"\frac{{{10**rng.randrange(1, 600)}}}{{{big}}}",
        rf"\binom{{{big}}}{{{big // 2}}}", rf"(x+1)^{{{big}}}", rf"\sum_{{k=1}}^{{{big}}} \frac{{1}}{{k}}",
        rf"\int_0^1 x^{{x^{{x}}}} \sin(x^{{{n}}}) dx", rf"\prod_{{k=1}}^{{{big}}} k", "(" * n * 20 + "x" + ")" * n * 20,
        r"\sqrt{" * n * 5 + "2" + "}" * n * 5, r"\frac{1}{1+" * n + "1" + "}" * n, f"{big}^{big}",
        f"0.{'3' * (big % 900)}", f"1e{big}", f"10^{{{big}}}", "x^{y^{" * n + "z" + "}}" * n,
        rf"\lim_{{x \to 0}} \frac{{\sin(x^{{{n}}})}}{{x^{{{n}}}}}", "|" * n * 30, r"\left(" * n * 9 + "1",
        "+".join(f"x_{{{i}}}^{{{n}}}" for i in range(n * 4)), rf"\begin{{pmatrix}} {'1 & ' * n * 9} 1 \end{{pmatrix}}",
        ",".join(str(rng.randrange(99)) for _ in range(n * 10)), rf"\{{{','.join('x' * i for i in range(1, n))}\}}",
    ))  # fmt: skip


def careless(rng: random.Random) -> str:
    """What makes patterns backtrack."""
    n = rng.choice((50, 500, 1900))
    return rng.choice((
        " " * n + "x", "1" + ",111" * (n // 4) + ",11", "1 " * n, "a " * n + "!", r"\ " * n, "-" * n, "1/" * n, "." * n,
        "the answer is " * (n // 14), "a'" * n, "1.5\\times10^" * (n // 12), r"\text{" * (n // 6), "$" * n,
        "\\(" * n, "`" * n + "\n", "x=" * n, "A" * n + " (", "\\boxed {" * (n // 8),
        '{"a":' * n, "[" * n, "1+" * n + "1",
    ))  # fmt: skip


def prose(rng: random.Random) -> str:
    """Words of several languages, mixed."""
    stock = ("First we add the numbers.", "Dann addieren wir sie.", "Puis on additionne tout.", "然后把它们加起来。",
             "それから足します。", "Потом складываем.", "ثم نجمع الأعداد.",
             "फिर हम जोड़ते हैं।", "12 + 7 = 19", r"$x^2$")  # fmt: skip
    return " ".join(rng.choice(stock) for _ in range(rng.randrange(1, 80)))


MAKERS: tuple[Callable[[random.Random], str], ...] = (huge, tags, noise, explosive, explosive, careless, prose)


def fuzzed(count: int, seed: int) -> list[Completion]:
    """Completions of all tasks; half have the parts that rewards look for, around what was fuzzed."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        task: Task = rng.choice(("math", "math", "math", *GOLDS))
        prompt = Prompt(
            f"fuzz/{i}", (Message("user", "?"),), rng.choice(GOLDS[task]), task=task, language=rng.choice(LANGUAGES)
        )
        text = rng.choice((
            lambda: "",
            lambda: piece(rng),
            lambda: f"<think>{piece(rng)}</think><answer>{piece(rng)}</answer>",
            lambda: f"<think>{piece(rng)}</think> so \\boxed{{{piece(rng)}}}",
        ))()  # fmt: skip
        reasoning, answer = parse_response(text)
        found.append(Completion(prompt, 0, (), (), (), text, "stop", reasoning, answer))
    return found


def piece(rng: random.Random) -> str:
    """One kind of fuzz, or two of them together."""
    text = rng.choice(MAKERS)(rng)
    return text + rng.choice(MAKERS)(rng) if rng.random() < 0.15 else text


def longest_word(completions: Sequence[Completion]) -> list[float]:
    """A user's function, run in worker processes."""
    return [float(max(map(len, c.text.split()), default=0)) for c in completions]


def children() -> set[int]:
    """Processes started by this one, and theirs."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {pid for pid in parents if parents[pid] == os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def main() -> int:
    """Runs the rewards one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout_s", type=float, default=2.0)
    options = parser.parse_args()
    completions = fuzzed(options.count, options.seed)
    from fuzz_rewards import longest_word as importable  # by its module's name, as workers need it

    rewards: list[Reward] = [
        FormatReward(), FormatReward("think", name="format_think"), LanguageConsistencyReward(),
        LanguageConsistencyReward(identify=False, name="language_by_script"),
        AccuracyReward(timeout_s=options.timeout_s),
        FunctionReward(importable, timeout_s=options.timeout_s, concurrency=2),
    ]  # fmt: skip
    print(
        f"{len(completions):,} completions of {sum(len(c.text) for c in completions):,} characters, seed {options.seed}"
    )
    print(f"{'reward':22} {'seconds':>8} {'per s':>9} {'timed out':>10} {'slowest s':>10}  scores")
    bad = 0
    for reward in rewards:
        start = time.perf_counter()
        scores, slowest = [], 0.0
        for first in range(0, len(completions), 100):
            began = time.perf_counter()
            scores += reward.score(completions[first : first + 100])
            slowest = max(slowest, time.perf_counter() - began)
        seconds = time.perf_counter() - start
        timed_out = sum(score is UNSCORED for score in scores)
        numbers = [score for score in scores if isinstance(score, int | float)]
        bad += sum(not 0 <= number < 10**9 for number in numbers) + (len(scores) != len(completions))
        kinds = Counter(
            f"{number:.0f}" if number in (0, 1) else "between" if number < 1 else "more" for number in numbers
        )
        print(
            f"{reward.name:22} {seconds:8.1f} {len(scores) / seconds:9,.0f} {timed_out / len(scores):10.2%} "
            f"{slowest:10.2f}  {dict(sorted(kinds.items()))}",
            flush=True,
        )
        reward.close()
    left = children()
    print(f"processes left: {len(left)}, threads left: {threading.active_count() - 1}, impossible scores: {bad}")
    return int(bool(left or bad or threading.active_count() > 1))


if __name__ == "__main__":
    sys.exit(main())
