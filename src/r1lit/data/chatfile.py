"""Chats as text in one Parquet file, for any tokenizer; ``ChatDataModule`` reads it, and so do people."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from r1lit.data.formats import ChatRow
from r1lit.types import Message

ROWS_AT_ONCE = 4096
_TEXTS = ("prompt_id", "kind", "task", "language")
_SCHEMA = pa.schema(
    {
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "source": pa.string(),
        **dict.fromkeys(_TEXTS, pa.string()),
        "sample": pa.int64(),
    }.items()
)


class ChatFile:
    """Writes chats row group by row group; the file is complete or not there at all.

    Of a row's ``meta``, prompt id, sample, kind, task and language are kept.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f".{path.name}.{os.getpid()}")
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._draft, _SCHEMA)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()
        if error is None:
            self._draft.replace(self.path)
        else:
            self._draft.unlink()

    def add(self, row: ChatRow) -> None:
        """Adds a chat."""
        messages = [{"role": message.role, "content": message.content} for message in row.messages]
        known = {name: None if (value := row.meta.get(name)) is None else str(value) for name in _TEXTS}
        sample = row.meta.get("sample")
        number = sample if isinstance(sample, int) else None
        self._rows.append({"messages": messages, "source": row.source, **known, "sample": number})
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
            self._rows = []


def read_chat_file(path: Path) -> Iterator[ChatRow]:
    """Yields the rows of a file that ``ChatFile`` wrote, a row group at a time."""
    file = pq.ParquetFile(path)
    for index in range(file.num_row_groups):
        for row in file.read_row_group(index).to_pylist():
            messages = tuple(Message(turn["role"], turn["content"]) for turn in row.pop("messages"))
            source = row.pop("source")
            yield ChatRow(messages, source, {name: value for name, value in row.items() if value is not None})
