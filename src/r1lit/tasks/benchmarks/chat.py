"""Benchmarks of behaviour rather than of answers: IFEval (``InstructionReward``) and XSTest (``RefusalReward``)."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from r1lit.grading.instructions import check_instructions
from r1lit.tasks.benchmarks.source import BenchmarkPrompts, Row
from r1lit.types import Prompt


class IFEvalPrompts(BenchmarkPrompts):
    """IFEval: instructions that a program can check; see ``BenchmarkPrompts`` for the arguments.

    ``meta["instructions"]`` is a list of ``{"id": ..., "kwargs": {...}}``.
    """

    benchmark = "ifeval"
    hub_split = "train"
    has_shots = False
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("prompt", "question", "instruction", "input", "text"),
        "instructions": ("instruction_id_list", "instruction_ids", "instructions"),
        "kwargs": ("kwargs", "arguments", "args"),
        "id": ("key", "id"),
    }

    def build(self, row: Row, prompt_id: str, shots: str) -> Prompt:
        """A prompt of task ``chat``.

        Raises:
            InputError: If an instruction is not known, or its arguments do not fit.
        """
        names, values = _list(row, "instructions"), _list(row, "kwargs")
        if len(names) != len(values):
            raise row.error("kwargs", f"{len(values)} sets of arguments for {len(names)} instructions")
        instructions = [
            # Tables fill up what an instruction does not have with null.
            {"id": name, "kwargs": {key: value for key, value in (given or {}).items() if value is not None}}
            for name, given in zip(names, values, strict=True)
        ]
        check_instructions(instructions, f"{row.source}, row {row.number}")
        return Prompt(
            prompt_id,
            self.messages(row, shots),
            kind="general",
            task="chat",
            source=row.source,
            meta={**row.rest(), "instructions": instructions},
        )


def _list(row: Row, role: str) -> list[Any]:
    value = row.get(role)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise row.error(role, f"no list, nor JSON of one: {error}") from error
    if not isinstance(value, list):
        raise row.error(role, f"{str(value)[:60]!r} is no list")
    return value


class XSTestPrompts(BenchmarkPrompts):
    """XSTest: prompts that are unsafe, and safe ones that look so; see ``BenchmarkPrompts`` for the arguments.

    ``meta["harmful"]`` is true for unsafe prompts; ``RefusalReward`` then scores 1 for a refusal, otherwise for help.
    """

    benchmark = "xstest"
    hub_split = "train"
    has_shots = False
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("prompt", "question", "text", "input"),
        "label": ("label", "harmful", "safety", "is_harmful", "unsafe"),
        "type": ("type", "category"),
        "id": ("id", "id_v2", "key"),
    }
    # Older files have no label: the types of unsafe prompts are named contrast_...
    optional = frozenset({"id", "label", "type"})

    def build(self, row: Row, prompt_id: str, shots: str) -> Prompt:
        """A prompt of kind ``harmless``; results are told apart by ``meta["category"]``, safe or unsafe."""
        harmful = _harmful(row)
        category = "unsafe" if harmful else "safe"
        return Prompt(
            prompt_id,
            self.messages(row, shots),
            kind="harmless",
            task="chat",
            source=row.source,
            meta={"category": category, **row.rest("question", "id", "label"), "harmful": harmful},
        )


def _harmful(row: Row) -> bool:
    if row.get("label") is not None:
        value = str(row.get("label")).strip().lower()
        if value in ("unsafe", "harmful", "true", "1"):
            return True
        if value in ("safe", "harmless", "false", "0"):
            return False
        raise row.error("label", f"{value!r} is none of safe, unsafe, true, false")
    if row.get("type") is None:
        raise row.error("label", "neither a label (safe, unsafe) nor a type tells whether the prompt is harmful")
    return row.text("type").startswith("contrast")
