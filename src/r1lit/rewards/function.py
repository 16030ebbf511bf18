"""A plain function as a reward."""

import importlib
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any

from r1lit.errors import InputError
from r1lit.grading.workers import Reply, WorkerPool
from r1lit.rewards.base import UNSCORED, CompletionError, Reward, Score
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

    How it is called is up to two arguments:

    * Neither: in one thread beside generation, with all that has finished since the last call. Such a call has no time
      limit, and nothing can end a function that hangs.
    * ``concurrency=8``: in eight threads, with one completion a call; for functions that wait, as for a server.
      ``concurrency=0``: in the main thread, after generation.
    * ``timeout_s=10``: in worker processes (``concurrency`` of them, started on first use), with one completion a
      call, which is killed after that time, even in a loop in C. It is tried once more; then the completion is
      unscored. The function must be importable there: a function of a module, not a lambda, nor one of a notebook.

    Args:
        function: The function, or its dotted path. Pickling the reward needs a function that pickle can find by name.
        name: Unique name; by default the function's own.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
        concurrency: Calls at once, see above.
        timeout_s: Wall-clock limit of a call, in seconds; None has none.
        groupwise: The function compares the completions of a prompt: each call gets whole groups.

    Raises:
        InputError: If the path leads to nothing that can be called, or an argument is out of range.
    """

    def __init__(
        self,
        function: str | ScoreFunction,
        name: str | None = None,
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
        concurrency: int = 1,
        timeout_s: float | None = None,
        groupwise: bool = False,
    ) -> None:
        found = _imported(function) if isinstance(function, str) else function
        if not callable(found):
            raise InputError(f"reward function {function!r} is a {type(found).__name__}, not a function")
        if name is None:
            name = getattr(found, "__name__", type(found).__name__)
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        if concurrency < 0:
            raise InputError(f"reward {name!r}: concurrency is {concurrency}; give 0 or more")
        if timeout_s is not None and not (timeout_s > 0 and concurrency):
            raise InputError(f"reward {name!r}: timeout_s needs a positive number of seconds and a concurrency above 0")
        if timeout_s is not None and groupwise:
            raise InputError(f"reward {name!r}: with timeout_s each call gets one completion; leave groupwise off")
        self.function: ScoreFunction = found
        self.concurrency, self.timeout_s, self.groupwise = concurrency, timeout_s, groupwise
        self._pool: WorkerPool | None = None

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """Calls the function with the completions, or a worker with each of them."""
        if self.timeout_s is None:
            return self.function(completions)
        pool = self._pool = self._pool or self._new_pool()
        replies = pool.run([[completion] for completion in completions], (self.timeout_s, self.timeout_s))
        return [_score(completion, reply) for completion, reply in zip(completions, replies, strict=True)]

    def _new_pool(self) -> WorkerPool:
        try:
            function = pickle.dumps(self.function)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(f"reward {self.name!r}: {_UNFIT} ({error})") from error
        if getattr(self.function, "__module__", None) == "__main__":
            raise InputError(f"reward {self.name!r}: {_UNFIT} (it is defined in the script that is run)")
        return WorkerPool("function", self.concurrency, {"path": list(sys.path), "function": function})

    def close(self) -> None:
        """Kills the worker processes; the next ``score`` starts new ones."""
        if self._pool is not None:
            self._pool.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the processes behind."""
        return {**self.__dict__, "_pool": None}


_UNFIT = "timeout_s runs the function in another process, which must be able to import it; put it into a module"


def _score(completion: Completion, reply: Reply | None) -> Score:
    if reply is None:
        return UNSCORED
    if "raised" in reply:
        raise CompletionError(completion, f"raised {reply['raised']}")
    if len(reply["scores"]) != 1:
        raise CompletionError(completion, f"returned {len(reply['scores'])} scores for 1 completion")
    score = reply["scores"][0]
    if isinstance(score, dict):
        raise CompletionError(completion, f"returned a {score['type']} instead of a float")
    return UNSCORED if score == "unscored" else score
