"""Near-duplicates: texts that share most of their short word sequences."""

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from r1lit.errors import InputError
from r1lit.rejection.ngrams import ngrams, text_hash, words

Shingles = frozenset[int]

_BANDS = {0.5: (32, 4), 0.8: (16, 8), 0.95: (8, 16)}
"""Bands and rows of 128 hashes by the least threshold they serve: a pair at the threshold shares a band with a
probability above 0.85."""
_HASHES = 128


def shingles(text: str, size: int) -> Shingles:
    """Hashes of a text's runs of ``size`` words; of the whole text where it is shorter."""
    return frozenset(text_hash(run) for run in ngrams(words(text), size))


def jaccard(a: Shingles, b: Shingles) -> float:
    """Shared part of two sets, in [0, 1]; 1 for two empty ones."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0


class NearDuplicates:
    """Finds texts that are nearly the same as one that was kept before.

    Within a prompt, completions are compared with each other by the exact Jaccard similarity of their shingles. Over
    prompts, question and completion together are compared by MinHash (Broder 1997) with locality-sensitive bands:
    memory is a kilobyte for each kept text, and a similarity is known to about 0.04.

    Args:
        threshold: Similarity from which on two texts are near-duplicates; 1 finds the same words only.
        size: Words in a shingle.
        over: ``all`` compares over all prompts, ``prompt`` within each only.

    Raises:
        InputError: If an argument is out of range.
    """

    def __init__(self, threshold: float = 0.8, size: int = 5, over: Literal["all", "prompt"] = "all") -> None:
        if not 0.5 <= threshold <= 1:
            raise InputError(f"near_duplicates.threshold is {threshold}; give 0.5 to 1")
        if size < 1:
            raise InputError(f"near_duplicates.size is {size}; give at least 1 word")
        if over not in ("all", "prompt"):
            raise InputError(f"near_duplicates.over is {over!r}; give 'all' or 'prompt'")
        self.threshold, self.size, self.over = threshold, size, over
        self.bands, self.rows = next(shape for least, shape in reversed(_BANDS.items()) if threshold >= least)
        # Multiply-shift hashing with odd multipliers, drawn by Python's generator: the same with every numpy.
        draw = random.Random("r1lit/minhash")
        self._factors = np.array([draw.getrandbits(64) | 1 for _ in range(_HASHES)], dtype=np.uint64)
        self._offsets = np.array([draw.getrandbits(64) for _ in range(_HASHES)], dtype=np.uint64)
        self.reset()

    def reset(self) -> None:
        """Forgets all texts."""
        self._signatures: list[NDArray[np.uint32]] = []
        self._buckets: dict[tuple[int, bytes], list[int]] = {}

    def within(self, text: str, kept: Sequence[str]) -> bool:
        """Whether a completion is nearly the same as one of the same prompt that was kept."""
        mine = shingles(text, self.size)
        return any(jaccard(mine, shingles(other, self.size)) >= self.threshold for other in kept)

    def seen(self, text: str) -> bool:
        """Whether a text is nearly the same as one that was added; never where only prompts are looked at."""
        if self.over == "prompt":
            return False
        signature = self._signature(text)
        places = {place for key in self._keys(signature) for place in self._buckets.get(key, ())}
        return any(float(np.mean(self._signatures[place] == signature)) >= self.threshold for place in places)

    def add(self, text: str) -> None:
        """Takes note of a text that is kept."""
        if self.over == "prompt":
            return
        signature = self._signature(text)
        for key in self._keys(signature):
            self._buckets.setdefault(key, []).append(len(self._signatures))
        self._signatures.append(signature)

    def _signature(self, text: str) -> NDArray[np.uint32]:
        """The least of each hash over the shingles, [128]."""
        found = np.fromiter(shingles(text, self.size) or {0}, dtype=np.uint64)
        least = np.full(_HASHES, np.iinfo(np.uint32).max, dtype=np.uint32)
        for start in range(0, len(found), 4096):  # [shingles, 128] at a time: 4 MB
            part = found[start : start + 4096, None] * self._factors + self._offsets
            least = np.minimum(least, (part >> np.uint64(32)).astype(np.uint32).min(axis=0))
        return least

    def _keys(self, signature: NDArray[np.uint32]) -> list[tuple[int, bytes]]:
        cut = signature.reshape(self.bands, self.rows)
        return [(band, cut[band].tobytes()) for band in range(self.bands)]
