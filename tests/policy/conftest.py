"""Small real models with a tokenizer that is trained on the spot."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = ["What is 1 + 1? One and one is two.", "<think> let me see </think> <answer> 2 </answer>", "user assistant"]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "attention_dropout": 0.1,
}


def make_tokenizer(specials=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"), chat=True, **roles):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=list(specials), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    roles = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>"} | roles
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
    fast.chat_template = CHAT_TEMPLATE if chat else None
    return fast


def make_model(family, vocab_size, tied):
    torch.manual_seed(0)
    shared = SIZES | {"vocab_size": vocab_size, "tie_word_embeddings": tied, "eos_token_id": 0, "pad_token_id": 3}
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**shared))
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**shared))
    if family == "gpt2":  # absolute positions, module names of its own, dropout of 0.1 by default
        return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=128, **shared))
    extra = {"head_dim": 8, "final_logit_softcapping": 5.0, "sliding_window": 4, "query_pre_attn_scalar": 8}
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**shared, **extra, layer_types=kinds))


def write_model(folder, family="llama", tied=False, tokenizer=None):
    tokenizer = tokenizer or make_tokenizer()
    make_model(family, len(tokenizer), tied).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """Returns the directory of a model of the given family, written once."""
    written = {}

    def get(family="llama", tied=False):
        key = (family, tied)
        if key not in written:
            written[key] = write_model(tmp_path_factory.mktemp(f"{family}-{tied}"), family, tied)
        return written[key]

    return get


@pytest.fixture
def tokenizer_of():
    return make_tokenizer


@pytest.fixture
def write():
    return write_model
