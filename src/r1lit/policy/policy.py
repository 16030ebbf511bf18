"""The policy: a causal language model that gives log-probabilities and travels as a Hugging Face directory."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.policy.backbone import Backbone
from r1lit.policy.heads import head_error, set_vocabulary
from r1lit.policy.loading import (
    load_config,
    load_generation_config,
    load_tokenizer,
    resolve_dtype,
    resolve_source,
    set_max_context,
    training_config,
)
from r1lit.policy.logprobs import TokenLogprobs, packed_logprobs, padded_logprobs
from r1lit.policy.lora import (
    REFERENCE,
    LoraSettings,
    add_adapters,
    copy_to_reference,
    merged,
    start_adapters,
    switched,
)
from r1lit.policy.packed import PackedBatch
from r1lit.policy.saving import save_directory
from r1lit.policy.sharding import decoder_blocks, reshard, shard_module, unsharded
from r1lit.policy.templates import PromptTemplate, with_chat_template
from r1lit.policy.tokens import ensure_pad_token, find_eos_ids, special_ids
from r1lit.policy.vocabulary import vocabulary_size
from r1lit.policy.weights import fill_from_source, is_adapter, parameters_on_meta
from r1lit.types import Prompt

_HEAD_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


class Policy(Backbone):
    """A transformers causal language model with its tokenizer and prompt template.

    Construction is cheap: configuration and tokenizer only. :meth:`build` makes ``lm``, on the meta device where the
    model is to be sharded first; :meth:`load_weights` fills it. In a notebook, :meth:`from_pretrained` does it all.

        policy.build(meta=True)          # configure_model
        policy.shard(mesh)
        policy.to_empty(device="cuda")   # a Lightning strategy does this
        policy.load_weights()            # on_fit_start

    Dropout is off everywhere: log-probabilities must be those of the distribution that is sampled from.

    Args:
        init_from: A directory, a hub id, a ``.gguf`` file or ``package:NAME/path/inside``.
        template: ``chat``, ``zero``, ``examples``, a text with ``{question}``, or the path of a ``.jinja`` file, which
            takes the place of the tokenizer's chat template.
        system: System message for ``chat``.
        prefill: How every answer begins, such as ``<think>`` and a newline.
        chat_template_kwargs: Values of variables that the chat template reads, such as ``enable_thinking: false``.
            They and the template are saved with the model.
        dtype: Of the parameters: float32, bfloat16, or auto (as saved).
        attn_implementation: Passed to transformers.
        gradient_checkpointing: Recompute each decoder layer in the backward pass.
        logprob_chunk_size: Positions whose logits exist at a time.
        lora: Train low-rank adapters and keep the model's own weights as they are; None trains all weights.
        max_context: Longest sequence, in tokens, other than the model's own configuration says: the distilled students
            read 32,768, but Qwen2.5-Math was trained on 4,096. Only for models with rotary positions, which know no
            last one; saved with the model.

    Raises:
        InputError: If the model cannot be had, is not a causal language model, or does not fit the template or
            ``max_context``, or if its pad token is its eos token and there is nothing to replace it with.
    """

    def __init__(
        self,
        init_from: str,
        template: str = "chat",
        system: str | None = None,
        prefill: str = "",
        dtype: str = "float32",
        attn_implementation: str = "sdpa",
        gradient_checkpointing: bool = False,
        logprob_chunk_size: int = 4096,
        lora: LoraSettings | None = None,
        max_context: int | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Reads configuration and tokenizer."""
        super().__init__(gradient_checkpointing)
        self.init_from = init_from
        self._given_template, self._chat_template_kwargs = template, chat_template_kwargs
        self.attn_implementation = attn_implementation
        self.logprob_chunk_size = logprob_chunk_size
        self.lora = lora
        self._given_context = max_context
        self.keeps_reference = False
        """With LoRA, whether ``build`` makes the adapter that :meth:`sync_reference` writes to."""
        self.reference_synced = False
        """Whether the reference policy is that adapter rather than the base."""
        self._source = resolve_source(init_from)
        self._source_config = load_config(self._source)
        self.dtype = resolve_dtype(dtype, self._source_config)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(self._source)
        template = with_chat_template(self.tokenizer, template, chat_template_kwargs)
        self.template = PromptTemplate(template, system, prefill)
        self.template.check(self.tokenizer, init_from)
        self.generation_config = load_generation_config(self._source, self._source_config)
        self.eos_ids = find_eos_ids(self.tokenizer, self.generation_config, chat=self.template.is_chat)
        ensure_pad_token(self.tokenizer, init_from, self.eos_ids)
        self.pad_id = int(self.tokenizer.pad_token_id)
        self.generation_config.eos_token_id = list(self.eos_ids)
        self.generation_config.pad_token_id = self.pad_id
        self.config = training_config(self._source_config, len(self.tokenizer), self.pad_id)
        if max_context is not None:
            set_max_context(self.config, max_context, init_from)
        self._skipped_ids = special_ids(self.tokenizer)
        self._is_gathered = False
        if lora is not None:
            self.register_state_dict_post_hook(_leave_out_base)
            self.register_load_state_dict_post_hook(_expect_no_base)

    @classmethod
    def from_pretrained(cls, init_from: str, **kwargs: Any) -> Self:
        """Builds a policy with its weights on the CPU; ``kwargs`` are those of the constructor."""
        policy = cls(init_from, **kwargs)
        policy.build()
        policy.load_weights()
        return policy

    def clone_unbuilt(self) -> "Policy":
        """Another policy, not yet built, from the same source and with the same settings: for a reference policy."""
        return type(self)(
            self.init_from,
            self._given_template,
            self.template.system,
            self.template.prefill,
            str(self.dtype).removeprefix("torch."),
            self.attn_implementation,
            self.gradient_checkpointing,
            self.logprob_chunk_size,
            self.lora,
            self._given_context,
            self._chat_template_kwargs,
        )

    # Construction

    def build(self, meta: bool = False) -> None:
        """Makes ``lm`` with parameters that hold nothing yet; with ``meta``, they take no memory either."""
        with parameters_on_meta():
            self.lm = AutoModelForCausalLM.from_config(
                copy.deepcopy(self.config), dtype=self.dtype, attn_implementation=self.attn_implementation
            )
            if self.lora is not None:
                add_adapters(self.lm, self.lora, reference=self.keeps_reference)
        set_vocabulary(self.lm, vocabulary_size(self.tokenizer))
        self.lm.generation_config = copy.deepcopy(self.generation_config)
        self._finish_build(meta)

    def load_weights(self) -> None:
        """Reads the weights from ``init_from`` into the parameters as they are: plain or sharded, on any device.

        Every rank must call it where the policy is sharded; nothing is communicated.

        Raises:
            InputError: If weights are missing or cannot be read, or the model turns hidden states into logits in a way
                that this package does not know (checked where the policy is not sharded).
            RuntimeError: If the parameters are still on the meta device.
        """
        self._begin_load()
        fill_from_source(self.lm, self._source, self._source_config)
        if self.lora is not None:
            start_adapters(self.lm, self.lora)
        self.weights_loaded = True
        if not self.is_sharded and (error := head_error(self.lm)) > _HEAD_TOLERANCE.get(self.dtype, 5e-2):
            family = self.config.model_type
            raise InputError(f"init_from '{self.init_from}': unknown head of {family} (logits off by {error:.2g})")

    def shard(self, mesh: DeviceMesh, mp_policy: MixedPrecisionPolicy | None = None) -> None:
        """Applies FSDP2 to each decoder layer and to the rest, in place; see :func:`sharding.shard_module`."""
        shard_module(self, decoder_blocks(self.lm), mesh, mp_policy, methods=("_wake",))

    @property
    def layer_count(self) -> int:
        """Number of decoder layers."""
        return int(self.config.get_text_config().num_hidden_layers)

    # Text and tokens

    def encode_prompt(self, prompt: Prompt, max_length: int | None = None) -> list[int]:
        """Token ids of the rendered prompt, prefill included.

        Raises:
            InputError: If there are more than ``max_length``: a cut prompt would be another question.
        """
        ids = self.template.encode(prompt, self.tokenizer)
        if max_length is not None and len(ids) > max_length:
            raise InputError(f"prompt '{prompt.id}': {len(ids)} tokens, more than {max_length}; drop it or allow more")
        return ids

    def prefill_text(self, prompt: Prompt) -> str:
        """What goes before the decoded tokens in a completion's text."""
        return self.template.prefill_text(prompt, self.tokenizer)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of sampled tokens without special tokens; think and answer tags always stay."""
        kept = [i for i in ids if i not in self._skipped_ids]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    # Log-probabilities

    def token_logprobs(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        target_mask: Tensor,
        temperature: float = 1.0,
        with_entropy: bool = False,
    ) -> TokenLogprobs:
        """Log-probabilities of the tokens under ``target_mask``, each given all tokens before it.

        Hidden states of the positions before targets alone go through the head, ``logprob_chunk_size`` at a time.

        Args:
            input_ids: [B, T] int64, padded on the right.
            attention_mask: [B, T], 1 or True for tokens, 0 or False for padding.
            target_mask: [B, T] bool; its first column must be False, as nothing predicts the first token.
            temperature: Divides the logits; the same as in sampling, so that ratios start at 1.
            with_entropy: Also return the entropy of each target's distribution.

        Raises:
            ValueError: If ``target_mask`` asks for the first token.
            InputError: If ``temperature`` is not positive.
        """
        # Through __call__, for the hooks of FSDP2 hang on it.
        out: TokenLogprobs = self(padded_logprobs, input_ids, attention_mask, target_mask, temperature, with_entropy)
        return out

    def packed_logprobs(
        self, batch: PackedBatch, temperature: float = 1.0, with_entropy: bool = False
    ) -> TokenLogprobs:
        """:meth:`token_logprobs` of a flat row without padding: tensors [T], values and gradients as of padded rows.

        Models that cannot keep the segments of a row apart (see :func:`segments.takes_segments`) compute padded rows.

        Args:
            batch: The row, in which completions may share the tokens of their prompt.
            temperature: As in :meth:`token_logprobs`.
            with_entropy: As in :meth:`token_logprobs`.

        Raises:
            InputError: If ``temperature`` is not positive.
        """
        out: TokenLogprobs = self(packed_logprobs, batch, temperature, with_entropy)
        return out

    def forward(self, compute: Callable[..., Any], *arguments: Any) -> Any:
        """Calls ``compute`` with the model, ``logprob_chunk_size`` and ``arguments``; see :meth:`token_logprobs`."""
        return compute(self.lm, self.logprob_chunk_size, *arguments)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, a sharded policy is whole: each rank may call ``lm`` as often as it likes.

        Generation needs it. All ranks must enter and leave; weights must not change inside. Does nothing where the
        policy is not sharded.
        """
        if not self.is_sharded or self._is_gathered:
            yield
            return
        self._wake(None)  # FSDP2 must learn which module is the root before a part of it runs on its own
        self._is_gathered = True
        try:
            with unsharded(self):
                yield
        finally:
            self._is_gathered = False

    @contextmanager
    def generating(self) -> Iterator[None]:
        """:meth:`gathered`, in eval mode, as a key-value cache needs; the mode is put back afterwards.

        Adapters are merged into copies of the weights inside, which decodes as fast as a plain model, where that is
        exact up to float32's rounding. In bfloat16 the sum would lose most of what the adapter says: there it stays
        beside the weights, as in training.
        """
        was_training = self.training
        self.eval()
        try:
            with self.gathered(), self._adapters_merged():
                yield
        finally:
            self.train(was_training)

    def _adapters_merged(self) -> AbstractContextManager[None]:
        layer_dtype = next(self.lm.get_decoder().parameters()).dtype  # as gathered, which mixed precision may narrow
        exact = layer_dtype == torch.float32 and not torch.is_autocast_enabled(self.device.type)
        return merged(self.lm) if self.lora is not None and exact else nullcontext()

    # The reference policy of a policy with adapters

    @contextmanager
    def reference(self) -> Iterator["Policy"]:
        """Inside, this policy is the reference policy: its base, or what it was at the last :meth:`sync_reference`.

        Only with LoRA, where it takes no second model; take no gradients inside.
        """
        with switched(self.lm, REFERENCE if self.reference_synced else None):
            yield self

    def sync_reference(self) -> None:
        """Makes the reference policy of :meth:`reference` a hard copy of this one; all ranks must call it."""
        reshard(self)  # what is written to gathered parameters is lost
        copy_to_reference(self.lm)
        self.reference_synced = True

    def _wake(self, nothing: None) -> None:
        """Runs nothing; :meth:`shard` registers it as a forward method, so that calling it initialises FSDP2.

        Its argument is there as torch before 2.13 cannot call a forward method without one on a GPU.
        """

    # Saving

    def save_pretrained(self, directory: str | Path, adapter: bool = False) -> Path:
        """Writes a plain Hugging Face directory, atomically; all ranks must call it. See :mod:`r1lit.policy.saving`."""
        return save_directory(self.lm, self.tokenizer, directory, adapter=adapter)


def _leave_out_base(policy: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Keeps the weights that adapters stand on out of checkpoints: ``init_from`` has them."""
    for name in [name for name in state if name.startswith(f"{prefix}lm.") and not is_adapter(name)]:
        del state[name]


def _expect_no_base(policy: nn.Module, keys: Any) -> None:
    keys.missing_keys[:] = [name for name in keys.missing_keys if ".lm." not in f".{name}" or is_adapter(name)]
