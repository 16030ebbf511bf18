"""A Parquet file that is written row by row and is complete or not there at all."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_AT_ONCE = 4096


class TableFile:
    """Writes row groups to a temporary name, and renames the file at the end of a ``with`` block that raised nothing.

    Args:
        path: The file.
        schema: Of its rows.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self._schema = schema
        self._draft = path.with_name(f".{path.name}.{os.getpid()}")
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._draft, self._schema)
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

    def _append(self, row: dict[str, Any]) -> None:
        """Adds a row; subclasses know what to make one of."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []
