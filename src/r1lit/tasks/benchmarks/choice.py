"""Multiple choice: GPQA Diamond and sets of its kind, judged by ``ChoiceReward``."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from r1lit.errors import InputError
from r1lit.grading.options import LETTERS
from r1lit.tasks.benchmarks.source import QUESTION, BenchmarkPrompts, Row
from r1lit.types import Message, Prompt

REQUEST = (
    "{question}\n\nThink step by step. Then give the last line of your reply the form 'ANSWER: X' (without the quotes),"
    " where X is the letter of the right option."
)


class ChoicePrompts(BenchmarkPrompts):
    """Questions with 2 to 10 options, which are shuffled by the seed and the prompt's id.

    The options are a list (or JSON text of one, or a mapping from letters), or stand in columns: ``A``, ``B``, ... or
    ``choice1``, ``option_a`` and so on. The answer is a letter, a place in the list, or an option's text. Or the right
    option and the wrong ones have columns of their own, as in GPQA.

    Args:
        shuffle: Whether to shuffle; without, options keep their order (the right one first, where it has a column of
            its own).
        index_from: The number of the first option, where the answer is a number.
        options: See ``BenchmarkPrompts``.

    Raises:
        InputError: If an argument makes no sense (``load`` raises it for the data).
    """

    benchmark = "choice"
    template = REQUEST
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("question", "problem", "prompt", "input", "query", "stem"),
        "options": ("options", "choices", "endings", "candidates"),
        "answer": ("answer", "answer_index", "label", "gold", "target", "correct", "answer_key", "answerkey"),
        "right": ("correct answer", "correct_option", "right_answer", "best_answer"),
        "wrong": ("incorrect answers", "wrong_answers", "distractors", "incorrect_options"),
        "wrong1": ("incorrect answer 1", "distractor1", "wrong_answer_1"),
        "wrong2": ("incorrect answer 2", "distractor2", "wrong_answer_2"),
        "wrong3": ("incorrect answer 3", "distractor3", "wrong_answer_3"),
        "solution": ("explanation", "solution", "rationale"),
        "id": ("record id", "id", "question_id", "unique_id"),
    }
    optional = frozenset(roles) - {"question"}

    def __init__(self, shuffle: bool = True, index_from: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.shuffle = shuffle
        self.index_from = index_from

    def build(self, row: Row, prompt_id: str, shots: str) -> Prompt:
        """A prompt of task ``choice``; ``meta["options"]`` holds the options as they were shown."""
        shown, letter = self._shown(row, prompt_id)
        return Prompt(
            prompt_id,
            (Message("user", shots + self._ask(row, shown)),),
            letter,
            task="choice",
            source=row.source,
            meta={**self._other(row), "options": shown},
        )

    def worked(self, row: Row) -> str:
        """Question, options, the explanation if there is one, and the answer's line."""
        shown, letter = self._shown(row, f"shot/{row.number}")
        reasons = f"{row.text('solution').strip()}\n" if isinstance(row.get("solution"), str) else ""
        return f"{self._ask(row, shown)}\n\n{reasons}ANSWER: {letter}"

    def _ask(self, row: Row, shown: Sequence[str]) -> str:
        return self.request(row).replace(QUESTION, _listed(self.asked(row), shown))

    def _shown(self, row: Row, prompt_id: str) -> tuple[list[str], str]:
        options, right = self._options(row)
        if not 2 <= len(options) <= len(LETTERS):
            raise row.error("options", f"{len(options)} options; 2 to {len(LETTERS)} can be asked for")
        order = list(range(len(options)))
        if self.shuffle:
            random.Random(f"options {self.seed} {prompt_id}").shuffle(order)
        return [options[i] for i in order], LETTERS[order.index(right)]

    def _options(self, row: Row) -> tuple[list[str], int]:
        """The options in the data's order, and the place of the right one."""
        if row.get("right") is not None:
            listed = _listing(row, "wrong") if row.get("wrong") is not None else []
            single = [row.text(role) for role in ("wrong1", "wrong2", "wrong3") if row.get(role) is not None]
            return [option.strip() for option in (row.text("right"), *listed, *single)], 0
        options = _listing(row, "options") if row.get("options") is not None else _in_columns(row)
        options = [option.strip() for option in options]
        if row.get("answer") is None:
            raise row.error("answer", "the answer is missing; name its column in columns: {answer: ...}")
        return options, self._place(row, options)

    def _place(self, row: Row, options: Sequence[str]) -> int:
        answer = row.get("answer")
        text = str(answer).strip()
        if isinstance(answer, str) and len(text) == 1 and text.upper() in LETTERS[: len(options)]:
            return LETTERS.index(text.upper())
        if options.count(text) == 1:
            return options.index(text)
        if text.isdecimal() and 0 <= int(text) - self.index_from < len(options):
            return int(text) - self.index_from
        raise row.error("answer", f"{text[:60]!r} is no letter, number or text of one of {len(options)} options")

    def _other(self, row: Row) -> dict[str, Any]:
        return {name: value for name, value in row.rest().items() if name not in _column_names(row)}


class GPQAPrompts(ChoicePrompts):
    """GPQA Diamond: 198 questions of natural science with four options."""

    benchmark = "gpqa_diamond"
    hub_split = "train"


def _listed(question: str, options: Sequence[str]) -> str:
    lines = [f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return "\n".join((question.strip(), "", *lines))


def _listing(row: Row, role: str) -> list[str]:
    value = row.get(role)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise row.error(role, f"no list of options, nor JSON of one: {error}") from error
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):  # ARC: {"text": [...], "label": [...]}
        value = value["text"]
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    if not isinstance(value, list) or not all(isinstance(option, str | int | float) for option in value):
        raise row.error(role, f"{str(value)[:60]!r} is no list of texts")
    return [str(option) for option in value]


def _column_names(row: Row) -> list[str]:
    """Columns that hold one option each: A, B, C ..., option_a ..., choice1 ..."""
    found: dict[str, str] = {}
    for name in row.values:
        plain = name.lower().replace(" ", "").replace("_", "").replace("-", "")
        for start in ("option", "choice", "opt", "answer", "ending", ""):
            rest = plain.removeprefix(start)
            if plain.startswith(start) and len(rest) == 1 and (rest.upper() in LETTERS or (start and rest.isdecimal())):
                found.setdefault(f"{start} {rest}", name)
                break
    starts = [key.split(" ")[0] for key in found]
    best = max(starts, key=starts.count, default="")
    return [found[key] for key in sorted(found) if key.split(" ")[0] == best]


def _in_columns(row: Row) -> list[str]:
    names = [name for name in _column_names(row) if row.values[name] not in (None, "")]
    if len(names) < 2:
        raise InputError(
            f"{row.source}, row {row.number}: no options found in columns {', '.join(row.values)};"
            " name a list of them in columns: {options: ...}, or call the columns A, B, C, D"
        )
    return [str(row.values[name]) for name in names]
