"""Reward models: a causal language model with a scalar head (paper, 3.1), to train and to score with.

On disk, a reward model is a plain ``AutoModelForSequenceClassification`` directory with one label. Ours add to the
configuration: ``r1lit_reads`` and ``r1lit_template`` (what is read of a reply, and how it is rendered), ``r1lit_loss``,
``r1lit_mean`` and ``r1lit_std`` (of the scores on held-out data), and ``r1lit_vocabulary`` (a hash).
"""

import copy
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.policy.backbone import Backbone
from r1lit.policy.classifiers import base_config, load_classifier
from r1lit.policy.loading import load_tokenizer, resolve_dtype, resolve_source, training_config
from r1lit.policy.lora import LoraSettings, add_adapters, start_adapters
from r1lit.policy.reward_text import Reads, RewardEncoder, vocabulary_hash
from r1lit.policy.saving import save_directory
from r1lit.policy.scorer import ModelScorer
from r1lit.policy.sharding import decoder_blocks, shard_module
from r1lit.policy.tokens import ensure_pad_token
from r1lit.policy.weights import (
    copy_into,
    fill_from_source,
    is_adapter,
    parameters_on_meta,
)
from r1lit.types import Message

__all__ = ["ModelScorer", "RewardModel"]


class RewardModel(Backbone):
    """A transformers model for sequence classification with one label, made from a causal language model.

    The score is that of the last token, as transformers takes it. Construction, building, sharding and loading are
    those of :class:`~r1lit.policy.policy.Policy`. Dropout is off.

    Args:
        init_from: A causal language model in any form that ``Policy`` takes, whose head is replaced by a new one near
            zero; or a reward model, to go on with.
        reads: ``answer``: only what follows the reasoning (the paper's helpfulness); ``all``: both (its safety).
        template: ``chat``, ``turns``, or as in ``Policy``; None takes the tokenizer's own, or else ``turns``.
        dtype: Of the parameters: float32, bfloat16, or auto (as saved).
        attn_implementation: Passed to transformers.
        gradient_checkpointing: Recompute each decoder layer in the backward pass.
        lora: Train low-rank adapters, and the head; None trains all weights.
        seed: Of the head's first values.

    Raises:
        InputError: If the model cannot be had, is of a family without a scalar head, or does not fit the template.
    """

    def __init__(
        self,
        init_from: str,
        reads: Reads = "answer",
        template: str | None = None,
        dtype: str = "float32",
        attn_implementation: str = "sdpa",
        gradient_checkpointing: bool = False,
        lora: LoraSettings | None = None,
        seed: int = 0,
    ) -> None:
        """Reads configuration and tokenizer."""
        super().__init__(gradient_checkpointing)
        self.init_from = init_from
        self.attn_implementation = attn_implementation
        self.lora, self.seed = lora, seed
        self._source = resolve_source(init_from)
        self._source_config, self._has_head = base_config(self._source)
        self.dtype = resolve_dtype(dtype, self._source_config)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(self._source)
        eos = self.tokenizer.eos_token_id
        ensure_pad_token(self.tokenizer, init_from, () if eos is None else (eos,))
        self.pad_id = int(self.tokenizer.pad_token_id)
        template = RewardEncoder.template_for(self.tokenizer) if template is None else template
        self.encoder = RewardEncoder(self.tokenizer, reads, template, init_from)
        self.config = training_config(self._source_config, len(self.tokenizer), self.pad_id)
        self.config.num_labels = 1
        self.note(reads=reads, template=template, vocabulary=vocabulary_hash(self.tokenizer))
        if lora is not None:
            self.register_state_dict_post_hook(_leave_out_base)
            self.register_load_state_dict_post_hook(_expect_no_base)

    @classmethod
    def from_pretrained(cls, init_from: str, **kwargs: Any) -> Self:
        """Builds a reward model with its weights on the CPU; ``kwargs`` are those of the constructor."""
        model = cls(init_from, **kwargs)
        model.build()
        model.load_weights()
        return model

    # Construction

    def build(self, meta: bool = False) -> None:
        """Makes ``lm`` with parameters that hold nothing yet; with ``meta``, they take no memory either."""
        with parameters_on_meta():
            self.lm = AutoModelForSequenceClassification.from_config(
                copy.deepcopy(self.config), dtype=self.dtype, attn_implementation=self.attn_implementation
            )
            if self.lora is not None:
                base = cast(PreTrainedModel, self.lm.base_model)  # all but the head
                add_adapters(base, self.lora, reference=False)
        self._finish_build(meta)

    def load_weights(self) -> None:
        """Reads the weights from ``init_from``, as ``Policy.load_weights`` does, and starts head and adapters.

        Raises:
            InputError: If weights are missing or cannot be read.
            RuntimeError: If the parameters are still on the meta device.
        """
        self._begin_load()
        if self._has_head:
            fill_from_source(self.lm, self._source, self._source_config, load=load_classifier)
        else:
            fill_from_source(self.lm, self._source, self._source_config, new=self.head_names())
            self._start_head()
        if self.lora is not None:
            start_adapters(self.lm, self.lora)
        self.weights_loaded = True

    def _start_head(self) -> None:
        """Small random values, the same on every rank, so that scores begin near zero (Stiennon et al. 2020)."""
        params = dict(self.lm.named_parameters())
        for name in self.head_names():
            noise = torch.Generator().manual_seed(zlib.crc32(f"r1lit/head/{self.seed}/{name}".encode()))
            shape = params[name].shape
            copy_into(torch.randn(shape, generator=noise) / (shape[-1] + 1), params[name])

    def head_names(self) -> list[str]:
        """Names of the parameters that a language model does not have."""
        base = {id(param) for param in self.lm.base_model.parameters()}
        return [name for name, param in self.lm.named_parameters() if id(param) not in base]

    def shard(self, mesh: DeviceMesh, mp_policy: MixedPrecisionPolicy | None = None) -> None:
        """Applies FSDP2 to each decoder layer and to the rest, in place; see :func:`sharding.shard_module`."""
        shard_module(self, decoder_blocks(self.lm), mesh, mp_policy)

    # Scores

    def encode(self, messages: Sequence[Message], response: str) -> list[int]:
        """Token ids of a prompt and of what is read of a reply to it."""
        return self.encoder.encode(messages, response)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Scores [B] in float32 of rows [B, T] int64 padded on the right; the mask is 1 for tokens."""
        out = self.lm(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        scores: Tensor = out.logits[:, 0].float()
        return scores

    # Saving

    def note(self, **facts: str | float) -> None:
        """Writes facts on the model into its configuration, as ``r1lit_NAME``."""
        for config in (self.config, self.lm.config) if self.is_built else (self.config,):
            for name, value in facts.items():
                setattr(config, f"r1lit_{name}", value)

    def save_pretrained(self, directory: str | Path, adapter: bool = False) -> Path:
        """Writes a plain directory, atomically; all ranks must call it. Adapters are merged into the weights.

        Raises:
            InputError: If an adapter by itself is asked for, whose file would not hold the head.
        """
        if adapter:
            raise InputError("export.adapter: a reward model is exported whole, with its head; leave adapter out")
        return save_directory(self.lm, self.tokenizer, directory)


def _leave_out_base(model: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Keeps the weights that adapters stand on out of checkpoints: ``init_from`` has them."""
    assert isinstance(model, RewardModel)
    start, head = f"{prefix}lm.", {*model.head_names()}
    for name in [name for name in state if name.startswith(start)]:
        if not is_adapter(name) and name.removeprefix(start) not in head:
            del state[name]


def _expect_no_base(model: nn.Module, keys: Any) -> None:
    assert isinstance(model, RewardModel)
    head = {*model.head_names()}
    keys.missing_keys[:] = [
        name
        for name in keys.missing_keys
        if ".lm." not in f".{name}" or is_adapter(name) or f".{name}".partition(".lm.")[2] in head
    ]
