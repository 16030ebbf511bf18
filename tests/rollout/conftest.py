"""Small real models that end often, and the questions put to them."""

import copy

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from r1lit.policy import Policy
from r1lit.types import Message, Prompt

TEXTS = ["What is 1 + 1? One and one is two.", "<think> let me see </think> <answer> 2 </answer>", "Aber nein, größer!"]
CONTEXT = 128
ENDS = list(range(10, 290, 14))  # 20 of about 300 tokens, so that rows end early, each at its own time
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
}


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<|end|>", "<|pad|>", "<|other|>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>", additional_special_tokens=["<|other|>"]
    )


def make_model(family, size):
    torch.manual_seed(0)
    shape = SHAPE | {"vocab_size": size}
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape))
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**shape))
    if family == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=8))
    # A window of 4 is shorter than every prompt here, so that it ends in the prompt, at its end, and after it.
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    if family == "qwen2-window":
        return Qwen2ForCausalLM(Qwen2Config(**shape, use_sliding_window=True, sliding_window=4, layer_types=kinds))
    window = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4, "layer_types": kinds}
    return Gemma3ForCausalLM(Gemma3TextConfig(**shape, **window))


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """Returns the directory of a model of the given family; ``ends`` says whether it has many end tokens."""
    written = {}

    def get(family="llama", ends=False):
        if (family, ends) not in written:
            folder = tmp_path_factory.mktemp(f"{family}-{ends}")
            tokenizer = make_tokenizer()
            model = make_model(family, len(tokenizer))
            # What a published model may come with; no engine may follow it.
            model.generation_config.repetition_penalty = 1.5
            if ends:
                model.generation_config.eos_token_id = ENDS
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            written[family, ends] = str(folder)
        return written[family, ends]

    return get


@pytest.fixture(scope="session")
def built(model_dir):
    policies = {}

    def get(family, ends, double):
        key = (family, ends, double)
        if key not in policies:
            policy = Policy.from_pretrained(model_dir(family, ends), template="{question}")
            policies[key] = policy.double() if double else policy
        return policies[key]

    return get


@pytest.fixture
def make_policy(built):
    """Returns a policy of its own for the test, to do with as it likes."""

    def get(family="llama", ends=False, double=True):
        return copy.deepcopy(built(family, ends, double))

    return get


@pytest.fixture(scope="session")
def prompts():
    """Prompts of 5 to 60 tokens or so."""
    questions = [
        "What is 1?",
        "What is 1 + 1? One and one is two. But what is one and two, and what is three and four? Let me see!",
        "Let me see",
        "Aber nein, größer! 12345",
        "One and one is two. <think> let me see </think>",
    ]
    return tuple(Prompt(f"q{i}", (Message("user", text),)) for i, text in enumerate(questions))
