"""The sieve: each completion has one reason, and what is taken is few and various."""

from collections import Counter

import pytest

from r1lit.errors import InputError
from r1lit.rejection.completion_filter import CompletionFilter
from r1lit.rejection.duplicates import NearDuplicates
from r1lit.rejection.filters import Correct, Finished
from r1lit.types import Completion, Message, Prompt, ScoredCompletion

LONG = "we first take the seven and add the two which makes nine then we take five away so four is left over"


def group(*texts, prompt="p", question="?", accuracy=None, totals=None, finish=None):
    found = []
    for i, text in enumerate(texts):
        completion = Completion(
            Prompt(prompt, (Message("user", question),)), i, (), (), (), text, (finish or {}).get(i, "stop")
        )
        score = 1.0 if accuracy is None else accuracy[i]
        found.append(ScoredCompletion(completion, {"accuracy": score}, 1.0 if totals is None else totals[i]))
    return found


def test_the_first_filter_that_fails_is_the_reason():
    sieve = CompletionFilter([Finished(), Correct()])
    candidates = group("a", "b", "c", "d", accuracy=[0, 0, 1, 1], finish={0: "length"}, totals=[1, 1, 1, None])
    assert sieve.sort_out(candidates) == ["truncated", "incorrect", None, "unscored"]


def test_counts_add_up_and_name_every_filter():
    sieve = CompletionFilter([Finished(), Correct()], keep_per_prompt=1, near_duplicates=NearDuplicates())
    reasons = Counter(sieve.sort_out(group("a", "a", "b", "c", accuracy=[1, 1, 1, 0])))
    counts = sieve.counted(reasons)
    assert list(counts) == ["unscored", "truncated", "incorrect", "near_duplicate", "surplus", "kept"]
    assert sum(counts.values()) == 4
    assert counts["truncated"] == 0


@pytest.mark.parametrize(("prefer", "kept"), [("first", {0, 1}), ("shortest", {2, 3})], ids=["first", "shortest"])
def test_preference(prefer, kept):
    reasons = CompletionFilter([], 2, prefer).sort_out(group("dddd d", "ccccc", "a", "bb"))
    assert {i for i, reason in enumerate(reasons) if reason is None} == kept
    assert set(reasons) == {None, "surplus"}


def test_a_random_preference_is_fixed_by_seed_and_prompt():
    def chosen(seed, prompt):
        reasons = CompletionFilter([], 1, "random", seed=seed).sort_out(group(*"abcdefgh", prompt=prompt))
        return reasons.index(None)

    assert chosen(0, "p") == chosen(0, "p")
    picks = [chosen(seed, prompt) for seed in range(4) for prompt in "pqrs"]
    assert len(set(picks)) > 3


def test_near_duplicates_do_not_take_the_place_of_others():
    texts = (LONG, LONG + ".", "quite another way to say what there is to say about it")
    reasons = CompletionFilter([], 2, near_duplicates=NearDuplicates(over="prompt")).sort_out(group(*texts))
    assert reasons == [None, "near_duplicate", None]


def test_near_duplicates_over_prompts_compare_questions_too():
    sieve = CompletionFilter([], near_duplicates=NearDuplicates())
    assert sieve.sort_out(group(LONG, prompt="p", question="what is seven plus two minus five")) == [None]
    assert sieve.sort_out(group(LONG, prompt="q", question="what is seven plus two minus five")) == ["near_duplicate"]
    other = "how many sheep are on the meadow when five of nine have left it for the night and no other came"
    assert sieve.sort_out(group(LONG, prompt="r", question=other)) == [None]
    sieve.reset()
    assert sieve.sort_out(group(LONG, prompt="q", question="what is seven plus two minus five")) == [None]


def test_dropped_completions_do_not_count_as_seen():
    sieve = CompletionFilter([Correct()], near_duplicates=NearDuplicates())
    assert sieve.sort_out(group(LONG, accuracy=[0])) == ["incorrect"]
    assert sieve.sort_out(group(LONG, prompt="q")) == [None]


def test_bad_settings():
    with pytest.raises(InputError, match="'incorrect'"):
        CompletionFilter([Correct(), Correct("format")])
    CompletionFilter([Correct(), Correct("format", name="badly_formed")])
    with pytest.raises(InputError, match="'surplus'"):
        CompletionFilter([Correct(name="surplus")])
    with pytest.raises(InputError, match="keep_per_prompt is 0"):
        CompletionFilter([], 0)
