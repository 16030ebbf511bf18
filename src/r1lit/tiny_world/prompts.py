"""Puzzles as prompts: the training stream and the held-out set."""

import random
from collections.abc import Sequence
from typing import Any, Literal

from r1lit.errors import InputError
from r1lit.tasks.base import PromptSource
from r1lit.tiny_world.authors import question
from r1lit.tiny_world.documents import LANGUAGES, LEVELS
from r1lit.tiny_world.puzzles import draw_puzzle, solution
from r1lit.types import Message, Prompt

PATIENCE = 20_000
"""Puzzles drawn in vain before there are taken to be no more."""


class TinyWorldPrompts(PromptSource):
    """Puzzles of the tiny world, half in English and half in Chinese, as many of each length.

    Args:
        split: ``train``, or ``held_out``: puzzles that neither the base nor any stage has seen.
        n: How many.
        seed: Which; the measures of all stages use the same.
        terms: How many numbers a puzzle has; each more doubles the signs to try. The base has read 3 to 6.
        tier: Of the measures that these prompts belong to; the main one if None. See ``r1lit.metrics.measures``.

    Raises:
        InputError: If a number is out of range.
    """

    def __init__(
        self,
        split: Literal["train", "held_out"] = "train",
        n: int = 4096,
        seed: int = 0,
        terms: Sequence[int] = (3, 4),
        tier: str | None = None,
    ) -> None:
        if n < 1:
            raise InputError(f"TinyWorldPrompts: n is {n}; give at least 1")
        if not terms or not set(terms) <= set(LEVELS):
            known = ", ".join(map(str, LEVELS))
            raise InputError(f"TinyWorldPrompts: terms is {list(terms)}; give some of {known}, what the base has read")
        self.split, self.n, self.seed, self.terms, self.tier = split, n, seed, tuple(terms), tier

    def load(self) -> list[Prompt]:
        """The prompts; no puzzle comes twice in one language."""
        rng = random.Random(f"r1lit/tiny-world/{self.split}/{self.seed}")
        found: dict[str, Prompt] = {}
        misses = 0
        while len(found) < self.n:
            misses += 1
            if misses > PATIENCE:
                raise InputError(f"TinyWorldPrompts: n is {self.n}, but {self.split!r} has fewer puzzles; lower n")
            place = len(found)
            language, terms = LANGUAGES[place % 2], self.terms[place // 2 % len(self.terms)]
            puzzle = draw_puzzle(rng, terms)
            prompt_id = f"tiny/{puzzle.key}/{language}"
            if puzzle.held_out != (self.split == "held_out") or prompt_id in found:
                continue
            misses = 0
            found[prompt_id] = Prompt(
                id=prompt_id,
                messages=(Message("user", question(puzzle, language)),),
                answer=solution(puzzle),
                task="logic",
                language=language,
                source=f"tiny world ({self.split})",
                meta={"numbers": puzzle.numbers, "target": puzzle.target, "level": terms - 2} | self._of_tier(),
            )
        return list(found.values())

    def _of_tier(self) -> dict[str, Any]:
        return {} if self.tier is None else {"tier": self.tier}
