"""What the policy and the reward model share: a transformers model that is built empty, sharded, filled and moved."""

from collections.abc import Callable
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from transformers import PretrainedConfig, PreTrainedModel

from r1lit.policy.loading import max_context
from r1lit.policy.segments import recomputing
from r1lit.policy.sharding import reshard
from r1lit.policy.weights import fixed_buffers, restore_buffers


class Backbone(nn.Module):
    """A transformers model whose construction is cheap, and which is filled only where its parameters lie.

    Subclasses make ``lm`` in their ``build`` and end it with :meth:`_finish_build`. Dropout is off everywhere:
    log-probabilities and scores must be those of the model that samples or rates.

    Args:
        gradient_checkpointing: Recompute each decoder layer in the backward pass.
    """

    lm: PreTrainedModel
    config: PretrainedConfig
    init_from: str

    def __init__(self, gradient_checkpointing: bool) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.weights_loaded = False
        self._buffer_values: dict[str, Tensor] = {}

    def build(self, meta: bool = False) -> None:
        """Makes ``lm`` with parameters that hold nothing yet; with ``meta``, they take no memory either."""
        raise NotImplementedError

    def shard(self, mesh: DeviceMesh, mp_policy: MixedPrecisionPolicy | None = None) -> None:
        """Applies FSDP2, in place."""
        raise NotImplementedError

    def load_weights(self) -> None:
        """Reads the weights from ``init_from`` into the parameters as they are."""
        raise NotImplementedError

    def _finish_build(self, meta: bool) -> None:
        """Prepares a new ``lm``; with ``meta``, its parameters go on taking no memory."""
        for module in self.lm.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if self.gradient_checkpointing:
            again = {"use_reentrant": False, "context_fn": partial(recomputing, self.lm)}
            self.lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs=again)
        self._buffer_values = fixed_buffers(self.lm)
        self.weights_loaded = False
        if not meta:
            self.to_empty(device="cpu")

    def _begin_load(self) -> None:
        """Checks that there are parameters to fill, and has FSDP2 show its shards."""
        if any(param.is_meta for param in self.lm.parameters()):
            raise RuntimeError("load_weights: parameters are on the meta device; call to_empty(device=...) first")
        reshard(self)

    @property
    def is_built(self) -> bool:
        """Whether :meth:`build` was called."""
        return "lm" in self._modules

    @property
    def is_sharded(self) -> bool:
        """Whether :meth:`shard` was called."""
        return isinstance(self, FSDPModule)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.lm.parameters()).device

    @property
    def max_context(self) -> int:
        """Longest sequence that the model takes, in tokens; families without positions have no bound."""
        return max_context(self.config)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # to_empty() unties tied weights and leaves garbage in buffers that no checkpoint carries (rotary frequencies),
        # and .bfloat16() would round those: after any such call all is as it was built.
        super()._apply(fn, recurse)
        if self.is_built:
            self.lm.tie_weights()
            restore_buffers(self.lm, self._buffer_values)
        return self
