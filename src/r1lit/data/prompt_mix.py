"""Prompts of several parts, each with its share of every rollout and, if need be, a late start."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from r1lit.data.mixing import shares_of
from r1lit.data.sampler import RolloutSampler
from r1lit.errors import InputError
from r1lit.tasks.base import PromptSource
from r1lit.types import Kind, Prompt


@dataclass
class PromptPart:
    """A part of a ``PromptMix``.

    Raises:
        InputError: If a number is out of range.
    """

    source: PromptSource | list[PromptSource]
    """Where its prompts come from."""
    share: float = 1.0
    """Of a rollout's prompts, relative to the shares of the other parts that take part in it."""
    from_rollout: int = 0
    """The first rollout (from 0) that it takes part in."""
    kinds: list[Kind] | None = None
    """Only prompts of these kinds; None takes all."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if not (math.isfinite(self.share) and self.share > 0):
            raise InputError(f"data.train: a part's share is {self.share}; give a number above 0")
        if self.from_rollout < 0:
            raise InputError(f"data.train: a part's from_rollout is {self.from_rollout}; give 0 or more")

    def load(self) -> list[Prompt]:
        """Its prompts, in the order of its sources."""
        sources = self.source if isinstance(self.source, list) else [self.source]
        return [p for source in sources for p in source.load() if self.kinds is None or p.kind in self.kinds]


class PromptMix(PromptSource):
    """Several parts, mixed by share in each training rollout; as a plain source, all of them one after the other.

    The second RL stage of the paper trains on reasoning prompts alone, and on general ones beside them in the last 400
    of its 1,700 updates only. With 16 updates a rollout, that is::

        train:
          class_path: PromptMix
          init_args:
            parts:
              reasoning: {source: ..., share: 3}
              general: {source: ..., share: 1, from_rollout: 81}

    The paper does not state shares. Each rollout holds the same number of prompts of each part that takes part in it,
    to the nearest prompt. When a part joins, the others begin a new pass over their prompts, in another order.

    Args:
        parts: By name; at least one must take part from the first rollout on.

    Raises:
        InputError: If there are no parts, or none for the first rollout.
    """

    def __init__(self, parts: dict[str, PromptPart]) -> None:
        if not parts:
            raise InputError("data.train: PromptMix needs at least one part")
        if all(part.from_rollout for part in parts.values()):
            raise InputError("data.train: no part of PromptMix has from_rollout 0; the first rollout would be empty")
        self.parts = parts
        self.sizes: dict[str, int] = {}
        """Prompts of each part, once they are loaded."""

    def load(self) -> list[Prompt]:
        """The prompts of all parts, part by part.

        Raises:
            InputError: If a part is empty, or its source cannot be read.
        """
        found = {name: part.load() for name, part in self.parts.items()}
        for name, prompts in found.items():
            if not prompts:
                raise InputError(f"data.train: part {name!r} has no prompts; check its source and kinds")
        self.sizes = {name: len(prompts) for name, prompts in found.items()}
        return [prompt for prompts in found.values() for prompt in prompts]

    def settings(self) -> dict[str, dict[str, object]]:
        """How the parts are mixed, as plain values."""
        return {name: {"share": part.share, "from_rollout": part.from_rollout} for name, part in self.parts.items()}

    def sampler(self, per_rollout: int, seed: int, shuffle: bool) -> "MixSampler":
        """Deals the prompts, which must be loaded."""
        return MixSampler(self.parts, self.sizes, per_rollout, seed, shuffle)


@dataclass(frozen=True)
class _Deal:
    """How a part is dealt in a span of rollouts."""

    name: str
    offset: int
    """Row number of the part's first prompt."""
    sampler: RolloutSampler


class MixSampler:
    """Deals row numbers of parts that lie one after the other; as ``RolloutSampler``, a function of the index alone.

    Args:
        parts: By name, with share and first rollout.
        sizes: Prompts of each.
        per_rollout: Prompts in each rollout.
        seed: Of all orders.
        shuffle: False deals each part in its own order.

    Raises:
        InputError: If a part's share of a rollout is more than it has, or none.
    """

    def __init__(
        self, parts: Mapping[str, PromptPart], sizes: Mapping[str, int], per_rollout: int, seed: int, shuffle: bool
    ) -> None:
        self.starts = sorted({part.from_rollout for part in parts.values()})
        self._spans = [self._span(start, parts, sizes, per_rollout, seed, shuffle) for start in self.starts]

    @staticmethod
    def _span(
        start: int,
        parts: Mapping[str, PromptPart],
        sizes: Mapping[str, int],
        per_rollout: int,
        seed: int,
        shuffle: bool,
    ) -> list[_Deal]:
        active = [name for name, part in parts.items() if part.from_rollout <= start]
        counts = dict(zip(active, shares_of([parts[name].share for name in active], per_rollout), strict=True))
        offsets = dict(zip(sizes, _sums_before(list(sizes.values())), strict=True))
        deals = []
        for name in active:
            if not 0 < counts[name] <= sizes[name]:
                raise InputError(
                    f"data.train: from rollout {start} on part {name!r} has {counts[name]} of the {per_rollout} "
                    f"prompts of a rollout, and {sizes[name]} in all; change its share, or prompts_per_rollout"
                )
            digest = hashlib.sha256(f"r1lit/mix/{seed}/{name}/{start}".encode()).digest()
            own = RolloutSampler(sizes[name], counts[name], int.from_bytes(digest[:6], "big"), shuffle)
            deals.append(_Deal(name, offsets[name], own))
        return deals

    @property
    def rollouts_per_epoch(self) -> int:
        """Rollouts after which each row was dealt at least once, counted from the first."""
        return self.starts[-1] + max(deal.sampler.rollouts_per_epoch for deal in self._spans[-1])

    def counts(self, index: int) -> dict[str, int]:
        """Prompts of each part in rollout ``index``."""
        return {deal.name: deal.sampler.per_rollout for deal in self._at(index)[1]}

    def rows_for_rollout(self, index: int) -> list[int]:
        """The rows of rollout ``index`` (from 0), part by part."""
        if index < 0:
            raise InputError(f"rollout index is {index}: it must be 0 or more")
        start, deals = self._at(index)
        return [deal.offset + row for deal in deals for row in deal.sampler.rows_for_rollout(index - start)]

    def more_rows(self, index: int, attempt: int) -> list[int]:
        """Further rows for rollout ``index``, of its parts in their shares; see ``RolloutSampler``."""
        start, deals = self._at(index)
        return [deal.offset + row for deal in deals for row in deal.sampler.more_rows(index - start, attempt)]

    def _at(self, index: int) -> tuple[int, list[_Deal]]:
        place = max(i for i, start in enumerate(self.starts) if start <= max(0, index))
        return self.starts[place], self._spans[place]


def _sums_before(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:i]) for i in range(len(sizes))]
