"""Where chats come from: files, data sets of the hub, and stores; bad rows are named, or counted and left out."""

import gzip
import itertools
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from r1lit.data.formats import BadRow, ChatRow, Form, detect, to_chat
from r1lit.errors import InputError
from r1lit.tasks.base import check_slice
from r1lit.tasks.files import read_rows, without_filler

log = logging.getLogger(__name__)
_TABLES = (".json", ".parquet", ".csv", ".tsv")
_LINES = (".jsonl", ".jsonl.gz")
_SHOWN = 5


@dataclass(frozen=True)  # no slots: jsonargparse reads defaults with vars()
class ChatSource:
    """One source of chats; its name, by which a store counts rows, is the key in the configuration.

    Raises:
        InputError: If a number is out of range.
    """

    path: str
    """A file (``.jsonl``, ``.jsonl.gz``, ``.json``, ``.parquet``, ``.csv``, ``.tsv``), a store (a folder, or a URL such
    as ``s3://bucket/folder``), or, with the extra ``hub``, a data set: ``owner/name``, or a folder in that form."""
    weight: float | None = None
    """Share of the training rows, relative to the other sources'; None for all takes every row once an epoch."""
    form: Form = "auto"
    """Of the rows; ``auto`` looks at the columns."""
    split: str = "train"
    """Of a hub data set."""
    skip: int = 0
    """Leave out this many rows first."""
    limit: int | None = None
    """Read at most this many rows; None reads all."""
    on_bad_row: Literal["raise", "skip"] = "raise"
    """What to do with a row that is malformed, or that the chat template refuses: stop and name it, or leave it out and
    count it."""

    def __post_init__(self) -> None:
        """Checks numbers."""
        check_slice(self.skip, self.limit)
        if self.weight is not None and not self.weight > 0:
            raise InputError(f"weight of {self.path} is {self.weight}; give more than 0, or leave the source out")


@dataclass
class BadRows:
    """The malformed rows of a source that were left out."""

    count: int = 0
    shown: list[str] = field(default_factory=list)
    """The first few, each in a line with file and row number."""

    def add(self, what: str) -> None:
        """Takes note of one."""
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(what)

    def report(self, where: str, rows: int) -> None:
        """Logs how many there were, if any."""
        if self.count:
            log.warning(
                "%s: %d malformed rows left out, %d kept; the first: %s", where, self.count, rows, "; ".join(self.shown)
            )


def read_chats(source: ChatSource, name: str, bad: BadRows | None = None) -> Iterator[ChatRow]:
    """Yields the chats of a file or hub data set, one at a time.

    Args:
        source: What to read; not a store.
        name: Becomes the source of each chat.
        bad: Where malformed rows are counted, with ``on_bad_row: skip``.

    Raises:
        InputError: If there is no such file, it cannot be read, is empty or of no known form, or, with
            ``on_bad_row: raise``, at the first malformed row; names file and row.
    """
    bad = BadRows() if bad is None else bad
    form: Form = source.form
    stop = None if source.limit is None else source.skip + source.limit
    kept = 0
    for number, row in itertools.islice(rows_of(source), source.skip, stop):
        try:
            if isinstance(row, BadRow):
                raise row
            if form == "auto":
                form = detect(row, source.path)
            chat = replace(to_chat(row, form, name), where=f"{source.path}, row {number}")
        except BadRow as error:
            what = f"{source.path}, row {number}: {error}"
            if source.on_bad_row == "raise":
                raise InputError(f"{what}; mend it, or set on_bad_row: skip") from error
            bad.add(what)
            continue
        kept += 1
        yield chat
    if not kept:
        raise InputError(f"{source.path}: no usable row; check the path, form, skip and limit")


def rows_of(source: ChatSource) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """Yields row numbers from 1 with the row, or with what is wrong with it."""
    path = Path(source.path).expanduser()
    if path.name.lower().endswith(_LINES):
        yield from _lines(path)
    elif path.suffix.lower() in _TABLES:
        yield from enumerate(read_rows(path), start=1)
    else:
        yield from enumerate(map(without_filler, _hub(source)), start=1)


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """Lines of JSON; a broken one does not end the file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file (looked from {Path.cwd()})")
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parsed(line)
    except (OSError, EOFError) as error:  # gzip reports a damaged archive as either
        raise InputError(f"{path}: cannot be read: {error}") from error


def _parsed(line: bytes) -> Mapping[str, Any] | BadRow:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return BadRow(f"not UTF-8 text ({error.reason} at byte {error.start})")
    except json.JSONDecodeError as error:
        return BadRow(f"invalid JSON: {error.msg} (column {error.colno})")
    return row if isinstance(row, dict) else BadRow(f"not a JSON object but {type(row).__name__}")


def _hub(source: ChatSource) -> Any:
    path = Path(source.path).expanduser()
    if path.is_file() or (not path.is_dir() and source.path.startswith((".", "/", "~"))):
        known = ", ".join((*_LINES, *_TABLES))
        raise InputError(f"{source.path}: neither a store nor a file that can be read ({known})")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(
            f"{source.path}: a hub data set needs the package datasets: pip install 'r1lit[hub]'"
        ) from error
    try:
        return load_dataset(str(path), split=source.split)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source.path}: cannot load split {source.split!r}: {' '.join(str(error).split())}"
        ) from error
