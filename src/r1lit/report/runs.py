"""The folders of a profile's runs, and what their stages left there, read with errors that name the file."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r1lit import recipe
from r1lit.callbacks.metrics_file import FILE as METRICS
from r1lit.errors import InputError
from r1lit.freshness import STAGE_FILE
from r1lit.samples.table import FILE as SAMPLES
from r1lit.samples.table import SPLIT, TRAINING

_SEED = re.compile(r"^(?P<profile>.+)-seed\d+$")
_ARROW_ERRORS = (pa.ArrowException, OSError)


@dataclass(frozen=True)
class Stage:
    """A finished stage."""

    folder: Path
    record: dict[str, Any]
    """Its ``stage.json``."""
    name: str
    """Its folder below the run's: ``zero``, ``rewards/safety``."""

    @cached_property
    def evaluation(self) -> dict[str, list[dict[str, Any]]]:
        """The completions it was measured by, by split (``eval``, ``t1``), without their texts; none in old runs.

        Raises:
            InputError: If the table cannot be read.
        """
        path = self.folder / SAMPLES
        if not path.is_file():
            return {}
        with _parquet(path, self.name) as file:
            names = file.schema_arrow.names
            if SPLIT not in names:
                return {}
            wanted = [name for name in names if name not in ("text", "question", "reference")]
            try:
                table = file.read(columns=wanted)
            except _ARROW_ERRORS as error:
                raise _unreadable(path, self.name, error) from error
        counts = [name for name in names if name.startswith(("reward/", "figure/"))]
        keys = (SPLIT, "prompt_id", "kind", "sample")
        _check_columns(table, path, self.name, texts=keys[:3], numbers=("sample", *counts), full=keys)
        found: dict[str, list[dict[str, Any]]] = {}
        for row in table.filter(pc.not_equal(table[SPLIT], TRAINING)).to_pylist():
            found.setdefault(row[SPLIT], []).append(row)
        for needed in ("prompt_id", "sample", "kind", "answer", "reward/accuracy", "figure/words"):
            if found and needed not in names:
                raise InputError(f"{path}: no column {needed!r}; {_again(self.name)}")
        for row in (row for rows in found.values() for row in rows if row["kind"] == "reasoning"):
            if row["figure/words"] is None or row.get("figure/reflections", 0) is None:
                raise InputError(f"{path}: prompt {row['prompt_id']!r} has no count of words; {_again(self.name)}")
        return found

    def training(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Training's completions, a rollout or so in memory at a time.

        Raises:
            InputError: If the table cannot be read or lacks a column.
        """
        path = self.folder / SAMPLES
        if not path.is_file():
            return
        with _parquet(path, self.name) as file:
            names = file.schema_arrow.names
            if "rollout" not in names:
                return
            if missing := [name for name in columns if name not in names]:
                raise InputError(f"{path}: no column {missing[0]!r}; {_again(self.name)}")
            marked = [SPLIT] if SPLIT in names else []
            for index in range(file.num_row_groups):
                try:
                    table = file.read_row_group(index, columns=[*columns, *marked])
                except _ARROW_ERRORS as error:
                    raise _unreadable(path, self.name, error) from error
                if marked:
                    table = table.filter(pc.equal(table[SPLIT], TRAINING))
                texts, numbers = ("prompt_id", "question", "text"), ("step", "sample", "tokens")
                _check_columns(
                    table, path, self.name, (*texts, "language"), (*numbers, "reward/accuracy"), (*texts, *numbers)
                )
                yield from table.to_pylist()

    def metrics(self) -> list[dict[str, float]]:
        """The rows of ``metrics.csv``; none where the stage logged nothing. A last row cut by a kill is left out.

        Raises:
            InputError: If the file is no such table; names row and column.
        """
        path = self.folder / METRICS
        if not path.is_file():
            return []
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
                columns = reader.fieldnames or []
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: not a table of metrics ({error}); {_again(self.name)}") from error
        if "step" not in columns:
            raise InputError(f"{path}: no column 'step' in its first line; {_again(self.name)}")
        if rows and None in rows[-1].values():
            rows.pop()
        return [_numbers(row, number, path, self.name) for number, row in enumerate(rows, start=2)]


def _numbers(row: dict[str, Any], number: int, path: Path, stage: str) -> dict[str, float]:
    if None in row or None in row.values():
        raise InputError(f"{path}: line {number} has not as many values as columns; {_again(stage)}")
    if not row["step"]:
        raise InputError(f"{path}: line {number} has no step; {_again(stage)}")
    try:
        return {name: float(text) for name, text in row.items() if text}
    except ValueError as error:
        raise InputError(f"{path}: line {number}: {error}; {_again(stage)}") from error


def _check_columns(
    table: pa.Table, path: Path, stage: str, texts: Sequence[str], numbers: Sequence[str], full: Sequence[str]
) -> None:
    """Checks, of the columns that are there, the type, and that those of ``full`` have no gap."""
    for kind, names, is_right in (("text", texts, _is_text), ("numbers", numbers, _is_number)):
        for name in set(names) & {*table.column_names}:
            column = table[name]
            if not is_right(column.type) and not pa.types.is_null(column.type):
                raise InputError(f"{path}: column {name!r} is of {column.type}, not {kind}; {_again(stage)}")
            if name in full and column.null_count:
                raise InputError(f"{path}: column {name!r} has {column.null_count} empty rows; {_again(stage)}")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _parquet(path: Path, stage: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except _ARROW_ERRORS as error:
        raise _unreadable(path, stage, error) from error


def _unreadable(path: Path, stage: str, error: Exception) -> InputError:
    return InputError(f"{path}: not a readable Parquet file ({' '.join(str(error).split())}); {_again(stage)}")


def _again(stage: str) -> str:
    return f"delete the stage's folder and run it again (make {stage.partition('/')[0]})"


@dataclass(frozen=True)
class Run:
    """One seed's stages by name, in the recipe's order; its base may be another run's."""

    folder: Path
    stages: dict[str, Stage]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name


@dataclass(frozen=True)
class Runs:
    """What a report is about."""

    main: Run
    """The run that the report was asked of; its figures fill the tables."""
    seeds: tuple[Run, ...]
    """All runs of the profile, the main one first: what claims are tested on."""
    placebos: tuple[Run, ...]
    """Runs with shuffled rewards."""


def find_runs(folder: str | Path) -> Runs:
    """Finds a run and those beside it: ``tiny`` with ``tiny-seed1`` and ``tiny-placebo``.

    Of a folder that is one seed's (``tiny-seed1``) only that seed is reported, with the profile's base and placebo.

    Raises:
        InputError: If there is no finished stage in the folder, or a record cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of a run, such as runs/tiny")
    place = folder.resolve()
    match = _SEED.match(place.name)
    profile = match["profile"] if match else place.name
    base = _stage(place.parent / profile / "base", "base")
    main = _run(folder, base)
    if not main.stages:
        raise InputError(f"{folder}: no finished stage ({folder}/STAGE/{STAGE_FILE}); run one, as by make zero")
    beside = [] if match else _numbered(place.parent, rf"{re.escape(profile)}-seed(\d+)")
    seeds = [run for path in beside if (run := _run(path, base)).stages.keys() - {"base"}]
    shuffled = [place.parent / f"{place.name}-placebo"]
    if not match:
        shuffled += _numbered(place.parent, rf"{re.escape(profile)}-seed(\d+)-placebo")
    placebos = [run for path in shuffled if path.is_dir() and (run := _run(path, base)).stages.keys() - {"base"}]
    return Runs(main, (main, *seeds), tuple(placebos))


def _numbered(parent: Path, pattern: str) -> list[Path]:
    folders = [path for path in parent.iterdir() if path.is_dir()]
    found = [(match, path) for path in folders if (match := re.fullmatch(pattern, path.name))]
    return [path for _, path in sorted(found, key=lambda pair: int(pair[0][1]))]


def _run(folder: Path, base: Stage | None) -> Run:
    found = {"base": base} if base else {}
    for path in sorted([*folder.glob(f"*/{STAGE_FILE}"), *folder.glob(f"*/*/{STAGE_FILE}")]):
        name = path.parent.relative_to(folder).as_posix()
        # A result that was moved aside is called zero.old; what was measured on something else is no stage.
        stage = None if "." in name else _stage(path.parent, name)
        if stage is not None and "measured_on" not in stage.record:
            found[name] = stage
    own = found.keys() - {"base"} or (folder / "base").is_dir()
    names = sorted(found, key=lambda name: (recipe.place(name), name))
    return Run(folder, {name: found[name] for name in names} if own else {})


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether what a report reads of a record is of the right form."""
    fingerprint = record.get("fingerprint") or {}
    figures, versions = record.get("metrics", {}), record.get("versions") or {}
    if not all(isinstance(part, dict) for part in (fingerprint, figures, versions)):
        return False
    inputs = fingerprint.get("inputs") or {}
    return (
        isinstance(inputs, dict)
        and all(isinstance(value, str) for value in inputs.values())
        and all(isinstance(figure, dict) and _is_figure(figure) for figure in figures.values())
    )


def _is_figure(figure: Mapping[str, Any]) -> bool:
    ends = [figure.get(name, "") for name in ("value", "low", "high")]
    return isinstance(figure.get("n"), int) and all(end is None or isinstance(end, int | float) for end in ends)


def _stage(folder: Path, name: str) -> Stage | None:
    path = folder / STAGE_FILE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file ({error}); delete it to run the stage again") from error
    if not isinstance(record, dict) or not _is_record(record):
        raise InputError(f"{path}: not the record of a stage; delete it to run the stage again")
    return Stage(folder, record, name)
