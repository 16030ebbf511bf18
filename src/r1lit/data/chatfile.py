"""Chats as text in one Parquet file, for any tokenizer; ``ChatDataModule`` reads it, and so do people."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from r1lit.data.formats import ChatRow
from r1lit.samples.tablefile import TableFile
from r1lit.types import Message

_TEXTS = ("prompt_id", "kind", "task", "language")
_SCHEMA = pa.schema(
    {
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string(), "weight": pa.int8()})),
        "source": pa.string(),
        **dict.fromkeys(_TEXTS, pa.string()),
        "sample": pa.int64(),
    }.items()
)


class ChatFile(TableFile):
    """Writes chats.

    Of a row's ``meta``, prompt id, sample, kind, task and language are kept.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)

    def add(self, row: ChatRow) -> None:
        """Adds a chat."""
        messages = [
            {"role": message.role, "content": message.content, "weight": None if message.learn else 0}
            for message in row.messages
        ]
        known = {name: None if (value := row.meta.get(name)) is None else str(value) for name in _TEXTS}
        sample = row.meta.get("sample")
        number = sample if isinstance(sample, int) else None
        self._append({"messages": messages, "source": row.source, **known, "sample": number})


def read_chat_file(path: Path) -> Iterator[ChatRow]:
    """Yields the rows of a file that ``ChatFile`` wrote, a row group at a time."""
    file = pq.ParquetFile(path)
    for index in range(file.num_row_groups):
        for row in file.read_row_group(index).to_pylist():
            messages = tuple(
                Message(turn["role"], turn["content"], turn.get("weight") != 0) for turn in row.pop("messages")
            )
            source = row.pop("source")
            yield ChatRow(messages, source, {name: value for name, value in row.items() if value is not None})
