"""Who decodes when: the rows that run, the prompts that they share, those that wait, and how many fit into memory.

Plain Python on purpose: no tensor is touched here. A *slot* is a place in the key-value cache; slots are counted from
0, and the ones in use stay together, so that attention reads one dense piece of the cache.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol, TypeVar

from torch import Tensor

from r1lit.errors import InputError
from r1lit.rollout.completion import Request

REFILL_SHARE = 1 / 8
"""While rows run, a new prompt waits until its whole group or this share of all rows finds room: computing one prompt
at a time would cost a pass over all weights for each."""
PREFILL_TOKENS = 8192
"""Prompts are computed together up to this many tokens, padding included."""


class _Slotted(Protocol):
    slot: int


Item = TypeVar("Item", bound=_Slotted)


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of the cache: up to ``rows`` slots of ``own`` tokens, and ``prompts`` slots of ``prefix`` tokens."""

    rows: int
    prompts: int
    own: int
    prefix: int


@dataclass(slots=True, eq=False)
class Group:
    """One prompt in the engine, and how far its samples have come."""

    request: Request
    keys: list[int]
    """Of each sample's noise."""
    started: int = 0
    """Samples that have got a row."""
    running: int = 0
    """Rows that have not finished."""
    slot: int = -1
    """Where the prompt's keys and values are."""
    logits: Tensor | None = None
    """[V] after the prompt: each sample's first token comes from these."""

    @property
    def unstarted(self) -> int:
        """Samples that wait for a row."""
        return len(self.keys) - self.started


@dataclass(slots=True, eq=False)
class Row:
    """One completion in the making."""

    group: Group
    sample: int
    key: int
    slot: int = -1
    """Where the keys and values of its own tokens are."""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Schedule:
    """Hands slots to prompts and their samples, first come, first served.

    ``rows`` and ``groups`` are lists by slot, where None is a gap: the next to start fills it, or
    :func:`close_gaps` does.
    """

    def __init__(self, groups: Sequence[Group], plan: Plan) -> None:
        self.plan = plan
        self.waiting = deque(groups)
        self.groups: list[Group | None] = []
        self.rows: list[Row | None] = []

    @property
    def running(self) -> int:
        """Rows that have not finished."""
        return sum(row is not None for row in self.rows)

    @property
    def unstarted(self) -> int:
        """Samples of computed prompts that wait for a row."""
        return sum(group.unstarted for group in self.groups if group is not None)

    @property
    def is_done(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self.waiting and all(group is None for group in self.groups)

    def next_groups(self) -> list[Group]:
        """Gives slots to the groups whose prompts are to be computed now, so that there are samples for free rows."""
        if not self.waiting:
            return []
        running = self.running
        free = self.plan.rows - running - self.unstarted
        places = self.plan.prompts - sum(group is not None for group in self.groups)
        chosen: list[Group] = []
        width = 0
        while self.waiting and free > 0 and len(chosen) < places:
            group = self.waiting[0]
            if not chosen and running and free < min(group.unstarted, ceil(REFILL_SHARE * self.plan.rows)):
                break
            width = max(width, len(group.request.prompt_ids))
            if chosen and width * (len(chosen) + 1) > PREFILL_TOKENS:
                break
            chosen.append(self.waiting.popleft())
            free -= group.unstarted
        fill_gaps(self.groups, chosen)
        return chosen

    def start_rows(self) -> list[Row]:
        """Gives free slots to samples whose prompt has been computed. Returns their rows."""
        if not self.unstarted:
            return []
        free = self.plan.rows - self.running
        fresh: list[Row] = []
        for group in self.groups:
            if group is not None:
                stop = min(len(group.keys), group.started + free - len(fresh))
                for index in range(group.started, stop):
                    fresh.append(Row(group, group.request.samples[index], group.keys[index]))
                group.running += stop - group.started
                group.started = stop
        fill_gaps(self.rows, fresh)
        return fresh

    def retire(self, row: Row) -> None:
        """Takes back the slot of a finished row, and that of its prompt if it was the last."""
        self.rows[row.slot] = None
        group = row.group
        group.running -= 1
        if not group.running and not group.unstarted:
            self.groups[group.slot] = None


def fill_gaps(items: list[Item | None], new: Sequence[Item]) -> None:
    """Puts new items into the gaps, then at the end, and tells them their slots."""
    gaps = [slot for slot, item in enumerate(items) if item is None][: len(new)]
    for index, item in enumerate(new):
        if index < len(gaps):
            item.slot = gaps[index]
            items[item.slot] = item
        else:
            item.slot = len(items)
            items.append(item)


def close_gaps(items: list[Item | None]) -> tuple[list[int], list[int]]:
    """Moves the last items into the gaps, so that the least has to be copied, and drops what is left at the end.

    Returns:
        The slots that items leave and those that they get instead; none is in both.
    """
    kept = [item for item in items if item is not None]
    gaps = [slot for slot in range(len(kept)) if items[slot] is None]
    sources = []
    for slot, item in zip(gaps, kept[len(kept) - len(gaps) :], strict=True):
        sources.append(item.slot)
        item.slot = slot
        items[slot] = item
    del items[len(kept) :]
    return sources, gaps


def plan_slots(
    requests: Sequence[Request], max_new_tokens: int, max_rows: int, bytes_per_token: int, memory_gb: float | None
) -> Plan:
    """The most rows that the memory holds even if every completion is as long as it may be.

    Prompts get twice the slots that full groups need, where memory allows: a prompt stays until its last sample ends,
    and the next ones shall not wait for that.

    Raises:
        InputError: If not even one completion fits.
    """
    longest = max(requests, key=lambda request: len(request.prompt_ids))
    prefix, samples = len(longest.prompt_ids), len(longest.samples)
    budget = None if memory_gb is None else int(memory_gb * 1e9 / bytes_per_token)
    for rows in range(min(max_rows, samples * len(requests)), 0, -1):
        least = min(len(requests), ceil(rows / samples))
        prompts = min(len(requests), 2 * least)
        if budget is not None:
            prompts = min(prompts, (budget - rows * max_new_tokens) // prefix)
        if prompts >= least:
            return Plan(rows, prompts, max_new_tokens, prefix)
    needed = (prefix + max_new_tokens) * bytes_per_token / 1e9
    raise InputError(
        f"engine.memory_gb is {memory_gb}; the cache of one completion of prompt {longest.prompt.id!r} ({prefix} "
        f"tokens, max_new_tokens={max_new_tokens}) takes {needed:.3g}: raise it to that, or lower max_new_tokens"
    )
