import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from r1lit.rollout.stopping import StopStrings


def first_stop(policy, ids, stop):
    """The number of tokens after which the decoded text holds a stop string, by decoding it all each time."""
    return next((n for n in range(1, len(ids) + 1) if any(s in policy.decode(ids[:n]) for s in stop)), None)


def found(policy, ids, stop):
    finder = StopStrings(policy, stop)
    return next((n for n in range(1, len(ids) + 1) if finder.completed_by(ids[:n])), None)


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("One and one is two. </answer> or not", ("</answer>",)),
        ("One and one is two", ("two",)),
        ("One and one is two", ("nowhere",)),
        ("nein, größer! und größer", ("größ",)),  # a character of two bytes, hence two tokens
        ("größer", ("ö",)),
        ("a 数学 b", ("学",)),
        ("a 😀 b", ("😀", "b")),
        ("One\n\nand one", ("\n\n",)),
        ("One and", (" ",)),
        ("x" * 60 + "a long one: " + "qz" * 20, ("z" + "qz" * 19,)),  # longer than any fixed number of tokens
        ("ab aab aaab", ("aaab", "b a")),
    ],
)
def test_finds_what_decoding_all_finds(text, stop, make_policy):
    policy = make_policy()
    ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert found(policy, ids, stop) == first_stop(policy, ids, stop)


def test_special_tokens_do_not_hide_a_stop_string(make_policy):
    policy = make_policy()
    other = policy.tokenizer.convert_tokens_to_ids("<|other|>")
    one, two = (policy.tokenizer(part, add_special_tokens=False)["input_ids"] for part in ("xx </ans", "wer> x"))
    ids = [*one, *[other] * 40, *two]
    assert policy.decode(ids) == "xx </answer> x"
    assert found(policy, ids, ("</answer>",)) == first_stop(policy, ids, ("</answer>",)) is not None


def test_only_tokens_with_a_last_character_are_looked_at(make_policy):
    policy = make_policy()
    finder = StopStrings(policy, ("</answer>",))
    (letter,) = policy.tokenizer("x", add_special_tokens=False)["input_ids"]
    (bracket,) = policy.tokenizer(">", add_special_tokens=False)["input_ids"]
    assert not finder.may_complete(letter)
    assert finder.may_complete(bracket)
    assert not StopStrings(policy, ()).may_complete(bracket)
    assert not finder.completed_by([])


def test_a_space_that_decoding_drops_at_the_start_counts(make_policy):
    policy = make_policy()
    tokenizer = Tokenizer(
        models.WordLevel({"<|end|>": 0, "\u2581One": 1, "\u2581and": 2, "\u2581two": 3}, unk_token="<|end|>")
    )
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    policy.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    policy._skipped_ids = frozenset({0})
    ids = policy.tokenizer("One and two", add_special_tokens=False)["input_ids"]
    assert policy.decode(ids) == "One and two"
    assert policy.decode(ids[1:2]) == "and"
    assert found(policy, ids, ("One ",)) == first_stop(policy, ids, ("One ",)) == 2
