"""Is a stage's result still what its command would give? Standard library only, as make asks at every call.

A stage's *fingerprint* has three parts: the hash of its config (the contents of its config files and its command-line
settings), the content hash of each input it reads, and the hash of the package's code. ``stage.json`` keeps the one
the stage was started with; the stage is *fresh* while its command still has that fingerprint.

The fingerprint is taken from the arguments of the ``r1lit`` command itself, so make and the command line cannot
disagree about what was run::

    python -m r1lit.freshness fit -c configs/tiny/zero.yaml --stage.dir runs/tiny/zero

exits with 0 where ``runs/tiny/zero`` is fresh, prints the reason and exits with 1 where it is stale, and exits with 2
where the command is not a stage's or a config file is missing. Paths written inside a config file are not followed:
give what a stage reads on the command line.
"""

import difflib
import fcntl
import hashlib
import json
import math
import os
import re
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from r1lit.errors import InputError

STAGE_FILE = "stage.json"
"""Written last and atomically: where it exists, the stage is complete."""
STARTED_FILE = "started.json"
"""Written when a stage starts; holds the fingerprint of the run that the folder's checkpoints belong to."""
LOCK_FILE = ".lock"
"""Locked by the command that works in a stage's folder; holds its process number."""
EVALUATION_KEY = "evaluation"
"""In ``started.json``: whether the folder is an evaluation's (see ``evaluation_folder``)."""
TOKENISED = "tokenised"
"""Chats that were tokenised for a run; they can be made again."""
MANIFEST_FILE = "manifest.json"
"""In a data store: what it holds, with the hashes of its files."""
DIR_FLAG = "--stage.dir"
CONFIG_FLAGS = ("-c", "--config")
CONFIGS = "configs"
"""The folder of configurations: at the top of a checkout, inside the installed package."""
EXTENDS = "extends"
"""In a configuration: the file, or the files, that it adds to."""
SIZE_FLAG = "--stage.size"
"""``small`` has each shipped configuration of a user's own run changed by its namesake in the folder of that name."""
_EXTENDS = re.compile(rf"^{EXTENDS}:(.*)$", re.MULTILINE)

# Changing these cannot change what a stage computes.
_OUTSIDE_STAGES = frozenset(
    {
        "__init__.py",
        "__main__.py",
        "configs",
        "freshness.py",
        "recipe.py",
        "report",
        "rescore.py",
        "search",
        "stage_folder.py",
    }
)
_IGNORED = frozenset({"__pycache__", "py.typed"})

Fingerprint = dict[str, Any]
"""``{"config": hash, "inputs": {flag: hash}, "code": hash}``, ready for JSON."""


class StageCommand(NamedTuple):
    """The arguments of an ``r1lit`` command, sorted by what they mean for freshness."""

    stage_dir: Path
    configs: tuple[Path, ...]
    inputs: dict[str, Path]
    """Files and folders that the command reads, by their flag."""
    settings: tuple[str, ...]
    """All other arguments in their order: the subcommand and ``--flag=value``."""


def parse_command(argv: Sequence[str]) -> StageCommand:
    """Sorts the arguments of a stage's command.

    An argument's value is an input where it has a path separator and exists; so a hub id (``owner/name``) is an input
    exactly where transformers, too, would take it for a local folder. A missing file stays a plain setting: to say
    that it is missing is the command's task.

    Args:
        argv: what follows ``r1lit`` on the command line.

    Raises:
        InputError: if no ``--stage.dir`` is given.
    """
    stage_dir: Path | None = None
    configs: list[Path] = []
    inputs: dict[str, Path] = {}
    settings: list[str] = []
    for flag, value in flag_pairs(argv):
        if flag == DIR_FLAG and value is not None:
            stage_dir = Path(value)
        elif flag in CONFIG_FLAGS and value is not None:
            configs.append(located_config(value) or Path(value))
        elif value is not None and os.sep in value and os.path.exists(value):
            inputs[flag] = Path(value)
        else:
            settings.append(flag if value is None else f"{flag}={value}")
    if stage_dir is None:
        raise InputError(f"{DIR_FLAG} is missing: it names the stage's folder, such as {DIR_FLAG} runs/tiny/zero")
    return StageCommand(stage_dir, tuple(configs), inputs, tuple(settings))


def find_config(name: str) -> Path:
    """The file that ``-c NAME`` means: one of that name, or else one that the package ships, such as ``tiny/zero``.

    Raises:
        InputError: If there is neither; names those that are spelt like it.
    """
    if (found := located_config(name)) is not None:
        return found
    shipped = shipped_configs()
    names = sorted(str(path.relative_to(shipped).with_suffix("")) for path in shipped.rglob("*.yaml"))
    near = difflib.get_close_matches(name.removeprefix("configs/").removesuffix(".yaml"), names, n=3)
    hint = f"; shipped ones are spelt {' or '.join(near)}" if near else ""
    raise InputError(f"{name}: there is no such config file{hint}")


