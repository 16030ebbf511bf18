"""Completions that were sampled before, from a stage's ``samples.parquet``: to sort them out by other rules."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from r1lit.errors import InputError
from r1lit.rollout.completion import check_sampling
from r1lit.samples.entries import completion_of
from r1lit.samples.table import SPLIT, TRAINING
from r1lit.types import Completion, Prompt, SamplingParams

_COLUMNS = ("prompt_id", "text", "finish_reason", "tokens")


class ReplayEngine:
    """Gives the recorded completions of each prompt, the latest first; see ``types.RolloutEngine``.

    It yields fewer than ``sampling.n`` for a prompt that has fewer, and none for one that was never sampled. The other
    settings of the sampling mean nothing here.

    Args:
        samples: A ``samples.parquet``, of reinforcement learning or of rejection sampling.
        from_rollout: Leave out earlier rollouts, whose policy was still another; 0 takes all.

    Raises:
        InputError: If the file is missing or of another form.
    """

    def __init__(self, samples: str, from_rollout: int = 0) -> None:
        self.samples, self.from_rollout = Path(samples), from_rollout
        if not self.samples.is_file():
            raise InputError(f"ReplayEngine: {samples}: no such file")
        self._groups: dict[str, list[dict[str, Any]]] | None = None

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Completion]:
        """Yields up to ``sampling.n`` completions a prompt, numbered anew from 0."""
        check_sampling(sampling)
        if self._groups is None:
            self._groups = self._read()
        for prompt in prompts:
            for sample, row in enumerate(self._groups.get(prompt.id, [])[: sampling.n]):
                yield completion_of(prompt, row | {"sample": sample})

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        import pyarrow
        from pyarrow import parquet

        try:
            names = parquet.read_schema(self.samples).names
            if missing := [name for name in _COLUMNS if name not in names]:
                raise InputError(f"ReplayEngine: {self.samples}: no column {missing[0]!r}; it is no samples.parquet")
            wanted = [name for name in (*_COLUMNS, "rollout", "sample", SPLIT) if name in names]
            rows = parquet.read_table(self.samples, columns=wanted).to_pylist()
        except pyarrow.ArrowException as error:
            raise InputError(f"ReplayEngine: {self.samples}: {' '.join(str(error).split())}") from error
        groups: dict[str, list[dict[str, Any]]] = {}
        # What a stage was measured by at its end is no training data.
        rows = [row for row in rows if row.get(SPLIT, TRAINING) == TRAINING]
        for row in sorted(rows, key=lambda row: (-row.get("rollout", 0), row.get("sample", 0))):
            if row.get("rollout", self.from_rollout) >= self.from_rollout:
                groups.setdefault(row["prompt_id"], []).append(row)
        return groups
