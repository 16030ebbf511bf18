"""A newborn of the tiny world: a tokenizer that knows the world's words, and a model that knows nothing.

    python -m r1lit.tiny_world.seed_model runs/tiny/newborn --layers 4

``make base`` then has it read the corpus.
"""

import random
from pathlib import Path

import torch
from jsonargparse import auto_cli
from transformers import LlamaConfig, LlamaForCausalLM

from r1lit.tiny_world.authors import Habits
from r1lit.tiny_world.documents import draw_document
from r1lit.tiny_world.tokenizer import train_tokenizer

TOKENIZER_DOCUMENTS = 20000
"""Documents that the tokenizer's merges are learnt from."""
CONTEXT = 640
NUMBERS = range(-38, 37)
"""What sums of the world's puzzles come to: each is one token."""
HEAD = 32
"""Width of a head: what attention kernels are made for begins here."""


def seed_model(
    folder: str, layers: int = 4, heads: int = 3, kv_heads: int = 1, vocabulary: int = 928, seed: int = 0
) -> None:
    """Writes a model with random weights and its tokenizer as a Hugging Face directory.

    Args:
        folder: Where to.
        layers: Decoder layers.
        heads: Of attention, each ``HEAD`` wide; the model is as wide as all of them.
        kv_heads: Of keys and values.
        vocabulary: Size of the tokenizer.
        seed: Of the weights.
    """
    rng = random.Random(1)  # the tokenizer is the same for all sizes and seeds
    documents = [draw_document(rng, Habits()) for _ in range(TOKENIZER_DOCUMENTS)]
    texts = [d.context + d.answer for d in documents] + ["".join(f" {number}" for number in NUMBERS)] * len(documents)
    tokenizer = train_tokenizer(texts, vocabulary)
    torch.manual_seed(seed)
    hidden = heads * HEAD
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=HEAD,
        intermediate_size=hidden * 8 // 3,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    auto_cli(seed_model)
