"""Prompts from a local file: JSON lines, JSON, Parquet, CSV or TSV."""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from r1lit.errors import InputError
from r1lit.tasks.base import Columns, Defaults, PromptSource, check_slice, compile_answer_pattern, prompts_from_rows
from r1lit.types import Kind, Prompt, Task

Row = Mapping[str, Any]


class FilePrompts(PromptSource):
    """Prompts from one file; its suffix says the format.

    ``.jsonl`` (one object a line) and ``.json`` (a list of objects), both also as ``.gz``; ``.parquet``, ``.csv``,
    ``.tsv``.

    Args:
        path: The file.
        columns: Which column holds what; ``Columns()`` if None.
        answer_pattern: A regular expression with one group which finds the answer within the answer column. Empty takes
            the whole column. (Not None: jsonargparse would read ``#### (.+)$`` as a YAML comment.)
        task: The task of prompts for which no column gives one.
        kind: The kind, likewise.
        language: The language, likewise.
        limit: Read at most this many rows; None reads all.
        skip: Leave out this many rows first; rows keep their numbers.
        header: Column names of a CSV or TSV file whose first line is a row already.
        name: What ids begin with; the file's stem if None. Set it where two files of one data module share a stem.
        drop_unanswered: Leave out rows whose answer is missing where it is needed, instead of raising.

    Raises:
        InputError: If an argument makes no sense (``load`` raises it for the file's content).
    """

    def __init__(
        self,
        path: str | Path,
        columns: Columns | None = None,
        answer_pattern: str = "",
        task: Task = "math",
        kind: Kind = "reasoning",
        language: str = "en",
        limit: int | None = None,
        skip: int = 0,
        header: list[str] | None = None,
        name: str | None = None,
        drop_unanswered: bool = False,
    ) -> None:
        check_slice(skip, limit)
        compile_answer_pattern(answer_pattern)
        self.path = Path(path).expanduser()
        self.columns = columns or Columns()
        self.answer_pattern = answer_pattern
        self.defaults = Defaults(kind, task, language)
        self.limit = limit
        self.skip = skip
        self.header = header
        self.name = name
        self.drop_unanswered = drop_unanswered

    def load(self) -> list[Prompt]:
        """Reads the file.

        Raises:
            InputError: If it is missing, of an unknown format, malformed or empty, or a row cannot become a prompt.
        """
        stop = None if self.limit is None else self.skip + self.limit
        return prompts_from_rows(
            itertools.islice(read_rows(self.path, self.header), self.skip, stop),
            self.columns,
            str(self.path),
            self.defaults,
            self.answer_pattern,
            id_prefix=self.name,
            first_row=self.skip + 1,
            drop_unanswered=self.drop_unanswered,
        )


def delimiter_of(path: Path) -> str | None:
    """What separates the cells of a CSV or TSV file; None for another format."""
    return {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())


def first_cells(path: Path, delimiter: str) -> list[str]:
    """The cells of the first line: a header, or a row where there is none.

    Raises:
        InputError: If the file is not readable as a table.
    """
    return [str(cell) for cell in next(iter(_cells(path, delimiter)), [])]


def _cells(path: Path, delimiter: str) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from csv.reader(lines, delimiter=delimiter)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def read_rows(path: Path, header: list[str] | None = None) -> Iterator[Row]:
    """Yields the rows of a table file as mappings from column name to value.

    Args:
        path: A ``.jsonl``, ``.json`` (either also as ``.gz``), ``.parquet``, ``.csv`` or ``.tsv`` file.
        header: Column names of a CSV or TSV file without a header line.

    Raises:
        InputError: If the file is missing, not readable, of another format or malformed; names the line or row.
    """
    name = path.name.lower()
    delimiter = delimiter_of(path)
    if header is not None and delimiter is None:
        raise InputError(f"{path}: header is for .csv and .tsv files only; name the columns of this file in columns")
    if not path.is_file():
        raise InputError(f"{path}: no such file (looked from {Path.cwd()})")
    try:
        if name.endswith((".jsonl", ".jsonl.gz")):
            yield from _json_lines(path)
        elif name.endswith((".json", ".json.gz")):
            yield from _json_list(path)
        elif name.endswith(".parquet"):
            yield from _parquet(path)
        elif delimiter is not None:
            yield from _delimited(path, delimiter, header)
        else:
            raise InputError(f"{path}: unknown format; use .jsonl, .json (either also as .gz), .parquet, .csv or .tsv")
    # gzip reports a damaged archive as OSError or EOFError.
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error}") from error


def _json_lines(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as raw:
        for number, line in enumerate(io.TextIOWrapper(raw, "utf-8-sig"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{path}: invalid JSON in line {number}: {error.msg} (column {error.colno})"
                ) from error
            if not isinstance(row, dict):
                raise InputError(f"{path}: line {number} is not a JSON object but {type(row).__name__}")
            yield row


def _json_list(path: Path) -> Iterable[Row]:
    try:
        content = path.read_bytes()
        rows = json.loads((gzip.decompress(content) if path.suffix.lower() == ".gz" else content).decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: invalid JSON in line {error.lineno}: {error.msg} (column {error.colno})") from error
    if not isinstance(rows, list):
        raise InputError(f"{path}: not a JSON list of objects but {type(rows).__name__}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: row {number} is not a JSON object but {type(row).__name__}")
    return rows


def _parquet(path: Path) -> Iterable[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        return [without_filler(row) for row in parquet.ParquetFile(path).read().to_pylist()]
    except pyarrow.ArrowException as error:
        raise InputError(f"{path}: not a readable Parquet file: {' '.join(str(error).split())}") from error


def without_filler(row: Row) -> Row:
    """A row out of an Arrow table as JSON lines would give it.

    In a column of structs each row has the fields of all; those that it never had hold null. They are taken out at
    every depth, so a null that was meant is lost too: a file that needs both keeps such values as JSON text.
    """
    return {name: _filled(value) for name, value in row.items()}


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_filled(part) for part in value]
    return value


def _delimited(path: Path, delimiter: str, header: list[str] | None) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter)
        number = 0
        try:
            names = next(reader, []) if header is None else header
            if len(set(names)) < len(names):
                raise InputError(f"{path}: the header names a column twice: {', '.join(names)}")
            for cells in filter(None, reader):
                number += 1
                if len(cells) != len(names):
                    raise InputError(
                        f"{path}, row {number}: {len(cells)} fields where {len(names)} columns are expected"
                        f" ({', '.join(names)}); a file without a header line needs header: [names]"
                    )
                yield dict(zip(names, cells, strict=True))
        except csv.Error as error:
            raise InputError(f"{path}: malformed at line {reader.line_num}: {error}") from error
