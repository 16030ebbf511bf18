"""Which row of which source stands where in the training stream, as a pure function of the place."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from r1lit.errors import InputError


class Place(NamedTuple):
    """A row of a source."""

    source: int
    row: int


class Mixture:
    """An endless stream of rows from several sources, mixed by weight and shuffled.

    An epoch has as many rows as all sources together. Without weights it deals each row once. With weights each source
    has its share of an epoch, to the row; a source with fewer rows than its share is dealt again from the start,
    reshuffled, and one with more goes on in the next epoch where it stopped, so no row of a source comes twice before
    each of its rows came once.

    There is no state: a resumed run, or another number of processes, needs the number of the batch alone. litdata's
    CombinedStreamingDataset mixes by weight too, but ends with its first exhausted source, has another order for each
    number of processes, and its position counts what was fetched, not what was trained on.

    Args:
        sizes: Rows of each source.
        weights: Of each source, relative to each other; all None for shares by size.
        seed: Of all orders.
        shuffle: False deals the sources one after the other, each in its own order.

    Raises:
        InputError: If a source has no rows, or some have weights and others none.
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float | None], seed: int = 0, shuffle: bool = True
    ) -> None:
        if not sizes or min(sizes) < 1:
            raise InputError("data.sources: a source without rows cannot be mixed in; leave it out")
        given = [weight for weight in weights if weight is not None]
        if given and len(given) < len(weights):
            raise InputError("data.sources: give a weight to every source, or to none")
        self.sizes = list(sizes)
        self.seed, self.shuffle = seed, shuffle
        self.rows_per_epoch = sum(sizes)
        self.shares = shares_of(given, self.rows_per_epoch) if given else self.sizes
        self._epochs: dict[int, list[Place]] = {}  # memo of the last two epochs
        self._orders: dict[tuple[int, int], list[int]] = {}

    def rows(self, start: int, count: int) -> list[Place]:
        """The rows from place ``start`` (from 0) of the stream on."""
        found: list[Place] = []
        while len(found) < count:
            epoch, offset = divmod(start + len(found), self.rows_per_epoch)
            found += self._epoch(epoch)[offset : offset + count - len(found)]
        return found

    def _epoch(self, epoch: int) -> list[Place]:
        if epoch not in self._epochs:
            sources = [source for source, share in enumerate(self.shares) for _ in range(share)]
            if self.shuffle:
                # Python's generator, seeded by text, gives the same order on every platform and version.
                random.Random(f"r1lit/mixture/{self.seed}/{epoch}").shuffle(sources)
            dealt = [share * epoch for share in self.shares]
            places = []
            for source in sources:
                places.append(Place(source, self._row(source, dealt[source])))
                dealt[source] += 1
            self._epochs[epoch] = places
            self._epochs = {e: p for e, p in self._epochs.items() if e in (epoch - 1, epoch)}
            self._orders.clear()
        return self._epochs[epoch]

    def _row(self, source: int, position: int) -> int:
        """The row at a position of a source's own stream."""
        turn, offset = divmod(position, self.sizes[source])
        if not self.shuffle:
            return offset
        if (source, turn) not in self._orders:
            order = list(range(self.sizes[source]))
            random.Random(f"r1lit/mixture/{self.seed}/{source}/{turn}").shuffle(order)
            self._orders[source, turn] = order
        return self._orders[source, turn][offset]


def shares_of(weights: Sequence[float], rows: int) -> list[int]:
    """Rows of each source in an epoch: proportional to the weights and summing to ``rows`` (largest remainders)."""
    exact = [weight / sum(weights) * rows for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: rows - sum(shares)]:
        shares[i] += 1
    return shares
