"""What has been sampled, on disk as it comes: a killed run goes on behind it, without sampling twice."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from r1lit.errors import InputError
from r1lit.freshness import write_json

HEADER = "header.json"


class Place(NamedTuple):
    """Where an entry lies."""

    file: Path
    offset: int


class Journal:
    """Entries by key, each one line of JSON, appended by several processes each to its own file.

    A line counts once its line break is on disk. A line cut short by a kill is removed when its writer opens the
    journal again and is ignored by all others. Files are read wherever they come from, so the number of processes may
    change between runs. Of entries with one key the first counts.

    Args:
        folder: Made if missing.
        rank: Of this process.
        header: What the entries depend on; another one than that on disk is refused.
    """

    def __init__(self, folder: Path, rank: int = 0, header: Mapping[str, Any] | None = None) -> None:
        self.folder, self.rank, self.header = folder, rank, dict(header or {})
        self.entries: dict[str, Place] = {}
        self.elapsed_s = 0.0
        """Time spent by the runs so far, as far as their last entries know."""

    @property
    def own_file(self) -> Path:
        """Where this process appends."""
        return self.folder / f"rank{self.rank}.jsonl"

    def open(self) -> None:
        """Finds what is on disk. On several processes: all open before any appends.

        Raises:
            InputError: If the entries are of other prompts or settings, or a whole line is damaged.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / HEADER
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            for key, value in self.header.items():
                if known.get(key) != value:
                    raise InputError(
                        f"cannot resume: the {key} changed since {self.folder} was begun; undo that, or remove its "
                        "stage's folder to start anew"
                    )
        elif self.rank == 0:
            write_json(path, self.header)
        _cut_broken_line(self.own_file)
        self.refresh()

    def refresh(self) -> None:
        """Reads the places of all entries again."""
        self.entries.clear()
        for file in sorted(self.folder.glob("rank*.jsonl")):
            for number, (offset, line) in enumerate(_whole_lines(file), 1):
                entry = _parsed(line, file, number)
                self.entries.setdefault(str(entry["key"]), Place(file, offset))
                self.elapsed_s = max(self.elapsed_s, float(entry["elapsed_s"]))

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Writes entries, which have a ``key`` and ``elapsed_s``, and returns when they are on disk."""
        if not entries:
            return
        data = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode()
        with self.own_file.open("ab") as file:
            offset = file.tell()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        for entry in entries:
            self.entries.setdefault(str(entry["key"]), Place(self.own_file, offset))
            offset += len(json.dumps(entry, ensure_ascii=False).encode()) + 1

    def read(self, key: str) -> dict[str, Any]:
        """The entry of a key; raises ``KeyError`` if there is none."""
        place = self.entries[key]
        with place.file.open("rb") as file:
            file.seek(place.offset)
            return _parsed(file.readline(), place.file, 0)

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def __len__(self) -> int:
        return len(self.entries)


def _whole_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    offset = 0
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def _cut_broken_line(file: Path) -> None:
    if not file.is_file():
        return
    end = max((offset + len(line) for offset, line in _whole_lines(file)), default=0)
    if end < file.stat().st_size:
        with file.open("r+b") as raw:
            raw.truncate(end)


def _parsed(line: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        _ = entry["key"], entry["elapsed_s"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}, line {number}: damaged; remove the line to sample it again") from error
    return dict(entry)
