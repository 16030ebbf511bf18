"""A plain function as a reward."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from r1lit.errors import InputError
from r1lit.rewards.base import Reward, Score
from r1lit.types import Completion, Kind, Task

ScoreFunction = Callable[[Sequence[Completion]], Sequence[Score]]


def _imported(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    if not module:
        raise InputError(f"reward function {path!r} is no dotted path; write package.module.function")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"reward function {path!r} cannot be imported ({error}); check the dotted path") from error


class FunctionReward(Reward):
    """Wraps a function that takes a list of completions and returns one score each.

    Args:
        function: The function, or its dotted path. Pickling the reward needs a function that pickle can find by name.
        name: Unique name; by default the function's own.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.

    Raises:
        InputError: If the path leads to nothing that can be called.
    """

    def __init__(
        self,
        function: str | ScoreFunction,
        name: str | None = None,
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        found = _imported(function) if isinstance(function, str) else function
        if not callable(found):
            raise InputError(f"reward function {function!r} is a {type(found).__name__}, not a function")
        if name is None:
            name = getattr(found, "__name__", type(found).__name__)
        super().__init__(name, weight, kinds, tasks, from_step)
        self.function: ScoreFunction = found

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """Calls the function with the completions."""
        return self.function(completions)
