"""The base class of all rewards: a Lightning callback that scores completions and also works without a Trainer."""

import atexit
import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, get_args

from lightning.pytorch import Callback, LightningModule, Trainer

from r1lit.errors import InputError
from r1lit.types import Completion, Kind, Prompt, Task


class Unscored(Enum):
    """The type of ``UNSCORED``; an enum, so that the sentinel stays itself through pickling and copying."""

    UNSCORED = "unscored"


UNSCORED: Final[Literal[Unscored.UNSCORED]] = Unscored.UNSCORED
"""Returned for a completion that a reward applies to but could not score within its limits."""

Score: TypeAlias = float | Literal[Unscored.UNSCORED] | None
"""A number, None for "not applicable", or ``UNSCORED``."""


class CompletionError(Exception):
    """Raised by a reward that knows which completion it failed on; the message says what happened, not where."""

    def __init__(self, completion: Completion, problem: str) -> None:
        super().__init__(problem)
        self.completion = completion


_live: "weakref.WeakValueDictionary[int, Reward]" = weakref.WeakValueDictionary()


def _close_live() -> None:
    for reward in list(_live.values()):
        reward.close()


atexit.register(_close_live)


class Reward(Callback, ABC):
    """Scores completions (paper section 2.2, "Reward Modeling").

    A subclass implements ``score``. Modules take rewards as an argument and return them from
    ``configure_callbacks``; a notebook calls ``score`` on its own. Live state, such as worker processes, must start
    on first use and end in ``close``, so that a reward can be pickled and deep-copied before.

    In training, completions are scored while others are still being generated: ``score`` is called in a thread, many
    times in a rollout, with whatever has finished. Two attributes, of the class or of an object, change that.

    Attributes:
        concurrency: Calls of ``score`` at once. 1, the default, suits rewards that are quick or not thread-safe: one
            thread, which takes all that waits in one call. More suit rewards that wait for something, such as a
            server: as many threads, which take one completion (or group) each. 0 scores in the main thread when
            generation is over, for rewards that need that thread (signals) or compute on the policy's device.
        groupwise: The reward compares the completions of a prompt: each call gets whole groups, by sample.

    Args:
        name: Unique among the rewards of a run; names the log column and the state in a checkpoint.
        weight: Factor of the score in the total. The paper gives accuracy and format the same weight (eq. 4). With 0
            the score is logged and stored beside the others but does not count, to watch what is not trained on.
        kinds: Prompt kinds the reward applies to; None means all.
        tasks: Prompt tasks the reward applies to; None means all.
        from_step: Policy updates after which the reward counts. A prompt that no other reward is for is left out of
            the loss until then.

    Raises:
        InputError: If an argument is out of range.
    """

    concurrency: int = 1
    groupwise: bool = False

    def __init__(
        self,
        name: str,
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__()
        if not name:
            raise InputError(f"{type(self).__name__}: name is empty; give every reward a unique name")
        if not math.isfinite(weight):
            raise InputError(f"reward {name!r}: weight is {weight}; give a finite number")
        if from_step < 0:
            raise InputError(f"reward {name!r}: from_step is {from_step}; give 0 or more policy updates")
        self.name = name
        self.weight = weight
        self.kinds = _checked(name, "kinds", kinds, get_args(Kind))
        self.tasks = _checked(name, "tasks", tasks, get_args(Task))
        self.from_step = from_step
        _live[id(self)] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a pickled reward and registers it for closing at exit."""
        self.__dict__.update(state)
        _live[id(self)] = self

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint: by name, since Lightning's default is the same for a whole class."""
        return f"Reward[{self.name}]"

    def applies_to(self, prompt: Prompt, step: int) -> bool:
        """Whether completions of ``prompt`` are scored at policy update ``step``."""
        return step >= self.from_step and self.suits(prompt)

    def suits(self, prompt: Prompt) -> bool:
        """Whether the reward is for prompts of this kind and task, at whatever step."""
        return (self.kinds is None or prompt.kind in self.kinds) and (self.tasks is None or prompt.task in self.tasks)

    @abstractmethod
    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """Scores completions, which may be of several prompts.

        How completions are cut into calls depends on when they finish, so a score must depend on its own completion
        alone (for a ``groupwise`` reward, on its own group).

        Args:
            completions: What to score, all of prompts that the reward applies to.

        Returns:
            One score for each completion, in order: a finite float, None where the reward does not apply after all,
            or ``UNSCORED`` where it ran out of time.

        Raises:
            InputError: If a prompt lacks what the reward needs.
        """

    def close(self) -> None:
        """Ends what the reward started; may be called any number of times, and ``score`` may follow.

        A run that is broken off calls it while ``score`` is at work in another thread, to bring that to an end.
        """
        return

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Closes the reward at the end of a run."""
        self.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes the reward when a run fails, in which case Lightning does not call ``teardown``."""
        self.close()


def _checked(name: str, key: str, values: Sequence[str] | None, known: Iterable[str]) -> tuple[str, ...] | None:
    if values is None:
        return None
    if isinstance(values, str):  # else "math" would be read as four letters
        values = (values,)
    for value in values:
        if value not in known:
            raise InputError(f"reward {name!r}: {key} has {value!r}; choose from {', '.join(known)}")
    return tuple(values)


def check_names(rewards: Sequence[Reward]) -> None:
    """Checks that no two rewards share a name, which Lightning itself would not notice.

    Raises:
        InputError: If two do; one's state would overwrite the other's in a checkpoint.
    """
    seen: dict[str, Reward] = {}
    for reward in rewards:
        if reward.name in seen:
            classes = f"{type(seen[reward.name]).__name__} and {type(reward).__name__}"
            raise InputError(f"two rewards are named {reward.name!r} ({classes}); give each its own name")
        seen[reward.name] = reward
