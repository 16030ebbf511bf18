"""The policy: a transformers causal language model with its tokenizer, template, log-probs, sharding and saving."""

from r1lit.policy.logprobs import TokenLogprobs
from r1lit.policy.lora import LoraSettings
from r1lit.policy.packed import PackedBatch, Piece
from r1lit.policy.policy import Policy
from r1lit.policy.reward_model import RewardModel
from r1lit.policy.scorer import ModelScorer
from r1lit.policy.segments import Segment
from r1lit.policy.templates import PromptTemplate
from r1lit.policy.tokens import check_tokenizer

__all__ = [
    "LoraSettings",
    "ModelScorer",
    "PackedBatch",
    "Piece",
    "Policy",
    "PromptTemplate",
    "RewardModel",
    "Segment",
    "TokenLogprobs",
    "check_tokenizer",
]
