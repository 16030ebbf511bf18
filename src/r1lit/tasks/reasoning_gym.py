"""Prompts from the procedural tasks of reasoning-gym."""

from collections.abc import Mapping
from typing import Any

from r1lit.errors import InputError
from r1lit.tasks.base import PromptSource
from r1lit.types import Message, Prompt


class ReasoningGymPrompts(PromptSource):
    """Generated puzzles; needs the extra ``gym``.

    ``meta["reasoning_gym"]`` holds ``{"dataset": name, "entry": entry}``, from which a reward scores any answer.

    Args:
        datasets: Names of reasoning-gym data sets, or a mapping from name to the arguments of its configuration.
        size: Prompts of each data set, unless its arguments say otherwise.
        seed: Seed of each data set, likewise; another seed gives other puzzles.

    Raises:
        InputError: If no data set is named or size is not positive.
    """

    def __init__(self, datasets: list[str] | dict[str, dict[str, Any] | None], size: int = 1000, seed: int = 0) -> None:
        if not datasets:
            raise InputError("datasets is empty: name at least one reasoning-gym data set, such as chain_sum")
        if size < 1:
            raise InputError(f"size is {size}: it must be 1 or more")
        self.configs: dict[str, dict[str, Any]] = {
            name: {"size": size, "seed": seed} | (dict(datasets[name] or {}) if isinstance(datasets, dict) else {})
            for name in datasets
        }

    def load(self) -> list[Prompt]:
        """Generates the puzzles, data set by data set.

        Raises:
            InputError: If the extra is not installed, or a name or argument is unknown.
        """
        return [prompt for name, config in self.configs.items() for prompt in _generate(name, config)]


def _generate(name: str, config: Mapping[str, Any]) -> list[Prompt]:
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as error:
        raise InputError("ReasoningGymPrompts needs the package reasoning-gym: pip install 'r1lit[gym]'") from error
    if name not in DATASETS:
        raise InputError(f"reasoning-gym has no data set {name!r}, only {', '.join(sorted(DATASETS))}")
    try:
        dataset = create_dataset(name, **config)
    # Configurations are dataclasses which check their values with assert.
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(f"reasoning-gym data set {name!r} refuses {dict(config)}: {error}") from error
    return [
        Prompt(
            # The seed and the index fix the puzzle, so the id stays with it when size changes.
            id=f"{name}-{config['seed']}/{index + 1}",
            messages=(Message("user", entry["question"]),),
            answer=None if entry["answer"] is None else str(entry["answer"]),
            task="logic",
            source=f"reasoning_gym/{name}",
            meta={"reasoning_gym": {"dataset": name, "entry": entry}},
        )
        for index, entry in enumerate(dataset)
    ]
