"""Sorts out a prompt's completions: filters first, then a few of what is left, none like another."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from r1lit.errors import InputError
from r1lit.rejection.duplicates import NearDuplicates
from r1lit.rejection.filters import Filter
from r1lit.types import ScoredCompletion

UNSCORED = "unscored"
NEAR_DUPLICATE = "near_duplicate"
SURPLUS = "surplus"
Preference = Literal["first", "shortest", "random"]


class CompletionFilter:
    """Says of each completion why it is dropped, and counts.

    The first filter that a completion fails is the reason; so each completion is counted once. Those that pass are
    taken in the order of preference, without near-duplicates of what was taken before, until there are enough.

    Args:
        filters: In order, with distinct names.
        keep_per_prompt: Completions kept of a prompt at most; None keeps all that pass.
        prefer: Which to take first: by sample number (an even draw, as samples are alike), the fewest characters, or at
            random by seed and prompt id.
        near_duplicates: What counts as the same; None compares nothing.
        seed: Of a random preference.

    Raises:
        InputError: If two filters share a name, or a number is out of range.
    """

    def __init__(
        self,
        filters: Sequence[Filter],
        keep_per_prompt: int | None = None,
        prefer: Preference = "first",
        near_duplicates: NearDuplicates | None = None,
        seed: int = 0,
    ) -> None:
        names = [rule.name for rule in filters]
        for name in (*names, UNSCORED, NEAR_DUPLICATE, SURPLUS):
            if (*names, UNSCORED, NEAR_DUPLICATE, SURPLUS).count(name) > 1:
                raise InputError(f"two filters are named {name!r}; give each its own name")
        if keep_per_prompt is not None and keep_per_prompt < 1:
            raise InputError(f"keep_per_prompt is {keep_per_prompt}; give at least 1, or null to keep all")
        self.filters, self.keep_per_prompt, self.prefer = filters, keep_per_prompt, prefer
        self.near_duplicates, self.seed = near_duplicates, seed
        self.reset()

    def reset(self) -> None:
        """Forgets what was taken."""
        if self.near_duplicates is not None:
            self.near_duplicates.reset()

    def sort_out(self, group: Sequence[ScoredCompletion]) -> list[str | None]:
        """The reasons why completions of one prompt are dropped, in order; None for those that are kept.

        Groups must come in the same order in every run, since near-duplicates are judged by what came before.
        """
        reasons = [self.failed(candidate) for candidate in group]
        taken: list[str] = []
        for place in self._by_preference(group, [i for i, reason in enumerate(reasons) if reason is None]):
            completion = group[place].completion
            whole = f"{completion.prompt.question}\n{completion.text}"
            if self.keep_per_prompt is not None and len(taken) == self.keep_per_prompt:
                reasons[place] = SURPLUS
            elif self.near_duplicates is not None and (
                self.near_duplicates.within(completion.text, taken) or self.near_duplicates.seen(whole)
            ):
                reasons[place] = NEAR_DUPLICATE
            else:
                taken.append(completion.text)
        if self.near_duplicates is not None:
            for text in taken:  # only now: questions alone would make completions of one prompt look alike
                self.near_duplicates.add(f"{group[0].completion.prompt.question}\n{text}")
        return reasons

    def failed(self, candidate: ScoredCompletion) -> str | None:
        """The first filter that a candidate fails; None if it passes all."""
        if candidate.total is None:
            return UNSCORED
        return next((rule.name for rule in self.filters if not rule.keeps(candidate)), None)

    def _by_preference(self, group: Sequence[ScoredCompletion], places: list[int]) -> list[int]:
        def key(place: int) -> Any:
            completion = group[place].completion
            if self.prefer == "random":
                draw = random.Random(f"r1lit/keep/{self.seed}/{completion.prompt.id}/{completion.sample}")
                return draw.random(), completion.sample
            return (len(completion.text) if self.prefer == "shortest" else 0), completion.sample

        return sorted(places, key=key)

    def counted(self, reasons: Counter[str | None]) -> dict[str, int]:
        """Counts by reason, every filter with its own, in order; with ``kept`` they add up to what was sampled."""
        names = [UNSCORED, *(rule.name for rule in self.filters)]
        if self.near_duplicates is not None:
            names.append(NEAR_DUPLICATE)
        if self.keep_per_prompt is not None:
            names.append(SURPLUS)
        others = sorted(name for name in reasons if name is not None and name not in names)
        return {name: reasons[name] for name in (*names, *others)} | {"kept": reasons[None]}
