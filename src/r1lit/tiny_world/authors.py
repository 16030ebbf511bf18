"""The people whose texts the base model has read: how each of them answers a puzzle.

Most answer at once and mostly miss; some reason step by step, in the language of the question, in the other one, or in
a mix; of those some try again after a dead end and some give up. Nobody's temper shows in the question, so the base
learns the mixture, and reinforcement learning finds the habits that pay.
"""

import random
from dataclasses import dataclass

from r1lit.tiny_world.puzzles import Puzzle, expression, sign_choices, value


@dataclass(frozen=True, slots=True)
class Habits:
    """How the authors of the corpus differ; shares are probabilities."""

    stepwise: float = 0.42
    """Share of authors who reason step by step."""
    tagged: float = 0.8
    """Share of authors who use the think and answer tags properly."""
    own_language: float = 0.6
    other_language: float = 0.15
    """Language of stepwise reasoning: the question's, the other one; the rest mix the two, phrase by phrase."""
    giving_up: tuple[float, ...] = (0.1, 0.35, 0.6)
    """An author's chance to give up after each dead end, one of these."""
    systematic: float = 0.5
    """Share of stepwise authors who try the signs in order; the others try them at random."""
    repeating: float = 0.05
    """Chance that a random try repeats an earlier one."""
    most_tries: int = 9
    """Nobody writes more tries than this; then even the most patient give up."""


PHRASES = {
    "en": {
        "open": ("Let me try", "I try", "First try"),
        "guess": ("I guess.", "Easy.", "I think so."),
        "no": (" no.", " no, wrong.", " but no."),
        "again": (" Wait, try", " Try", " Then try", " Wait, maybe"),
        "yes": (" yes.", " yes, good."),
        "giveup": (" I give up.", " Too hard."),
        "so": ("So ", "It is "),
    },
    "zh": {
        "open": ("我来试", "先试", "试一下"),
        "guess": ("我猜。", "很简单。", "应该是。"),
        "no": (" 不对。", " 不是，错了。", " 但不对。"),
        "again": ("等等，再试", "试", "然后试", "等一下，也许"),
        "yes": (" 对。", " 对，很好。"),
        "giveup": ("我放弃。", "太难了。"),
        "so": ("所以 ", "就是 "),
    },
}


def question(puzzle: Puzzle, language: str) -> str:
    """The question about a puzzle in English or Chinese."""
    numbers = " ".join(map(str, puzzle.numbers))
    if language == "zh":
        return f"在 {numbers} 之间填 + 或 - 得到 {puzzle.target} 。"
    return f"Put + or - between {numbers} to make {puzzle.target} ."


def attempt_text(puzzle: Puzzle, signs: tuple[str, ...]) -> str:
    """One try with its partial sums and what the target leaves of it: ``7 + 2 = 9 - 5 = 4, - 3 = 1``."""
    total = puzzle.numbers[0]
    parts = [str(total)]
    for sign, number in zip(signs, puzzle.numbers[1:], strict=True):
        total += number if sign == "+" else -number
        parts.append(f"{sign} {number} = {total}")
    # To compare is to subtract: a skill the sums teach already, where seeing that two numbers are equal is one more.
    return f"{' '.join(parts)}, - {puzzle.target} = {total - puzzle.target}"


def search_text(rng: random.Random, puzzle: Puzzle, language: str, habits: Habits) -> tuple[str, str]:
    """The reasoning of a stepwise author and the answer it ends with."""
    draw = rng.random()
    other = "zh" if language == "en" else "en"
    mixes = draw >= habits.own_language + habits.other_language
    base = other if habits.own_language <= draw < habits.own_language + habits.other_language else language

    def phrase(name: str) -> str:
        options = PHRASES[rng.choice((language, other)) if mixes else base][name]
        return options if isinstance(options, str) else rng.choice(options)

    choices = sign_choices(len(puzzle.numbers) - 1)
    if rng.random() >= habits.systematic:
        rng.shuffle(choices)
    giving_up = rng.choice(habits.giving_up)
    text = phrase("open")
    for index, planned in enumerate(choices):
        signs = planned
        if index and rng.random() < habits.repeating:
            signs = rng.choice(choices[:index])
        text += f" {attempt_text(puzzle, signs)}"
        if value(puzzle.numbers, signs) == puzzle.target:
            return text + phrase("yes"), expression(puzzle.numbers, signs)
        text += phrase("no")
        if index == min(len(choices), habits.most_tries) - 1 or rng.random() < giving_up:
            break
        text += phrase("again")
    return text + phrase("giveup"), expression(puzzle.numbers, rng.choice(choices))


def answer_text(rng: random.Random, puzzle: Puzzle, language: str, habits: Habits) -> str:
    """What one author writes below a puzzle's question."""
    if rng.random() < habits.stepwise:
        reasoning, answer = search_text(rng, puzzle, language, habits)
    else:
        reasoning = rng.choice(PHRASES[language]["guess"])
        answer = expression(puzzle.numbers, rng.choice(sign_choices(len(puzzle.numbers) - 1)))
    if rng.random() < habits.tagged:
        return f"<think> {reasoning}</think><answer> {answer}</answer>"
    style = rng.randrange(3)
    if style == 0:
        return f"<think> {reasoning}</think> {rng.choice(PHRASES[language]['so'])}{answer}"
    if style == 1:
        return f" {reasoning} {rng.choice(PHRASES[language]['so'])}{answer}"
    return f" {reasoning}<answer> {answer}</answer>"