def located_config(name: str) -> Path | None:
    """As ``find_config``; None where there is no such file."""
    shipped = shipped_configs()
    return next((path for path in (Path(name), shipped / name, shipped / f"{name}.yaml") if path.is_file()), None)


def config_files(path: Path, size: str | None = None) -> list[Path]:
    """A configuration file and those that it extends, which stand before it.

    Args:
        path: The file; one that does not exist stands alone.
        size: Of the run; where there are changes for it, they come after the file that they change.

    Raises:
        InputError: If one that it extends does not exist, or extends itself, or there are no changes for the size.
    """
    files = _extended(path, ()) if path.is_file() else [path]
    if size in (None, "large"):
        return files
    shipped = shipped_configs().resolve()
    found: list[Path] = []
    for file in files:
        change = shipped / str(size) / file.name
        found += [file, change] if file.resolve().parent == shipped and change.is_file() else [file]
    return found


def size_of(argv: Sequence[str]) -> str | None:
    """The size that a command asks for."""
    return next((value for flag, value in flag_pairs(argv) if flag == SIZE_FLAG), None)


def _extended(path: Path, through: tuple[Path, ...]) -> list[Path]:
    if path.resolve() in through:
        raise InputError(f"{path}: extends itself, through {', '.join(map(str, through))}")
    found: list[Path] = []
    for line in _EXTENDS.findall(path.read_text(encoding="utf-8")):
        for name in line.partition("#")[0].strip().strip("[]").split(","):
            beside = path.parent / f"{name.strip()}.yaml"
            other = beside if beside.is_file() else find_config(name.strip())
            found += [file for file in _extended(other, (*through, path.resolve())) if file not in found]
    return [*found, path]


def shipped_configs() -> Path:
    """The folder of the configurations that come with the package."""
    inside = Path(__file__).parent / CONFIGS
    return inside if inside.is_dir() else Path(__file__).parents[2] / CONFIGS


def flag_pairs(argv: Sequence[str]) -> Iterable[tuple[str, str | None]]:
    """Yields (flag, value), for both ``--flag value`` and ``--flag=value``; bare words have the value None."""
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if not word.startswith("-"):
            yield word, None
        elif "=" in word:
            flag, value = word.split("=", 1)
            yield flag, value
        elif index < len(argv) and not _is_flag(argv[index]):
            yield word, argv[index]
            index += 1
        else:
            yield word, None


def _is_flag(word: str) -> bool:
    """A negative number is a value."""
    return word.startswith("-") and not word[1:2].isdigit() and word[1:2] != "."


def config_hash(paths: Iterable[Path], settings: Iterable[str] = (), size: str | None = None) -> str:
    """Hashes the contents of config files, in their order (a later one overrides an earlier), and settings.

    The files' names and places do not matter, only what they hold.

    Raises:
        InputError: if a config file does not exist.
    """
    digest = hashlib.sha256()
    for path in paths:
        for file in config_files(find_config(str(path)), size):
            digest.update(_file_hash(file).encode() + b"\n")
    for setting in settings:
        digest.update(setting.encode() + b"\0")
    return digest.hexdigest()


def artefact_hash(path: Path) -> str:
    """Hashes the contents of a file, or of all files below a folder with their relative names.

    Everything is read, about half a gigabyte a second, but for a data store: its manifest holds the hashes of its
    files, and is all that is read.

    Raises:
        InputError: if the path does not exist.
    """
    if path.is_file():
        return _file_hash(path)
    if not path.is_dir():
        raise InputError(f"{path}: there is no such file or folder")
    if (path / MANIFEST_FILE).is_file():
        return _file_hash(path / MANIFEST_FILE)
    return _tree_hash(path, (file for file in path.rglob("*") if file.is_file()))


def code_version(package: Path | None = None) -> str:
    """Hashes the package's code and embedded data, except what no stage runs (report, search, this module).

    Args:
        package: the package's folder; by default that of the r1lit this module belongs to.
    """
    root = package or Path(__file__).parent
    files = (
        file
        for file in root.rglob("*")
        if file.is_file()
        and file.relative_to(root).parts[0] not in _OUTSIDE_STAGES
        and not _IGNORED.intersection(file.relative_to(root).parts)
    )
    return _tree_hash(root, files)


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tree_hash(root: Path, files: Iterable[Path]) -> str:
    names = {file.relative_to(root).as_posix(): file for file in files}
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0{_file_hash(names[name])}\n".encode())
    return digest.hexdigest()


