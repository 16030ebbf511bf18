"""From hidden states to logits, model family by model family."""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

_TOKENS = "r1lit_tokens"


def set_vocabulary(lm: PreTrainedModel, tokens: int) -> None:
    """Tells :func:`output_head` how many tokens the model's tokenizer has, where the model has rows for more.

    Qwen2.5 has 151,936 rows and more for 151,665 tokens.
    """
    setattr(lm, _TOKENS, tokens if tokens < lm.config.get_text_config().vocab_size else None)


def vocabulary_of(lm: PreTrainedModel) -> int | None:
    """What :func:`set_vocabulary` said; None where the model has no rows beyond it."""
    tokens: int | None = getattr(lm, _TOKENS, None)
    return tokens


def output_head(lm: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """The function that maps hidden states [N, H] to logits [N, V] exactly as the model's own forward does.

    Where the model is padded beyond its tokenizer (see :func:`set_vocabulary`), V is the number of tokens: what stands
    for none can neither be sampled nor take probability from the others.

    Covers a plain linear head, Gemma's soft cap, Cohere's and Granite's scales, and Falcon-H1's multiplier;
    :func:`head_error` tells whether that is all a model does.
    """
    config = lm.config.get_text_config()
    family = config.model_type
    head = lm.get_output_embeddings()
    cap: float | None = getattr(config, "final_logit_softcapping", None)  # only some families have the field
    tokens = vocabulary_of(lm)
    scale = 1.0
    if family.startswith("cohere"):
        scale = config.logit_scale
    elif family.startswith("granite"):
        scale = 1.0 / config.logits_scaling
    elif family.startswith("falcon_h1"):
        scale = config.lm_head_multiplier

    def logits(hidden: Tensor) -> Tensor:
        out: Tensor = head(hidden)[..., :tokens]
        if scale != 1.0:
            out = out * scale
        return out if cap is None else torch.tanh(out / cap) * cap

    return logits


@torch.no_grad()
def head_error(lm: PreTrainedModel) -> float:
    """Largest difference between :func:`output_head` and the model's own logits, relative to the largest logit."""
    ids = torch.tensor([[1, 0]], device=lm.device)
    own = lm(input_ids=ids, use_cache=False).logits.float()
    hidden = lm.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    ours = output_head(lm)(hidden).float()
    own = own[..., : ours.shape[-1]]
    return float((own - ours).abs().max() / own.abs().max().clamp_min(1e-6))
