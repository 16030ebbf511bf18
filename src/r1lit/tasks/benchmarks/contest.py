"""Contest problems: programs that read standard input, and functions to be called; judged by ``CodeReward``."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from r1lit.errors import InputError
from r1lit.tasks.benchmarks.source import BenchmarkPrompts, Row
from r1lit.tasks.benchmarks.tests import TestsError, parallel_tests, read_tests
from r1lit.types import Prompt

log = logging.getLogger(__name__)

WRITE_SCRIPT = (
    "{question}\n\nSolve it with a Python program that reads standard input and writes to standard output."
    " Think it through, then give the whole program in one ```python code block."
)
COMPLETE_STARTER = (
    "{question}\n\nThink it through, then complete this code, and give the whole of it in one ```python code block.\n\n"
    "```python\n{starter}\n```"
)


class ContestPrompts(BenchmarkPrompts):
    """Contest problems: programs that read stdin and write stdout, or functions to be called.

    Args:
        after: Keep problems whose contest began on this day or later (ISO date); empty keeps all.
        before: Keep problems whose contest began before this day.
        drop_untested: Leave out problems without tests, interactive ones and those with a checker of their own,
            which cannot be judged by their output, and log how many, instead of raising.
        tolerance: Where above 0, how far numbers in the output may be off.
        options: See ``BenchmarkPrompts``.

    Raises:
        InputError: If an argument makes no sense (``load`` raises it for the data).
    """

    benchmark = "contest"
    template = WRITE_SCRIPT
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": (
            "question_content",
            "description",
            "question",
            "problem",
            "problem-description",
            "prompt",
            "content",
            "statement",
        ),
        "tests": ("official_tests", "test_cases", "tests", "input_output", "testcases", "hidden_tests"),
        "public": ("public_test_cases", "public_tests", "sample_tests"),
        "private": ("private_test_cases", "private_tests"),
        "inputs": ("inputs", "test_inputs", "input"),
        "outputs": ("outputs", "test_outputs", "expected_outputs", "output"),
        "metadata": ("metadata",),
        "starter": ("starter_code", "starter"),
        "rating": ("rating", "cf_rating", "difficulty_rating"),
        "date": ("contest_date", "contest_start", "date", "release_date"),
        "input_format": ("input_format", "input-specification", "input_specification"),
        "output_format": ("output_format", "output-specification", "output_specification"),
        "examples": ("examples",),
        "note": ("note", "notes"),
        "interactive": ("interaction_format",),
        "checker": ("generated_checker", "checker"),
        "solution": ("solution", "code"),
        "id": ("question_id", "id", "problem_id", "task_id"),
    }
    optional = frozenset(roles) - {"question"}

    def __init__(
        self,
        after: str = "",
        before: str = "",
        drop_untested: bool = False,
        tolerance: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if tolerance < 0:
            raise InputError(f"{type(self).__name__}: tolerance is {tolerance}; give 0 or more")
        self.after, self.before = after, before
        self.drop_untested = drop_untested
        self.tolerance = tolerance

    def keep(self, row: Row) -> bool:
        """Whether a problem is in the window of time and can be judged."""
        if self.after or self.before:
            day = _day(row)
            if (self.after and day < self.after) or (self.before and day >= self.before):
                return False
        return not (self.drop_untested and self._unjudgeable(row))

    def rows(self) -> list[Row]:
        """All rows; says how many cannot be judged where they are left out."""
        rows = super().rows()
        if self.drop_untested and (count := sum(map(self._unjudgeable, rows))):
            log.warning("%s: %d of %d problems cannot be judged by their output", rows[0].source, count, len(rows))
        return rows

    def _unjudgeable(self, row: Row) -> bool:
        return bool(row.get("interactive") or row.get("checker")) or not self._tests(row)

    def build(self, row: Row, prompt_id: str, shots: str) -> Prompt:
        """A prompt of task ``code``; ``meta["rating"]`` is the problem's rating, where the data have it.

        Raises:
            InputError: If there are no tests, or their form is not known.
        """
        tests = self._tests(row)
        if not tests:
            raise row.error("tests", "no tests; name their column in columns: {tests: ...}, or set drop_untested: true")
        meta = {**row.rest(), "tests": tests}
        if row.get("rating") is not None:
            meta["rating"] = _rating(row)
        return Prompt(prompt_id, self.messages(row, shots), task="code", source=row.source, meta=meta)

    def request(self, row: Row) -> str:
        """For a program, or for code to complete."""
        starter = row.get("starter")
        if starter is None or self.prompt != WRITE_SCRIPT:
            return self.prompt
        return COMPLETE_STARTER.replace("{starter}", str(starter).rstrip())

    def asked(self, row: Row) -> str:
        """The problem in full."""
        return _statement(row)

    def worked(self, row: Row) -> str:
        """The request and the reference program."""
        return f"{self.ask(row)}\n\n```python\n{row.text('solution').strip()}\n```"

    def _tests(self, row: Row) -> list[dict[str, Any]]:
        name = _function(row)
        found: list[dict[str, Any]] = []
        for role in ("public", "tests", "private"):
            if row.get(role) is not None:
                try:
                    found += read_tests(row.get(role), name)
                except TestsError as error:
                    raise row.error(role, str(error)) from error
        if not found and row.get("inputs") is not None and row.get("outputs") is not None:
            try:
                found = parallel_tests(row.get("inputs"), row.get("outputs"), name)
            except TestsError as error:
                raise row.error("inputs", str(error)) from error
        if self.tolerance:
            found = [test if "code" in test else {**test, "tolerance": self.tolerance} for test in found]
        return found


class LiveCodeBenchPrompts(ContestPrompts):
    """LiveCodeBench; the paper's window is the contests from 2024-08 to 2025-01."""

    benchmark = "livecodebench"


class CodeforcesPrompts(ContestPrompts):
    """Codeforces problems with their tests; a checker of a problem's own is not run."""

    benchmark = "codeforces"


def _statement(row: Row) -> str:
    """The problem in full; its parts stand in columns of their own in some data sets."""
    parts = [row.text("question").strip()]
    for role, title in (("input_format", "Input"), ("output_format", "Output")):
        if row.get(role) is not None:
            parts.append(f"{title}\n{row.text(role).strip()}")
    if row.get("examples") is not None:
        try:
            examples = read_tests(row.get("examples"))
        except TestsError as error:
            raise row.error("examples", str(error)) from error
        parts += [
            f"Example {i}\nInput:\n{test['stdin'].strip()}\nOutput:\n{test['expected'].strip()}"
            for i, test in enumerate(examples, start=1)
            if "stdin" in test
        ]
    if row.get("note") is not None:
        parts.append(f"Note\n{row.text('note').strip()}")
    return "\n\n".join(parts)


def _function(row: Row) -> str | None:
    """The function that tests call, out of the metadata."""
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = _json_object(metadata)
        except ValueError as error:
            raise row.error("metadata", f"not a JSON object: {error}") from error
    name = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    return str(name) if name else None


def _json_object(text: str) -> Mapping[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(type(value).__name__)
    return value


def _rating(row: Row) -> float:
    try:
        return float(row.get("rating"))
    except (TypeError, ValueError) as error:
        raise row.error("rating", f"{row.get('rating')!r} is no number") from error


def _day(row: Row) -> str:
    """The day of the contest, ISO; numbers are seconds since 1970."""
    value = row.get("date")
    if value is None:
        raise row.error("date", "no date, but after or before is set")
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).date().isoformat()
    return value.date().isoformat() if isinstance(value, datetime) else str(value)[:10]