def fingerprint(command: StageCommand) -> Fingerprint:
    """What the stage's result depends on; take it when the stage starts, as files may change while it runs.

    Raises:
        InputError: if a config file does not exist.
    """
    return {
        "config": config_hash(command.configs, command.settings, size_of(command.settings)),
        "inputs": {flag: artefact_hash(path) for flag, path in sorted(command.inputs.items())},
        "code": code_version(),
    }


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Says in words in what a fingerprint differs from an older one, or None where they are equal."""
    if old.get("config") != new["config"]:
        return "its config or settings changed"
    before = old.get("inputs", {})
    changed = sorted(flag for flag in {*before, *new["inputs"]} if before.get(flag) != new["inputs"].get(flag))
    if changed:
        return f"its input changed ({', '.join(changed)})"
    if old.get("code") != new["code"]:
        return "the code changed"
    return None


def stale_reason(stage_dir: Path, current: Fingerprint) -> str | None:
    """Why the stage must run (again), or None where its folder holds the result of this very fingerprint."""
    record = read_json(stage_dir / STAGE_FILE)
    if record is None:
        return "it was interrupted" if (stage_dir / STARTED_FILE).is_file() else "it has not run yet"
    gone = [name for name in record.get("outputs", ()) if not (stage_dir / name).exists()]
    if gone:
        return f"its output is gone ({', '.join(gone)})"
    return difference(record.get("fingerprint", {}), current)


def other_run(stage_dir: Path, current: Fingerprint) -> str | None:
    """Why a folder's run is not that of a command; None where it is, or where the folder holds no run.

    A change of code alone does not count: a correction amid a long run should not cost the hours before it.

    Raises:
        InputError: If the folder holds something that no stage wrote.
    """
    if not stage_dir.is_dir():
        return None
    started = read_json(stage_dir / STARTED_FILE)
    if started is not None:
        return difference({**started, "code": current["code"]}, current) if holds_run(stage_dir) else None
    if (stage_dir / STAGE_FILE).is_file():
        return "it was not recorded how it was started"
    if holds_run(stage_dir):
        raise InputError(f"{stage_dir}: the folder holds files that no stage wrote; choose another {DIR_FLAG}")
    return None


def holds_run(stage_dir: Path) -> bool:
    """Whether a folder holds more than a command leaves that stopped before it had begun its work."""
    return any(file.name not in (STARTED_FILE, TOKENISED) and file.name[0] != "." for file in stage_dir.iterdir())


def in_use(stage_dir: Path) -> str | None:
    """The other process that works in a stage's folder, in words; None where none does."""
    path = stage_dir / LOCK_FILE
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        pass
    except OSError:  # no such file, or a file system without locks
        return None
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        pid, host = int(holder["pid"]), str(holder["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it is writing this
    if host != socket.gethostname():
        return f"process {pid} on {host}"
    # What a killed command has forked may hold the lock for some seconds more, and does no harm.
    return f"process {pid}" if pid != os.getpid() and _is_alive(pid) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def evaluation_folder(stage_dir: Path, current: Fingerprint) -> Path:
    """Where an evaluation goes: the first of ``DIR``, ``DIR-2``, ``DIR-3``... that no other command has or works in.

    Evaluations of other models or with other settings stay where they are, and the same command finds its own again.

    Raises:
        InputError: If ``DIR`` holds something that no stage wrote.
    """
    folder, number = stage_dir, 1
    while other_run(folder, current) is not None or _others_work(folder, current):
        number += 1
        folder = stage_dir.with_name(f"{stage_dir.name}-{number}")
    return folder


def _others_work(stage_dir: Path, current: Fingerprint) -> bool:
    """Whether another command works in a folder in which it has not left anything so far."""
    started = read_json(stage_dir / STARTED_FILE) or {}
    return in_use(stage_dir) is not None and difference({**started, "code": current["code"]}, current) is not None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file so that it is either complete or not there at all; NaN and infinities become null."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(_finite(value), file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no file.

    Raises:
        InputError: If the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file ({error}); delete it to run the stage again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object; delete it to run the stage again")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Exits with 0 where the command's stage is fresh, 1 where it is stale, 2 on bad input."""
    try:
        command = parse_command(sys.argv[1:] if argv is None else argv)
        folder, current = command.stage_dir, fingerprint(command)
        other = evaluation_folder(folder, current) if other_run(folder, current) else folder
        if (read_json(other / STARTED_FILE) or {}).get(EVALUATION_KEY):
            folder = other
        reason = stale_reason(folder, current)
    except InputError as error:
        print(f"r1lit: {error}", file=sys.stderr)
        return 2
    if reason is None:
        print(f"{folder}: up to date")
        return 0
    print(f"{folder}: runs, as {reason}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
