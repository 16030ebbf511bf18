import pytest
from tokenizers.processors import ByteLevel
from transformers import AutoTokenizer, GenerationConfig

from r1lit.errors import InputError
from r1lit.policy import check_tokenizer
from r1lit.policy.tokens import ensure_bos, ensure_pad_token, find_eos_ids, special_ids


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


@pytest.mark.parametrize("own", [None, ByteLevel(trim_offsets=False)])
def test_a_lost_bos_is_put_back_once_and_saved(tokenizer_of, own, tmp_path, caplog):
    tokenizer = tokenizer_of(["<|endoftext|>", "<s>", "<|pad|>"], bos_token="<s>")
    tokenizer.backend_tokenizer.post_processor = own
    plain = tokenizer("What is 1")["input_ids"]
    ensure_bos(tokenizer, "model-x")
    assert "model-x: its tokenizer left out <s>" in caplog.text
    assert tokenizer("What is 1")["input_ids"] == [1, *plain]
    assert tokenizer("What is 1", add_special_tokens=False)["input_ids"] == plain
    caplog.clear()
    ensure_bos(tokenizer, "model-x")
    assert tokenizer("What is 1")["input_ids"] == [1, *plain]
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("What is 1")["input_ids"] == [1, *plain]
    assert not caplog.text


def test_the_mark_of_the_next_role_ends_a_turn_without_an_end_of_its_own(tokenizer_of):
    tokenizer = tokenizer_of(["<|endoftext|>", "<|user|>", "<|assistant|>", "<|pad|>"])
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    assert find_eos_ids(tokenizer, GenerationConfig(), chat=True) == (0, 1)
