"""The policy: a transformers causal language model with its tokenizer, template, log-probs, sharding and saving."""

from r1lit.policy.policy import Policy, TokenLogprobs
from r1lit.policy.templates import PromptTemplate
from r1lit.policy.tokens import check_tokenizer

__all__ = ["Policy", "PromptTemplate", "TokenLogprobs", "check_tokenizer"]
