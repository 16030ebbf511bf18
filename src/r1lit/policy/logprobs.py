"""Log-probabilities of tokens under a causal language model: of padded rows and of packed ones.

Hidden states of the positions before targets alone go through the head, a chunk at a time.
"""

from typing import NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from r1lit.errors import InputError
from r1lit.functional.logprobs import chunked_logprobs
from r1lit.policy.heads import output_head
from r1lit.policy.packed import PackedBatch
from r1lit.policy.segments import segment_attention, take_rows, takes_segments


class TokenLogprobs(NamedTuple):
    """Log-probabilities of target tokens."""

    logprobs: Tensor
    """[B, T], or [T] of a packed row, float32, 0 outside the target mask."""
    entropy: Tensor | None
    """The same shape, float32 in nats, 0 outside the target mask; None where it was not asked for."""


def padded_logprobs(
    lm: PreTrainedModel,
    chunk_size: int,
    input_ids: Tensor,
    attention_mask: Tensor,
    target_mask: Tensor,
    temperature: float = 1.0,
    with_entropy: bool = False,
) -> TokenLogprobs:
    """See :meth:`Policy.token_logprobs`."""
    wanted = padded_states(lm, input_ids, attention_mask, target_mask)
    return _through_head(lm, chunk_size, wanted, input_ids, target_mask, temperature, with_entropy)


def packed_logprobs(
    lm: PreTrainedModel, chunk_size: int, batch: PackedBatch, temperature: float = 1.0, with_entropy: bool = False
) -> TokenLogprobs:
    """See :meth:`Policy.packed_logprobs`.

    Raises:
        InputError: As :func:`packed_states`.
    """
    wanted = packed_states(lm, batch)
    return _through_head(lm, chunk_size, wanted, batch.input_ids, batch.target_mask, temperature, with_entropy)


def padded_states(lm: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, target_mask: Tensor) -> Tensor:
    """Hidden states [N, H] of the positions that predict the targets of padded rows [B, T], in the targets' order.

    Raises:
        ValueError: If ``target_mask`` asks for the first token.
    """
    if bool(target_mask[:, 0].any()):
        raise ValueError("target_mask: the first token of a row has no log-probability")
    hidden: Tensor = lm.get_decoder()(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=(attention_mask.long().cumsum(-1) - 1).clamp_min(0),
        use_cache=False,
    ).last_hidden_state  # [B, T, H]
    return hidden[:, :-1][target_mask[:, 1:]]  # position t - 1 predicts token t


def packed_states(lm: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Hidden states [N, H] of the positions that predict the targets of a packed row, in the targets' order.

    Raises:
        InputError: If a model that looks as if it kept the segments of a row apart does not.
    """
    if not takes_segments(lm):  # by way of padded rows, each segment behind a copy of its prefix
        return padded_states(lm, *batch.unpacked(lm.config.get_text_config().pad_token_id or 0))
    attention = batch.attention
    seen = attention.layers
    with segment_attention(lm):
        hidden = lm.get_decoder()(
            input_ids=batch.input_ids[None],
            position_ids=batch.position_ids[None],
            use_cache=False,
            segments=attention,
        ).last_hidden_state[0]  # [T, H]
    seen, layers = attention.layers - seen, lm.config.get_text_config().num_hidden_layers
    if seen != layers:
        raise InputError(
            f"{lm.config.model_type}: {seen} of {layers} layers keep the texts of a packed row apart; "
            "set policy.attn_implementation to eager, which computes padded rows"
        )
    return take_rows(hidden, batch.sources)


def _through_head(
    lm: PreTrainedModel,
    chunk_size: int,
    hidden: Tensor,
    input_ids: Tensor,
    target_mask: Tensor,
    temperature: float,
    with_entropy: bool,
) -> TokenLogprobs:
    """From hidden states [N, H], in the order of the targets, to values in the shape of ``target_mask``."""
    logprobs, entropy = chunked_logprobs(
        hidden, input_ids[target_mask], output_head(lm), temperature, chunk_size, with_entropy
    )
    return TokenLogprobs(_scatter(logprobs, target_mask), None if entropy is None else _scatter(entropy, target_mask))


def _scatter(values: Tensor, mask: Tensor) -> Tensor:
    """Puts values [N] where ``mask`` is true, row by row, and 0 elsewhere, in the shape of ``mask``."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
