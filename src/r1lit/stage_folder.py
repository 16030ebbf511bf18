"""The folder of a stage: nothing that holds a model, a result or a checkpoint is ever removed from it.

A command begins with :meth:`StageFolder.begin`. Where the folder holds another run, that run is moved aside under a new
number (``zero.old.1``, ``zero.old.2``...). Once the command has loaded its data and its model and has passed all
checks, it calls :meth:`StageFolder.confirm`. One that fails before that calls :meth:`StageFolder.undo`, which moves the
earlier run back; where it was killed, the next command in the folder does so. Standard library only.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r1lit.freshness import (
    EVALUATION_KEY,
    STAGE_FILE,
    STARTED_FILE,
    Fingerprint,
    holds_run,
    other_run,
    read_json,
    write_json,
)

EARLIER_FILE = "stage.earlier.json"
"""The record of a complete stage while the same command runs again; it goes when that has written its own."""
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

    def is_own(self) -> bool:
        """Whether the folder holds the run of this very command, to be resumed, or none."""
        return other_run(self.path, self.current) is None

    def begin(self) -> str | None:
        """Makes the folder ready; call it on one process only.

        Returns:
            None where the run resumes or starts in an empty folder; else why the run before was moved aside.

        Raises:
            InputError: If the folder holds something that no stage wrote.
        """
        _move_back(self.path)
        reason = other_run(self.path, self.current)
        record = {**self.current, EVALUATION_KEY: self.evaluation}
        if reason is not None:
            self.moved = _numbered(self.path)
            self.path.rename(self.moved)
            record[_MOVED_KEY] = self.moved.name
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / STARTED_FILE, record)
        return reason

    def confirm(self) -> None:
        """Says that the command has started its work; what was moved aside stays there."""
        if self._confirmed:
            return
        self._confirmed = True
        write_json(self.path / STARTED_FILE, {**self.current, EVALUATION_KEY: self.evaluation})
        if (self.path / STAGE_FILE).is_file():
            (self.path / STAGE_FILE).replace(self.path / EARLIER_FILE)

    def undo(self) -> bool:
        """Moves the earlier run back where the command failed before it was confirmed; says whether it did."""
        return not self._confirmed and self.moved is not None and _move_back(self.path)


def finish(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a stage's record into its folder, which says that the stage is complete."""
    write_json(path / STAGE_FILE, record)
    (path / EARLIER_FILE).unlink(missing_ok=True)


def _numbered(path: Path) -> Path:
    """The name to move a folder aside to: a number higher than all before it."""
    pattern = re.compile(re.escape(path.name) + r"\.old\.(\d+)")
    found = [pattern.fullmatch(other.name) for other in path.parent.iterdir()]
    return path.with_name(f"{path.name}.old.{1 + max((int(match[1]) for match in found if match), default=0)}")


def _move_back(path: Path) -> bool:
    """Moves back what a command moved aside that was never confirmed; says whether there was such a one."""
    name = (read_json(path / STARTED_FILE) or {}).get(_MOVED_KEY)
    if not name or not path.with_name(name).is_dir():
        return False
    if holds_run(path):  # a logger's files, say
        path.rename(_numbered(path))
    else:
        shutil.rmtree(path)
    path.with_name(name).rename(path)
    return True
