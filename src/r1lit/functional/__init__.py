"""Pure tensor maths of the recipe: no Lightning, no transformers."""

from r1lit.functional.advantages import group_advantages, rloo_advantages
from r1lit.functional.estimators import Interval, bootstrap_interval, cons_at_k, pass_at_k
from r1lit.functional.logprobs import chunked_logprobs, entropy_from_logits, logprobs_from_logits
from r1lit.functional.losses import (
    LossOutput,
    PolicyLoss,
    cispo_loss,
    grpo_loss,
    gspo_loss,
    k3_kl,
    loss_normalizer,
    reinforce_loss,
)
from r1lit.functional.sampling import row_key, sample_tokens, uniforms
from r1lit.functional.shaping import overlong_penalty

__all__ = [
    "Interval",
    "LossOutput",
    "PolicyLoss",
    "bootstrap_interval",
    "chunked_logprobs",
    "cispo_loss",
    "cons_at_k",
    "entropy_from_logits",
    "group_advantages",
    "grpo_loss",
    "gspo_loss",
    "k3_kl",
    "logprobs_from_logits",
    "loss_normalizer",
    "overlong_penalty",
    "pass_at_k",
    "reinforce_loss",
    "rloo_advantages",
    "row_key",
    "sample_tokens",
    "uniforms",
]
