import pytest
from transformers import GenerationConfig

from r1lit.errors import InputError
from r1lit.policy import check_tokenizer
from r1lit.policy.tokens import ensure_pad_token, find_eos_ids, special_ids


def test_strict_check(tokenizer_of):
    check_tokenizer(tokenizer_of(), "model-x")
    with pytest.raises(InputError, match=r"pad == eos in model-x: both are <\|endoftext\|>"):
        check_tokenizer(tokenizer_of(pad_token="<|endoftext|>"), "model-x")
    with pytest.raises(InputError, match="no pad token in model-x"):
        check_tokenizer(tokenizer_of(pad_token=None), "model-x")
    with pytest.raises(InputError, match="no eos token in model-x"):
        check_tokenizer(tokenizer_of(eos_token=None), "model-x")


@pytest.mark.parametrize("pad", [None, "<|endoftext|>", "<|im_end|>"])
@pytest.mark.parametrize(
    ("spare", "roles", "chosen"),
    [
        (["<file>", "<unk>", "<|reserved_0|>", "<|fim_pad|>"], {"unk_token": "<unk>"}, "<|fim_pad|>"),
        (["<file>", "<unk>", "<|reserved_0|>"], {"unk_token": "<unk>"}, "<|reserved_0|>"),
        (["<file>", "<unk>"], {"unk_token": "<unk>"}, "<unk>"),
        (["<s>", "<|end_of_turn|>", "<file>"], {"bos_token": "<s>"}, "<file>"),
    ],
)
def test_pad_token_is_one_that_ends_nothing(tokenizer_of, pad, spare, roles, chosen):
    tokenizer = tokenizer_of(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *spare], pad_token=pad, **roles)
    size = len(tokenizer)
    ensure_pad_token(tokenizer, "model-x", (0, 2))
    assert tokenizer.pad_token == chosen
    assert len(tokenizer) == size


def test_good_pad_token_stays(tokenizer_of):
    tokenizer = tokenizer_of(["<|endoftext|>", "<|im_end|>", "<|pad|>", "<other_pad>"])
    ensure_pad_token(tokenizer, "model-x", (0, 1))
    assert tokenizer.pad_token == "<|pad|>"


def test_without_any_spare_token_one_is_added_or_the_model_refused(tokenizer_of):
    tokenizer = tokenizer_of(["<|endoftext|>"], pad_token=None, chat=False)
    size = len(tokenizer)
    ensure_pad_token(tokenizer, "model-x", (0,))
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|pad|>", size)
    with pytest.raises(InputError, match="pad == eos in model-x"):
        ensure_pad_token(tokenizer_of(["<|endoftext|>"], pad_token="<|endoftext|>"), "model-x", (0,))


def test_eos_ids_of_chat_models_hold_the_end_of_the_turn(tokenizer_of):
    tokenizer = tokenizer_of()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert find_eos_ids(tokenizer, GenerationConfig(eos_token_id=[7, 5]), chat=False) == (0, 5, 7)
    assert find_eos_ids(tokenizer, GenerationConfig(), chat=True) == (0, end)
    assert find_eos_ids(tokenizer, GenerationConfig(), chat=False) == (0,)


def test_think_tags_are_never_skipped(tokenizer_of):
    tokenizer = tokenizer_of(["<|endoftext|>", "<think>", "</think>", "<|pad|>"], chat=False)
    assert special_ids(tokenizer) == {0, 3}
