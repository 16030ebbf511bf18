"""What all benchmarks share: a local file or a hub data set, columns found by usual names, examples.

The paper evaluates zero-shot, since examples in the prompt make the model worse; ``shots`` is there to measure that.
"""

import random
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from r1lit.errors import InputError
from r1lit.tasks.base import PromptSource, check_slice
from r1lit.tasks.files import read_rows
from r1lit.tasks.hub import load_rows
from r1lit.types import Message, Prompt

QUESTION = "{question}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a benchmark, read by role rather than by column name."""

    source: str
    number: int
    values: Mapping[str, Any]
    columns: Mapping[str, str]
    """The column of each role that the data have."""

    def get(self, role: str) -> Any:
        """The value; None where the data have no such column or the cell is empty."""
        column = self.columns.get(role)
        value = None if column is None else self.values.get(column)
        return None if isinstance(value, str) and not value.strip() else value

    def text(self, role: str) -> str:
        """The value as text.

        Raises:
            InputError: If it is missing or no text or number.
        """
        value = self.get(role)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.error(role, f"{'nothing' if value is None else repr(value)[:80]} where a text is expected")
        return value if isinstance(value, str) else f"{value:.12g}"

    def error(self, role: str, what: str) -> InputError:
        """An error that names the file, the row and the column."""
        return InputError(f"{self.source}, row {self.number}, column {self.columns.get(role, role)!r}: {what}")

    def rest(self, *used: str) -> dict[str, Any]:
        """The cells that no role, or none of the roles named, has taken."""
        taken = {self.columns.get(role) for role in (used or self.columns)}
        return {name: value for name, value in self.values.items() if name not in taken}


