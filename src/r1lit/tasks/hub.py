"""Prompts from a data set of the Hugging Face hub, or from a local folder in its form."""

from typing import Any

from r1lit.errors import InputError
from r1lit.tasks.base import (
    Columns,
    Defaults,
    PromptSource,
    check_slice,
    compile_answer_pattern,
    prompts_from_rows,
    stem,
)
from r1lit.tasks.files import without_filler
from r1lit.types import Kind, Prompt, Task


class HubPrompts(PromptSource):
    """Prompts from what ``datasets.load_dataset`` loads; needs the extra ``hub`` and, for hub ids, the network.

    Args:
        path: A hub id such as ``openai/gsm8k``, or a local folder.
        name: The configuration (subset), where the data set has several.
        split: The split; slices such as ``train[:100]`` work.
        columns: Which column holds what; ``Columns()`` if None.
        answer_pattern: A regular expression with one group which finds the answer within the answer column. Empty takes
            the whole column. (Not None: jsonargparse would read ``#### (.+)$`` as a YAML comment.)
        task: The task of prompts for which no column gives one.
        kind: The kind, likewise.
        language: The language, likewise.
        limit: Read at most this many rows; None reads all.
        skip: Leave out this many rows first; rows keep their numbers.
        revision: A branch, tag or commit of the hub repository.
        drop_unanswered: Leave out rows whose answer is missing where it is needed, instead of raising.

    Raises:
        InputError: If an argument makes no sense (``load`` raises it for the data).
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        split: str = "train",
        columns: Columns | None = None,
        answer_pattern: str = "",
        task: Task = "math",
        kind: Kind = "reasoning",
        language: str = "en",
        limit: int | None = None,
        skip: int = 0,
        revision: str | None = None,
        drop_unanswered: bool = False,
    ) -> None:
        check_slice(skip, limit)
        compile_answer_pattern(answer_pattern)
        self.path = path
        self.name = name
        self.split = split
        self.columns = columns or Columns()
        self.answer_pattern = answer_pattern
        self.defaults = Defaults(kind, task, language)
        self.limit = limit
        self.skip = skip
        self.revision = revision
        self.drop_unanswered = drop_unanswered

    def load(self) -> list[Prompt]:
        """Downloads the data set, or takes it from the cache, and builds its prompts.

        Raises:
            InputError: If the extra is not installed, the data set, configuration or split cannot be had, or a row
                cannot become a prompt.
        """
        dataset = load_rows(self.path, self.name, self.split, self.revision)
        stop = len(dataset) if self.limit is None else min(len(dataset), self.skip + self.limit)
        return prompts_from_rows(
            map(without_filler, dataset.select(range(self.skip, stop)) if self.skip < stop else ()),
            self.columns,
            self.path,
            self.defaults,
            self.answer_pattern,
            id_prefix="-".join(part for part in (stem(self.path), self.name, self.split) if part),
            first_row=self.skip + 1,
            drop_unanswered=self.drop_unanswered,
        )


def load_rows(path: str, name: str | None, split: str, revision: str | None = None) -> Any:
    """Loads one split with ``datasets.load_dataset``.

    Args:
        path: A hub id, or a local folder.
        name: The configuration (subset), where the data set has several.
        split: The split.
        revision: A branch, tag or commit of the hub repository.

    Returns:
        The ``datasets.Dataset``, an iterable of rows.

    Raises:
        InputError: If the extra is not installed, or the data set, configuration or split cannot be had.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(f"{path}: HubPrompts needs the package datasets: pip install 'r1lit[hub]'") from error

    try:
        return load_dataset(path, name, split=split, revision=revision)
    # What datasets raises for an unknown id, an unreachable hub (OSError), a wrong subset or split (ValueError).
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot load split {split!r}: {' '.join(str(error).split())}") from error
