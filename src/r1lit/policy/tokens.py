"""Tokens that begin, end and pad a text: which they are, that they are there, and that they are not the same."""

import logging
import re

from tokenizers.processors import Sequence, TemplateProcessing
from transformers import GenerationConfig, PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.policy.templates import apply_chat
from r1lit.types import Message

log = logging.getLogger(__name__)
_PAD_LIKE = re.compile(r"pad", re.IGNORECASE)
_SPARE_LIKE = re.compile(r"reserved|unused|dummy|extra_id", re.IGNORECASE)
_END_LIKE = re.compile(r"</s>|end|eot|eos|eom|stop", re.IGNORECASE)
_THOUGHT_TAGS = frozenset({"<think>", "</think>", "<answer>", "</answer>"})
_NEW_PAD = "<|pad|>"


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Refuses a tokenizer that a model must not be trained with.

    Where pad and eos are one token, training masks the end of every answer and the model never learns to stop.

    Raises:
        InputError: If there is no eos or pad token, or they are the same.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(f"no eos token in {name}: set eos_token in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        raise InputError(f"no pad token in {name}: set pad_token in its tokenizer_config.json")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise InputError(
            f"pad == eos in {name}: both are {tokenizer.eos_token}; set another pad_token in its tokenizer_config.json"
        )


def ensure_bos(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Makes the tokenizer begin every plain text with its bos token, for models that were trained with one.

    A conversion may lose it (some releases of transformers do for GGUF files), and the model is then far off: Gemma 3
    goes from 4.0 to 9.7 nats a token.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)  # tokenizers in Python have none
    if backend is None or tokenizer.bos_token_id is None or tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        return
    bos = str(tokenizer.bos_token)
    first = TemplateProcessing(f"{bos} $A", f"{bos} $A {bos} $B", [(bos, tokenizer.bos_token_id)])
    own = backend.post_processor
    backend.post_processor = first if own is None else Sequence([own, first])
    log.warning(
        "%s: its tokenizer left out %s, which the model was trained with; every text now begins with it", name, bos
    )


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that decoding leaves out: all special tokens but think and answer tags, which rewards must see."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    kept = {i for i in added | set(tokenizer.all_special_ids) if tokenizer.convert_ids_to_tokens(i) in _THOUGHT_TAGS}
    return frozenset((added | set(tokenizer.all_special_ids)) - kept)


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase, name: str, eos_ids: tuple[int, ...]) -> None:
    """Gives the tokenizer a pad token that ends nothing.

    A pad token that is also eos is replaced by another special token of the vocabulary: one called pad, else a
    reserved one, else unk, else one that the chat template does not use. Where there is no pad token at all and none
    of these, ``<|pad|>`` is added.

    Raises:
        InputError: If pad is eos and there is nothing to replace it with.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in eos_ids:
        return check_tokenizer(tokenizer, name)
    candidate = _spare_token(tokenizer, eos_ids)
    if candidate is not None:
        tokenizer.pad_token = candidate
    elif tokenizer.pad_token_id is None:
        tokenizer.add_special_tokens({"pad_token": _NEW_PAD})
    return check_tokenizer(tokenizer, name)


def _spare_token(tokenizer: PreTrainedTokenizerBase, eos_ids: tuple[int, ...]) -> str | None:
    template = str(tokenizer.chat_template or "")
    taken = {*eos_ids, tokenizer.bos_token_id}
    tokens = {i: str(tokenizer.convert_ids_to_tokens(i)) for i in sorted(special_ids(tokenizer) - taken)}
    spare = [text for text in tokens.values() if text not in template and not _END_LIKE.search(text)]
    ranked = [text for text in spare if _PAD_LIKE.search(text)]
    ranked += [text for text in spare if _SPARE_LIKE.search(text)]
    ranked += [text for text in spare if text == tokenizer.unk_token]
    return next(iter(ranked + spare), None)


def find_eos_ids(tokenizer: PreTrainedTokenizerBase, generation: GenerationConfig, *, chat: bool) -> tuple[int, ...]:
    """All tokens that end a completion, in ascending order.

    They are those of the generation config, the tokenizer's, and, where ``chat``, the special token that the chat
    template writes after an assistant's turn (a base model's own eos is often another one): its end, or, where the
    template writes none, the mark of the next role.
    """
    configured = generation.eos_token_id
    ids = set(configured if isinstance(configured, list) else [configured])
    ids.add(tokenizer.eos_token_id)
    if chat and tokenizer.chat_template:
        marker = "0123456789"
        turns = (Message("user", "a"), Message("assistant", marker), Message("user", "a"))
        for chat_so_far in (turns[:2], turns):
            tail = apply_chat(tokenizer, chat_so_far).rpartition(marker)[2].lstrip()
            first = tokenizer(tail, add_special_tokens=False)["input_ids"][:1]
            ids.update(i for i in first if i in special_ids(tokenizer))
    return tuple(sorted(i for i in ids if i is not None))
