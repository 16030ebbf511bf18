"""Near-duplicates: exact similarity within a prompt, MinHash over prompts."""

import random

import pytest

from r1lit.errors import InputError
from r1lit.rejection.duplicates import NearDuplicates, jaccard, shingles

WORDS = [f"word{i}" for i in range(400)]


def text_with(share, rng):
    """Two texts of 300 words that have about this Jaccard similarity of their single words."""
    same = round(300 * 2 * share / (1 + share))
    pool = rng.sample(WORDS, 400)
    others = [f"other{rng.random()}" for _ in range(300 - same)]
    return " ".join(pool[:300]), " ".join([*pool[:same], *others])


def test_jaccard():
    assert jaccard(shingles("a b c", 1), shingles("a b d", 1)) == 0.5
    assert jaccard(shingles("", 1), shingles("", 1)) == 1
    assert jaccard(shingles("A, b; c!", 5), shingles("a b c", 5)) == 1
    assert jaccard(shingles("1 + 2", 5), shingles("1 - 2", 5)) == 0


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_minhash_agrees_with_jaccard(threshold):
    rng = random.Random(0)
    right = {True: 0, False: 0}
    for trial in range(60):
        is_near = trial % 2 == 0
        index = NearDuplicates(threshold, size=1)
        first, second = text_with(min(1.0, threshold + 0.12) if is_near else threshold - 0.25, rng)
        near = jaccard(shingles(first, 1), shingles(second, 1)) >= threshold
        assert near == is_near
        index.add(first)
        right[is_near] += index.seen(second) == is_near
    assert right[False] == 30
    assert right[True] >= 28


def test_the_same_text_is_always_seen():
    rng = random.Random(1)
    for threshold in (0.5, 0.8, 0.95, 1.0):
        index = NearDuplicates(threshold)
        texts = [" ".join(rng.sample(WORDS, rng.randint(1, 40))) for _ in range(50)]
        for text in texts:
            index.add(text)
        assert all(index.seen(text.upper()) for text in texts)
        assert not index.seen(" ".join(f"new{i}" for i in range(30)))


def test_within():
    rules = NearDuplicates(0.9, size=2)
    assert rules.within("a b c", ["x y z", "A b c."])
    assert not rules.within("a b c", ["a b d"])
    assert not rules.within("a b c", [])


def test_over_prompt_sees_no_others():
    index = NearDuplicates(over="prompt")
    index.add("the very same text in all its length")
    assert not index.seen("the very same text in all its length")


@pytest.mark.parametrize("wrong", [{"threshold": 0.4}, {"threshold": 1.1}, {"size": 0}, {"over": "none"}])
def test_bad_settings(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        NearDuplicates(**wrong)
