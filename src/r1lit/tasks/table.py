"""A user's own questions and answers: any file or hub data set, columns found by usual names, some kept apart."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from r1lit.errors import InputError
from r1lit.grading.parsing import last_boxed
from r1lit.tasks.base import Columns, Defaults, PromptSource, compile_answer_pattern, prompts_from_rows, stem
from r1lit.tasks.files import read_rows
from r1lit.tasks.hub import load_rows
from r1lit.types import Kind, Prompt, Task

QUESTIONS = ("problem", "question", "prompt", "instruction", "input", "query", "messages", "conversations", "text")
ANSWERS = ("answer", "final_answer", "expected_answer", "ground_truth", "gold", "target", "label", "solution", "output")
FILES = (".jsonl", ".json", ".gz", ".parquet", ".csv", ".tsv")
MARKED = r"####\s*(.+?)\s*$"
"""How GSM8K and its like end a solution."""
_LOOKED_AT = 100
"""Rows that decide how answers are written."""


class TablePrompts(PromptSource):
    r"""Questions with their answers, and a part of them that is kept apart to measure on.

    A column is taken by its usual name: the question from ``problem``, ``question``, ``prompt``..., which may be a
    chat, and the answer from ``answer``, ``final_answer``, ``ground_truth``... Where answers are whole solutions, the
    answer is what stands after ``####`` at their end, or in their last ``\boxed{}``.

    Args:
        path: A file (``.jsonl``, ``.json``, either also as ``.gz``, ``.parquet``, ``.csv``, ``.tsv``), a hub id such as
            ``openai/gsm8k``, or a local folder in that form.
        part: ``train`` leaves out what ``held_out`` gives; questions that occur twice never stand in both.
        held_out: How many rows are kept apart, a tenth of all at most.
        question: The question's column, where it has another name.
        answer: The answer's column, likewise.
        answers: Whether there are answers to judge against; without, rewards need none, such as a reward model.
        answer_pattern: A regular expression with one group which finds the answer in its column; empty looks for the
            forms above.
        task: The task of all prompts.
        kind: The kind of all prompts.
        language: The language of all prompts.
        split: The split of a hub data set.
        config: Its configuration (subset), where it has several.
        limit: Read at most this many rows; None reads all.

    Raises:
        InputError: If an argument makes no sense (``load`` raises it for the data).
    """

    def __init__(
        self,
        path: str | Path,
        part: Literal["all", "train", "held_out"] = "all",
        held_out: int = 200,
        question: str | None = None,
        answer: str | None = None,
        answers: bool = True,
        answer_pattern: str = "",
        task: Task = "math",
        kind: Kind = "reasoning",
        language: str = "en",
        split: str = "train",
        config: str | None = None,
        limit: int | None = None,
    ) -> None:
        if held_out < 1:
            raise InputError(f"held_out is {held_out}: it must be 1 or more")
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}: it must be 1 or more, or null for all rows")
        compile_answer_pattern(answer_pattern)
        self.path, self.part, self.held_out, self.limit = str(path), part, held_out, limit
        self.question, self.answer, self.answers, self.answer_pattern = question, answer, answers, answer_pattern
        self.defaults = Defaults(kind, task, language)
        self.split, self.config = split, config
        self.found = ""
        """What was found in the data, once they are loaded, in a line."""

    def load(self) -> list[Prompt]:
        """Reads the data.

        Raises:
            InputError: If they cannot be had, a column is not found, or a row cannot become a prompt.
        """
        rows = self._rows()[: self.limit]
        if not rows:
            raise InputError(f"{self.path}: the data set is empty")
        columns = self._columns(rows)
        if columns.question == "instruction" and any(row.get("input") for row in rows):  # Alpaca's form
            rows = [
                row | {"instruction": "\n\n".join(filter(None, (row["instruction"], row.get("input"))))} for row in rows
            ]
        pattern = ""
        how = ""
        if columns.answer is not None:
            pattern = self.answer_pattern or _pattern_of(rows, columns.answer)
            if pattern:
                how = f" after {pattern}" if self.answer_pattern else " after ####"
            elif _are_boxed(rows, columns.answer):
                rows = [row | {columns.answer: last_boxed(str(row[columns.answer]))} for row in rows]
                how = " in \\boxed{}"
        prompts = prompts_from_rows(
            rows, columns, self.path, self.defaults, pattern,
            id_prefix=stem(self.path), drop_unanswered=True,
        )  # fmt: skip
        chosen = _part(prompts, self.part, self.held_out)
        answer = f"answers from {columns.answer!r}{how}" if columns.answer is not None else "no answers"
        question = columns.messages or columns.question
        self.found = f"{self.path}: {len(chosen)} of {len(prompts)} rows, questions from {question!r}, {answer}"
        return chosen

    def _rows(self) -> list[dict[str, Any]]:
        path = Path(self.path).expanduser()
        if path.suffix.lower() in FILES or path.is_file():
            return [dict(row) for row in read_rows(path)]
        if not path.is_dir() and (path.is_absolute() or self.path.startswith((".", "~"))):
            raise InputError(f"{self.path}: no such file or folder (looked from {Path.cwd()})")
        return [dict(row) for row in load_rows(self.path, self.config, self.split)]

    def _columns(self, rows: Sequence[Mapping[str, Any]]) -> Columns:
        present = list(dict.fromkeys(name for row in rows for name in row))
        question = self._column("question", self.question, QUESTIONS, present)
        assert question is not None
        answer = None
        if self.answers:
            answer = self._column("answer", self.answer, [name for name in ANSWERS if name != question], present)
        if _is_chat(rows[0].get(question)):
            return Columns(messages=question, answer=answer)
        return Columns(question=question, answer=answer)

    def _column(self, role: str, given: str | None, usual: Sequence[str], present: Sequence[str]) -> str:
        if given is not None:
            if given not in present:
                raise InputError(f"{self.path}: no column {given!r} ({role}), only {', '.join(present)}")
            return given
        found = {name.lower().replace("-", "_").replace(" ", "_"): name for name in reversed(present)}
        for name in usual:
            if name in found:
                return found[name]
        hint = "; say answers: false if there are none" if role == "answer" else ""
        raise InputError(
            f"{self.path}: no column for the {role} (looked for {', '.join(usual)}), only {', '.join(present)}; "
            f"name it in {role}{hint}"
        )


def _is_chat(value: Any) -> bool:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _texts(rows: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    """The answers of the first rows that have one."""
    return [str(row[column]) for row in rows[:_LOOKED_AT] if row.get(column) not in (None, "")]


def _pattern_of(rows: Sequence[Mapping[str, Any]], column: str) -> str:
    """The pattern of answers that end in ``#### N``, if they all do."""
    texts = _texts(rows, column)
    return MARKED if texts and all(re.search(MARKED, text) for text in texts) else ""


def _are_boxed(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    """Whether all answers are solutions with a box."""
    texts = _texts(rows, column)
    return bool(texts) and all(last_boxed(text) for text in texts)


def _part(prompts: list[Prompt], part: str, held_out: int) -> list[Prompt]:
    """The prompts of a part: which ones are kept apart depends on the data alone."""
    if part == "all":
        return prompts
    if len(prompts) < 2:
        raise InputError(f"{prompts[0].source}: one row only; training and measuring need one each")
    size = max(1, min(held_out, len(prompts) // 10))
    apart = set(random.Random("r1lit/held-out").sample(range(len(prompts)), size))
    asked = {_question_key(prompts[index]) for index in apart}
    if part == "held_out":
        return [prompts[index] for index in sorted(apart)]
    kept = [prompt for index, prompt in enumerate(prompts) if index not in apart and _question_key(prompt) not in asked]
    if not kept:
        raise InputError(f"{prompts[0].source}: all rows ask the same question, so none is left to train on")
    return kept


def _question_key(prompt: Prompt) -> str:
    return "\n".join(" ".join(message.content.split()).lower() for message in prompt.messages)
