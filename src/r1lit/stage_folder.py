"""The folder of a stage: nothing that holds a model, a result or a checkpoint is ever removed from it.

A command begins with :meth:`StageFolder.begin`, and no other can begin in the folder before it has ended. Where the
folder holds another run, that run is moved aside under a new number (``zero.old.1``, ``zero.old.2``...). Once the
command has loaded its data and its model and has passed all checks, it calls :meth:`StageFolder.confirm`. One that
fails before that calls :meth:`StageFolder.undo`, which moves the earlier run back; where it was killed, the next
command in the folder does so. Standard library only.
"""

import fcntl
import glob
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from r1lit.errors import InputError
from r1lit.freshness import (
    DIR_FLAG,
    EVALUATION_KEY,
    LOCK_FILE,
    STAGE_FILE,
    STARTED_FILE,
    Fingerprint,
    holds_run,
    in_use,
    other_run,
    read_json,
    write_json,
)

EARLIER_FILE = "stage.earlier.json"
"""The record of a complete stage while the same command runs again; it goes when that has written its own."""
_LOCK_S = 1.0
"""How long to try: who only looks whether a folder is in use locks it for a moment."""
_MOVED_KEY = "moved_aside"
"""In ``started.json``, until the command is confirmed: where the run is that was here before."""


class StageFolder:
    """A stage's folder, for one run of its command.

    Args:
        path: The folder.
        current: The fingerprint of the command.
        evaluation: Whether it is an evaluation's, which never takes the place of another (``evaluation_folder``).
    """

    def __init__(self, path: Path, current: Fingerprint, evaluation: bool = False) -> None:
        self.path, self.current, self.evaluation = path, current, evaluation
        self.moved: Path | None = None
        """Where the run that was here before is now, if it was moved."""
        self._confirmed = False
        self._locks: list[IO[str]] = []

    def is_own(self) -> bool:
        """Whether the folder holds the run of this very command, to be resumed, or none."""
        return other_run(self.path, self.current) is None

    def begin(self) -> str | None:
        """Makes the folder ready; call it on one process only.

        Returns:
            None where the run resumes or starts in an empty folder; else why the run before was moved aside.

        Raises:
            InputError: If the folder holds something that no stage wrote, or another command works in it.
        """
        settle(self.path)
        reason = other_run(self.path, self.current)
        if reason is None:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock(self.path)
            write_json(self.path / STARTED_FILE, self._record())
            return None
        self._lock(self.path)
        if Path.cwd().is_relative_to(self.path.resolve()):
            raise InputError(
                f"{self.path}: holds another run, and cannot be moved aside from within; choose another {DIR_FLAG}"
            )
        moved, new = _numbered(self.path), _new(self.path)
        new.mkdir(exist_ok=True)
        self._lock(new)
        write_json(new / STARTED_FILE, self._record() | {_MOVED_KEY: moved.name})
        self.path.rename(moved)
        self.moved = moved
        new.rename(self.path)
        return reason

    def _record(self) -> dict[str, Any]:
        return {**self.current, EVALUATION_KEY: self.evaluation}

    def _lock(self, folder: Path) -> None:
        """Keeps other commands out of a folder until this process ends."""
        until = time.monotonic() + _LOCK_S
        while (file := _locked(folder / LOCK_FILE)) is None:
            time.sleep(0.02)
            if time.monotonic() < until:
                continue
            if holder := in_use(folder):
                raise InputError(f"{self.path}: {holder} works there; wait for it, or choose another {DIR_FLAG}")
            (folder / LOCK_FILE).unlink(missing_ok=True)  # the lock is held by what a killed command has forked
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        self._locks.append(file)

    def release(self) -> None:
        """Lets other commands into the folder; a process that ends does so as well."""
        while self._locks:
            self._locks.pop().close()

    def confirm(self) -> None:
        """Says that the command has started its work; what was moved aside stays there."""
        if self._confirmed:
            return
        self._confirmed = True
        write_json(self.path / STARTED_FILE, self._record())
        if (self.path / STAGE_FILE).is_file():
            (self.path / STAGE_FILE).replace(self.path / EARLIER_FILE)

    def undo(self) -> bool:
        """Moves the earlier run back where the command failed before it was confirmed; says whether it did."""
        return not self._confirmed and self.moved is not None and _move_back(self.path, self.moved)


def finish(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a stage's record into its folder, which says that the stage is complete."""
    write_json(path / STAGE_FILE, record)
    (path / EARLIER_FILE).unlink(missing_ok=True)


def _locked(path: Path) -> IO[str] | None:
    """An empty file that this process has locked; None where another has."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:  # a file system without locks
        pass
    if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        file.close()
        return None
    file.truncate(0)
    return file


def _numbered(path: Path) -> Path:
    """The name to move a folder aside to: a number higher than all before it."""
    pattern = re.compile(re.escape(path.name) + r"\.old\.(\d+)")
    found = [pattern.fullmatch(other.name) for other in path.parent.iterdir()]
    return path.with_name(f"{path.name}.old.{1 + max((int(match[1]) for match in found if match), default=0)}")


def _new(path: Path) -> Path:
    """Where the new folder is made ready while the old one is in its place."""
    return path.with_name(f".{path.name}.new.{os.getpid()}")


def settle(path: Path) -> bool:
    """Moves back what a command moved aside that was killed before it was confirmed; says whether there was one."""
    for new in path.parent.glob(f".{glob.escape(path.name)}.new.*"):
        if in_use(new):
            continue
        if not path.exists() and (new / STARTED_FILE).is_file():  # it was killed between moving out and moving in
            new.rename(path)
        else:
            shutil.rmtree(new)
    name = (read_json(path / STARTED_FILE) or {}).get(_MOVED_KEY)
    return name is not None and not in_use(path) and _move_back(path, path.with_name(name))


def _move_back(path: Path, moved: Path) -> bool:
    if not moved.is_dir():
        return False
    if path.is_dir() and holds_run(path):  # a logger's files, say
        started = read_json(path / STARTED_FILE) or {}
        write_json(path / STARTED_FILE, {key: value for key, value in started.items() if key != _MOVED_KEY})
        path.rename(_numbered(path))
    elif path.is_dir():
        shutil.rmtree(path)
    moved.rename(path)
    return True
