"""Documents as the base model reads them: a question, what somebody answered, and the end.

Some show worked examples first, as a tutor would, so that prompts with examples are nothing new to the base.
"""

import random
from dataclasses import dataclass, replace

from r1lit.tiny_world.authors import Habits, answer_text, question
from r1lit.tiny_world.puzzles import SIGNS, Puzzle, draw_puzzle
from r1lit.tiny_world.society import EXCHANGES, reply

PLAIN = "User: {question}\nAssistant:"
CHAT = "<|user|>{question}<|assistant|>"
END = "<|end|>"
REASONING_SHARE = 0.8
CHAT_SHARE = 0.15
"""Share of documents in the form of the chat template; the others are plain dialogue."""
WITH_EXAMPLES = 0.4
"""Share of the puzzles in that form which come after worked examples."""
EXAMPLES = 2
"""No document shows more examples,"""
EXAMPLE_TERMS = 3
"""each with so many terms."""
LEVELS = {3: 0.3, 4: 0.35, 5: 0.2, 6: 0.15}
"""Terms of a puzzle, and the share of puzzles that have so many."""
LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Document:
    """What stands before the answer, and the answer."""

    context: str
    answer: str


def draw_document(rng: random.Random, habits: Habits) -> Document:
    """A random document; its puzzles are never held-out ones."""
    language = rng.choice(LANGUAGES)
    chat = rng.random() < CHAT_SHARE
    context = CHAT if chat else PLAIN
    if rng.random() >= REASONING_SHARE:
        exchange = rng.choice(EXCHANGES)(rng, language)
        return Document(context.format(question=exchange.question), reply(rng, exchange, habits.tagged / 2))
    puzzle = _seen_puzzle(rng, rng.choices(tuple(LEVELS), tuple(LEVELS.values()))[0])
    examples = rng.randint(1, EXAMPLES) if chat and rng.random() < WITH_EXAMPLES else 0
    before = "".join(_example(rng, habits) for _ in range(examples))
    return Document(
        before + context.format(question=question(puzzle, language)), answer_text(rng, puzzle, language, habits)
    )


def _seen_puzzle(rng: random.Random, terms: int) -> Puzzle:
    while (puzzle := draw_puzzle(rng, terms)).held_out:
        pass
    return puzzle


def _example(rng: random.Random, habits: Habits) -> str:
    """A short puzzle that somebody solved step by step, with few errors, as an earlier turn; in either language."""
    language = rng.choice(LANGUAGES)
    puzzle = _seen_puzzle(rng, EXAMPLE_TERMS)
    right = replace(habits, stepwise=1.0, tagged=1.0, own_language=1.0, giving_up=(0.0,), most_tries=len(SIGNS) ** 2)
    return CHAT.format(question=question(puzzle, language)) + answer_text(rng, puzzle, language, right) + END
