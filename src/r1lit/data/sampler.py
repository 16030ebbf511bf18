"""Which prompts belong to which rollout, as a pure function of the rollout's index."""

import random

from r1lit.errors import InputError


class RolloutSampler:
    """Deals ``size`` row numbers into rollouts of ``per_rollout``, reshuffled each epoch.

    The epochs form one endless stream, of which rollout k takes the positions ``[k * per_rollout, (k + 1) *
    per_rollout)``: what is left at the end of an epoch joins the start of the next one in a rollout, so no row is ever
    dropped and each epoch deals each row once. No row comes twice in one rollout.
    There is no state, so a resumed run needs the index alone.

    Args:
        size: Number of rows.
        per_rollout: Rows in each rollout.
        seed: With the epoch it fixes the order.
        shuffle: False deals every epoch in the rows' own order.

    Raises:
        InputError: If the seed is negative or ``per_rollout`` is not between 1 and ``size``.
    """

    def __init__(self, size: int, per_rollout: int, seed: int = 0, shuffle: bool = True) -> None:
        if seed < 0:
            raise InputError(f"seed is {seed}: it must be 0 or more")
        if per_rollout < 1:
            raise InputError(f"prompts_per_rollout is {per_rollout}: it must be 1 or more")
        if per_rollout > size:
            raise InputError(f"prompts_per_rollout is {per_rollout}, but there are only {size} training prompts")
        self.size = size
        self.per_rollout = per_rollout
        self.seed = seed
        self.shuffle = shuffle
        self._orders: dict[int, list[int]] = {}  # memo of the last two epochs

    @property
    def rollouts_per_epoch(self) -> int:
        """Rollouts after which each row was dealt at least once."""
        return -(-self.size // self.per_rollout)

    def rows_for_rollout(self, index: int) -> list[int]:
        """The rows of rollout ``index`` (from 0): ``per_rollout`` different row numbers."""
        if index < 0:
            raise InputError(f"rollout index is {index}: it must be 0 or more")
        epoch, offset = divmod(index * self.per_rollout, self.size)
        rows = self.order(epoch)[offset : offset + self.per_rollout]
        # per_rollout <= size, so a rollout spans two epochs at most.
        return rows + self.order(epoch + 1)[: self.per_rollout - len(rows)] if len(rows) < self.per_rollout else rows

    def more_rows(self, index: int, attempt: int) -> list[int]:
        """Further rows for rollout ``index``, for sampling that discards groups without a signal (DAPO, section 3.2).

        They are drawn beside the stream, which goes on unchanged: which rows a rollout starts with never depends on
        how many were discarded before.

        Args:
            index: The rollout.
            attempt: Counts the calls for one rollout, from 0.

        Returns:
            Up to ``per_rollout`` rows which neither the rollout nor an earlier attempt had; fewer, and at last none,
            when the data set is used up.
        """
        if attempt < 0:
            raise InputError(f"attempt is {attempt}: it must be 0 or more")
        taken = set(self.rows_for_rollout(index))
        others = [row for row in self._shuffled(f"more/{index}") if row not in taken]
        return others[attempt * self.per_rollout : (attempt + 1) * self.per_rollout]

    def order(self, epoch: int) -> list[int]:
        """All rows in the order in which ``epoch`` deals them."""
        if epoch not in self._orders:
            # The order depends on the epoch before where a rollout spans both: go back to an epoch that starts
            # a rollout, or to one already known.
            first = epoch
            while first not in self._orders and self._carried(first) and 2 * self.per_rollout > self.size:
                first -= 1
            for each in range(first, epoch + 1):
                if each not in self._orders:
                    self._orders[each] = self._order_after(each)
            self._orders = {e: o for e, o in self._orders.items() if e in (epoch - 1, epoch)}
        return self._orders[epoch]

    def _carried(self, epoch: int) -> int:
        """Rows of the epoch before that share a rollout with the first rows of ``epoch``."""
        return self.size * epoch % self.per_rollout

    def _order_after(self, epoch: int) -> list[int]:
        rows = self._shuffled(f"epoch/{epoch}")
        carried = self._carried(epoch)
        if not carried:
            return rows
        # With two rollouts or more in an epoch, moving rows at its start leaves its end as shuffled.
        before = self._orders.get(epoch - 1) or self._shuffled(f"epoch/{epoch - 1}")
        tail = set(before[-carried:])
        head = [row for row in rows if row not in tail][: self.per_rollout - carried]
        chosen = set(head)
        return head + [row for row in rows if row not in chosen]

    def _shuffled(self, purpose: str) -> list[int]:
        rows = list(range(self.size))
        if self.shuffle:
            # Python's generator, seeded by text, gives the same order on every platform and version.
            random.Random(f"r1lit/{self.seed}/{purpose}").shuffle(rows)
        return rows
