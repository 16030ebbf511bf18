"""The puzzle of the tiny world: put + or - between numbers to reach a target.

It is Countdown in miniature. No rule gives the signs away, so whoever wants the answer has to try, to see that a sum
misses the target, and to try again: reflection pays however good the arithmetic is.
"""

import hashlib
import itertools
import random
from dataclasses import dataclass

SIGNS = ("+", "-")
FEW_TERMS = 4
"""Of more terms the numbers are smaller, so that long puzzles take more tries and not other sums."""
HELD_OUT_SHARE = 10
"""One puzzle in this many is held out: the base has not read it and no stage trains on it."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Numbers in their order and the target that some choice of signs reaches."""

    numbers: tuple[int, ...]
    target: int

    @property
    def key(self) -> str:
        """A stable name, such as ``7-2-5-1=9``."""
        return "-".join(map(str, self.numbers)) + f"={self.target}"

    @property
    def held_out(self) -> bool:
        """Whether the puzzle belongs to the held-out part: a fixed property of its numbers and target."""
        return hashlib.blake2b(self.key.encode(), digest_size=4).digest()[0] % HELD_OUT_SHARE == 0


def value(numbers: tuple[int, ...], signs: tuple[str, ...]) -> int:
    """The value of ``numbers`` joined by ``signs``."""
    return numbers[0] + sum(n if s == "+" else -n for s, n in zip(signs, numbers[1:], strict=True))


def expression(numbers: tuple[int, ...], signs: tuple[str, ...]) -> str:
    """The written sum, such as ``7 + 2 - 5``."""
    return str(numbers[0]) + "".join(f" {s} {n}" for s, n in zip(signs, numbers[1:], strict=True))


def sign_choices(count: int) -> list[tuple[str, ...]]:
    """All choices of signs for ``count`` gaps, from all plus to all minus."""
    return list(itertools.product(SIGNS, repeat=count))


def draw_puzzle(rng: random.Random, terms: int) -> Puzzle:
    """A random puzzle of ``terms`` numbers from 1 to 9, or to 6 where there are many, with a target from 0 to 9."""
    largest = 9 if terms <= FEW_TERMS else 6
    while True:
        numbers = tuple(rng.randint(1, largest) for _ in range(terms))
        target = value(numbers, tuple(rng.choice(SIGNS) for _ in range(terms - 1)))
        if 0 <= target <= 9:
            return Puzzle(numbers, target)


def solution(puzzle: Puzzle) -> str:
    """The first solution in the order of ``sign_choices``."""
    for signs in sign_choices(len(puzzle.numbers) - 1):
        if value(puzzle.numbers, signs) == puzzle.target:
            return expression(puzzle.numbers, signs)
    raise ValueError(f"puzzle {puzzle.key} has no solution")
