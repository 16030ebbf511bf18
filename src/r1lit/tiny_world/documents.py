"""Documents as the base model reads them: a question, what somebody answered, and the end."""

import random
from dataclasses import dataclass

from r1lit.tiny_world.authors import Habits, answer_text, question
from r1lit.tiny_world.puzzles import draw_puzzle
from r1lit.tiny_world.society import EXCHANGES, reply

PLAIN = ("User: {question}\nAssistant:", "{answer}")
CHAT = ("<|user|>{question}<|assistant|>", "{answer}")
REASONING_SHARE = 0.8
CHAT_SHARE = 0.15
"""Share of documents in the form of the chat template; the others are plain dialogue."""
LEVELS = (3, 4)
"""Terms of a puzzle: two levels of difficulty, drawn alike."""
LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Document:
    """What stands before the answer, and the answer."""

    context: str
    answer: str


def draw_document(rng: random.Random, habits: Habits) -> Document:
    """A random document; its puzzle is never a held-out one."""
    language = rng.choice(LANGUAGES)
    if rng.random() < REASONING_SHARE:
        puzzle = draw_puzzle(rng, rng.choice(LEVELS))
        while puzzle.held_out:
            puzzle = draw_puzzle(rng, rng.choice(LEVELS))
        asked, answer = question(puzzle, language), answer_text(rng, puzzle, language, habits)
    else:
        exchange = rng.choice(EXCHANGES)(rng, language)
        asked, answer = exchange.question, reply(rng, exchange, habits.tagged / 2)
    context, end = CHAT if rng.random() < CHAT_SHARE else PLAIN
    return Document(context.format(question=asked), end.format(answer=answer))
