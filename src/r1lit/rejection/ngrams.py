"""Texts as sequences of words, for comparing them: decontamination, near-duplicates, repetition."""

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b

# Scripts without spaces count by character. Signs of arithmetic stay: ``12 + 5`` and ``12 - 5`` are two questions.
_WORD = re.compile(
    r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e01-\u0e2e]"
    r"|[^\W_\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e01-\u0e2e]+"
    r"|[-+*/=<>^%×÷−√≤≥≠]"
)


def words(text: str) -> list[str]:
    """A text's words in lower case, without punctuation.

    A run of letters or digits is one word, each Han, kana or Thai character is one, and so is each sign of arithmetic.
    """
    return _WORD.findall(text.lower())


def ngrams(sequence: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """All runs of n words, in order; the whole sequence where it is shorter, nothing where it is empty."""
    if 0 < len(sequence) < n:
        yield tuple(sequence)
    for start in range(len(sequence) - n + 1):
        yield tuple(sequence[start : start + n])


def text_hash(sequence: Sequence[str]) -> int:
    """64 bits of a sequence of words; the same on every machine."""
    return int.from_bytes(blake2b("\0".join(sequence).encode(), digest_size=8).digest(), "little")