class BenchmarkPrompts(PromptSource):
    """Prompts of a benchmark; subclasses say which columns there are and what becomes of a row.

    Args:
        path: A local file (JSON lines, also gzipped, JSON, Parquet, CSV, TSV); goes before ``hub_id``.
        hub_id: A data set of the Hugging Face hub, or a local folder in its form.
        config: Its configuration (subset).
        split: Its split; the benchmark's usual one if None.
        revision: A branch, tag or commit of it.
        columns: Column names by role, where they are not among the usual ones.
        header: Column names of a CSV or TSV file without a header line.
        prompt: The text of the user message, with ``{question}``; empty takes the benchmark's own.
        limit: Read at most this many rows; None reads all.
        skip: Leave out this many rows first; rows keep their numbers.
        shots: Worked examples before the question, the same for all prompts.
        shots_path: The file that they are drawn from; with a hub id, its split ``train`` if None.
        seed: Fixes which examples are drawn, and the order of options.
        name: What ids begin with; the benchmark's name if None.

    Raises:
        InputError: If an argument makes no sense (``load`` raises it for the data).
    """

    benchmark: ClassVar[str]
    roles: ClassVar[Mapping[str, tuple[str, ...]]]
    """For each role the usual column names, best first; compared without regard to case, spaces and hyphens."""
    optional: ClassVar[frozenset[str]] = frozenset({"id"})
    hub_split: ClassVar[str] = "test"
    has_shots: ClassVar[bool] = True
    template: ClassVar[str] = QUESTION

    def __init__(
        self,
        path: str | Path | None = None,
        hub_id: str | None = None,
        config: str | None = None,
        split: str | None = None,
        revision: str | None = None,
        columns: dict[str, str] | None = None,
        header: list[str] | None = None,
        prompt: str = "",
        limit: int | None = None,
        skip: int = 0,
        shots: int = 0,
        shots_path: str | Path | None = None,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        check_slice(skip, limit)
        kind = type(self).__name__
        if path is None and hub_id is None:
            raise InputError(f"{kind}: give path (a local file) or hub_id")
        for role in columns or {}:
            if role not in self.roles:
                raise InputError(f"{kind}: columns has {role!r}; the roles are {', '.join(self.roles)}")
        if prompt and QUESTION not in prompt:
            raise InputError(f"{kind}: prompt must contain {QUESTION}, got {prompt[:60]!r}")
        if shots < 0 or (shots and not self.has_shots):
            raise InputError(f"{kind}: shots is {shots}; {'0 or more' if self.has_shots else 'it has none to show'}")
        self.path = None if path is None else Path(path).expanduser()
        self.hub_id = hub_id
        self.config = config
        self.split = split
        self.revision = revision
        self.columns = dict(columns or {})
        self.header = header
        self.prompt = prompt or self.template
        self.limit = limit
        self.skip = skip
        self.shots = shots
        self.shots_path = None if shots_path is None else Path(shots_path).expanduser()
        self.seed = seed
        self.name = name or self.benchmark

    @abstractmethod
    def build(self, row: Row, prompt_id: str, shots: str) -> Prompt:
        """Makes the prompt of one row.

        Args:
            row: The row.
            prompt_id: Its id.
            shots: The worked examples as text, to go before the question; empty where there are none.

        Raises:
            InputError: If the row cannot become a prompt.
        """

    def worked(self, row: Row) -> str:
        """A row as a worked example: question and solution."""
        raise NotImplementedError(f"{type(self).__name__} has no worked examples")

    def key(self, row: Row) -> str:
        """What a row is told by, so that no example is the question itself."""
        return row.text("question").strip()

    def keep(self, row: Row) -> bool:
        """Whether a row belongs to the benchmark's split; files may hold several."""
        return True

    def load(self) -> list[Prompt]:
        """Reads the data.

        Raises:
            InputError: If the file or data set cannot be had, a column is missing, or a row cannot become a prompt.
        """
        rows = [row for row in self.rows() if self.keep(row)]
        rows = rows[self.skip : None if self.limit is None else self.skip + self.limit]
        if not rows:
            raise InputError(f"{self.path or self.hub_id}: no rows are left; check the path, split, skip and limit")
        pool = self._pool() if self.shots else []
        prompts: dict[str, Prompt] = {}
        for row in rows:
            prompt_id = self.prompt_id(row)
            if prompt_id in prompts:
                raise row.error("id", f"the id {prompt_id!r} comes twice; ids seed the sampling and must be unique")
            shots = [example for key, example in pool if key != self.key(row)][: self.shots] if pool else []
            prompts[prompt_id] = self.build(row, prompt_id, "\n\n".join([*shots, ""]))
        return list(prompts.values())

    def rows(self) -> list[Row]:
        """All rows of the file or data set.

        Raises:
            InputError: As ``load``.
        """
        if self.path is not None:
            return self.read(self.path)
        return self.from_hub(self.split or self.hub_split)

    def read(self, path: Path, source: str | None = None) -> list[Row]:
        """The rows of a local file."""
        return self.bound(read_rows(path, self.header), source or str(path))

    def from_hub(self, split: str, config: str | None = None) -> list[Row]:
        """The rows of a split of the hub data set."""
        assert self.hub_id is not None
        return self.bound(load_rows(self.hub_id, config or self.config, split, self.revision), self.hub_id)

    def bound(self, rows: Iterable[Mapping[str, Any]], source: str) -> list[Row]:
        """Finds the columns of the roles.

        Raises:
            InputError: If there are no rows, or a role that is needed has no column.
        """
        table = list(rows)
        if not table:
            raise InputError(f"{source}: the data set is empty")
        present = list(dict.fromkeys(name for row in table for name in row))
        columns = {role: name for role in self.roles if (name := self._column(role, present, source)) is not None}
        return [Row(source, number, row, columns) for number, row in enumerate(table, start=1)]

    def _column(self, role: str, present: Sequence[str], source: str) -> str | None:
        given = self.columns.get(role)
        found = {_plain(name): name for name in reversed(present)}
        if given is not None:
            if given not in present:
                raise InputError(f"{source}: no column {given!r} (columns.{role}), only {', '.join(present)}")
            return given
        for name in self.roles[role]:
            if _plain(name) in found:
                return found[_plain(name)]
        if role in self.optional:
            return None
        raise InputError(
            f"{source}: no column for {role!r} (looked for {', '.join(self.roles[role])}), only {', '.join(present)};"
            f" name it in columns: {{{role}: ...}}"
        )

    def prompt_id(self, row: Row) -> str:
        """The prompt's id: the same wherever the data come from, as far as they have ids."""
        value = row.get("id")
        return f"{self.name}/{row.number if value is None else row.text('id').strip()}"

    def request(self, row: Row) -> str:
        """The text around the question, with ``{question}``."""
        return self.prompt

    def asked(self, row: Row) -> str:
        """The question in full, without the request."""
        return row.text("question").strip()

    def ask(self, row: Row) -> str:
        """Question and request."""
        return self.request(row).replace(QUESTION, self.asked(row))

    def messages(self, row: Row, shots: str) -> tuple[Message, ...]:
        """One user message: examples, then question and request."""
        return (Message("user", shots + self.ask(row)),)

    def shot_rows(self) -> list[Row]:
        """The rows that examples are drawn from.

        Raises:
            InputError: If there are none.
        """
        if self.shots_path is not None:
            return self.read(self.shots_path)
        if self.path is None:
            return self.from_hub("train")
        raise InputError(f"{type(self).__name__}: shots is {self.shots}; give shots_path, a file to draw examples from")

    def _pool(self) -> list[tuple[str, str]]:
        rows = self.shot_rows()
        if len(rows) < self.shots:
            raise InputError(f"{rows[0].source}: {len(rows)} rows, but shots is {self.shots}")
        # One more, since the question itself may be among them.
        chosen = random.Random(f"shots {self.seed}").sample(rows, min(len(rows), self.shots + 1))
        return [(self.key(row), self.worked(row)) for row in chosen]


def _plain(name: str) -> str:
    return "_".join(name.replace("-", " ").replace("_", " ").lower().split())
