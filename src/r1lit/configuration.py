"""Configuration files: what a file extends, what a later one changes, and parts that have names.

* ``extends: common`` in a file takes ``common.yaml`` of the same folder (or a shipped file) first.
* A later file changes what it names and leaves the rest. A part of another class takes the earlier one's whole place.
* Rewards, filters and validation sets may be given by name; a later file, or a flag such as
  ``--model.rewards.format.weight 0.5``, then changes one of them, and ``null`` takes one away.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import get_loader

from r1lit.errors import InputError
from r1lit.freshness import EXTENDS, config_files, flag_pairs

LISTS = (("model", "rewards"), ("model", "filters"), ("data", "val"))
"""Lists whose parts may be given by name."""
MAPPINGS = (("data", "train", "parts"), ("data", "sources"))
"""What has names anyway."""
_ARGUMENTS = "init_args"
_CLASS = "class_path"


def read_configuration(paths: Sequence[Path], size: str | None = None) -> dict[str, Any]:
    """What configuration files say together; a later one goes before an earlier.

    Args:
        paths: The files.
        size: Of the run, for which some have changes.

    Raises:
        InputError: If a file cannot be read or is no YAML mapping.
    """
    found: dict[str, Any] = {}
    for path in paths:
        for file in config_files(path, size):
            found = merged(found, _read(file))
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        value = get_loader("yaml")(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # of whichever YAML library is installed
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a mapping of settings, but {type(value).__name__}")
    return {key: part for key, part in value.items() if key != EXTENDS}


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where the second goes before the first, key by key."""
    found = dict(first)
    for key, value in second.items():
        earlier = found.get(key)
        if isinstance(earlier, Mapping) and isinstance(value, Mapping) and _same_class(earlier, value):
            found[key] = merged(earlier, value)
        else:
            found[key] = value
    return found


def _same_class(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two mappings may be settings of one object: a class may be named in full or by its last part.

    Where one names a class, the other must, too, or give arguments alone; else it holds parts by name.
    """
    named = [part for part in (first, second) if _CLASS in part]
    if len(named) == 1:
        return all(part.keys() <= {_CLASS, _ARGUMENTS} for part in (first, second))
    return len({class_name(part) for part in named}) < 2


def class_name(settings: Any) -> str:
    """The last part of the class that settings name; empty where they name none."""
    return str(settings[_CLASS]).rpartition(".")[2] if isinstance(settings, Mapping) and _CLASS in settings else ""


def get(configuration: Mapping[str, Any], *keys: str) -> Any:
    """What stands at a place, without the ``init_args`` in between; None where there is nothing."""
    found: Any = configuration
    for key in keys:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key, (found.get(_ARGUMENTS) or {}).get(key))
    return found


def put(settings: Any, keys: Sequence[str], value: Any) -> Any:
    """The settings with a value at a place, where the arguments of a class stand below its ``init_args``."""
    if not keys:
        return value
    found = dict(settings) if isinstance(settings, Mapping) else {}
    first, rest = keys[0], keys[1:]
    if first not in found and (_CLASS in found or _ARGUMENTS in found) and first not in (_CLASS, _ARGUMENTS):
        return {**found, _ARGUMENTS: put(found.get(_ARGUMENTS), keys, value)}
    return {**found, first: put(found.get(first), rest, value)}


def resolve_names(configuration: Mapping[str, Any], flags: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Changes named parts by flags, drops those that are null, and makes lists of those that are to be lists.

    Args:
        configuration: What the files say.
        flags: The rest of the command line.

    Returns:
        The configuration, and the flags that were not about named parts.

    Raises:
        InputError: If a flag names a part that is not there.
    """
    found, rest = dict(configuration), list(flags)
    for keys in (*LISTS, *MAPPINGS):
        parts = get(found, *keys)
        if not isinstance(parts, Mapping) or _CLASS in parts:
            continue
        # Any name will do for a source of chats: a flag may bring it.
        changed, rest = _changed(dict(parts), f"--{'.'.join(keys)}.", rest, may_add=keys == ("data", "sources"))
        kept = {name: part for name, part in changed.items() if part is not None}
        found = put(found, keys, list(kept.values()) if keys in LISTS else kept)
    return found, rest


def _changed(
    parts: dict[str, Any], prefix: str, flags: Sequence[str], may_add: bool
) -> tuple[dict[str, Any], list[str]]:
    """Applies the flags that begin with a prefix to named parts; returns the others as well."""
    rest: list[str] = []
    load = get_loader("yaml")
    for flag, value in flag_pairs(flags):
        if not flag.startswith(prefix) or value is None:
            rest.append(flag if value is None else f"{flag}={value}")
            continue
        name, *argument = flag.removeprefix(prefix).split(".")
        if name not in parts and not may_add:
            raise InputError(f"{flag}: there is no {name!r}, only {', '.join(parts)}")
        parts[name] = put(parts.get(name), argument, load(value) if value else value)
    return parts, rest
