"""How many threads a command computes with, chosen before torch is loaded, which reads it once.

Waiting threads of OpenMP spin by default: they hold a core, and where another process needs it, all wait for the
thread that has none. One busy process next to a run of the tiny world made it four times slower. So a model too small
to gain from several threads gets one, and the threads of larger ones sleep while they wait. What a user has set in the
environment is left alone.
"""

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from r1lit.errors import InputError
from r1lit.freshness import CONFIG_FLAGS, config_files, flag_pairs, located_config, size_of

SMALL_MB = 64.0
"""Weights up to this size, in MB on disk, are computed with one thread; ``benchmarks/threads.py`` measures both."""
MODEL_KEY = "init_from"
"""The setting that names a model's weights, wherever it stands in a configuration."""
_REWARD_MODELS = "stage.reward_models"
_SPINS = "1000"
"""Rounds that a waiting thread of libgomp spins before it sleeps: a few microseconds, the time between two kernels."""
_PACKAGE = "package:"
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def choose_threads(argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Sets what OpenMP reads from the environment for a command of ``r1lit``.

    Args:
        argv: What follows ``r1lit`` on the command line.
        environment: Where to set it; the process's own if None.
    """
    found: Any = os.environ if environment is None else environment
    if "OMP_NUM_THREADS" not in found and "MKL_NUM_THREADS" not in found:
        try:
            size = weights_mb(argv)
        except (
            OSError,
            ValueError,
            ImportError,
            RuntimeError,
            InputError,
            yaml.YAMLError,
        ):  # the command itself says what is wrong with a path
            size = None
        if size is not None and size <= SMALL_MB:
            found["OMP_NUM_THREADS"] = "1"
    if "OMP_WAIT_POLICY" not in found and "GOMP_SPINCOUNT" not in found:
        found["OMP_WAIT_POLICY"] = "passive"
        found["GOMP_SPINCOUNT"] = _SPINS
        found.setdefault("KMP_BLOCKTIME", "0")  # the same for Intel's and LLVM's OpenMP


def weights_mb(argv: Sequence[str]) -> float | None:
    """Size of the largest model that a command names; None where one is not on this machine, or none is named."""
    sizes = [_size_mb(name) for name in _models(argv).values()]
    known = [size for size in sizes if size is not None]
    return max(known) if known and len(known) == len(sizes) else None


def _models(argv: Sequence[str]) -> dict[str, str]:
    """The models of a command by the place of their setting; a later file or a flag overrides an earlier one."""
    found: dict[str, str] = {}
    for flag, value in flag_pairs(argv):
        if value is None:
            continue
        if flag in CONFIG_FLAGS:
            for path in config_files(located_config(value) or Path(value), size_of(argv)):
                found |= dict(_in_config(path))
        elif flag.startswith(f"--{_REWARD_MODELS}"):
            found |= dict(_named({flag.removeprefix("--"): yaml.safe_load(value)}, ""))
        elif flag.rpartition(".")[2] == MODEL_KEY:
            place = flag.removeprefix("--").replace(".init_args", "")
            found["model.policy.init_from" if place == "model.init_from" else place] = value
    return found


def _in_config(path: Path) -> Iterator[tuple[str, str]]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return
    yield from _named(config, "")


def _named(config: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(config, Mapping):
        for key, value in config.items():
            inner = place if key == "init_args" else f"{place}.{key}".lstrip(".")
            if key == "scorer":  # of a reward, which flags name
                inner = f"{_REWARD_MODELS}.{config.get('name')}"
            is_model = key == MODEL_KEY or inner.startswith(_REWARD_MODELS)
            if isinstance(value, str):
                if is_model and key not in ("class_path", "url"):
                    yield inner.removesuffix(".path"), value
            else:
                yield from _named(value, inner)
    elif isinstance(config, list):
        for number, value in enumerate(config):
            yield from _named(value, f"{place}.{number}")


def _size_mb(name: str) -> float | None:
    """Size of a model's files; None for a hub id, and for a folder without weights."""
    path = Path(name).expanduser()
    if name.startswith(_PACKAGE):
        package, _, rest = name.removeprefix(_PACKAGE).partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / rest
    files = [path] if path.is_file() else [file for file in path.glob("*") if file.suffix in _WEIGHTS]
    return sum(file.stat().st_size for file in files) / 1e6 if files else None
