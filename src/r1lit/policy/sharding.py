"""FSDP2 for a policy: who is sharded, and how to unshard once for many forwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from transformers import PreTrainedModel


def decoder_blocks(lm: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers.

    Raises:
        TypeError: If the model has none of the length that its configuration says.
    """
    count = lm.config.get_text_config().num_hidden_layers
    for module in lm.get_decoder().modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise TypeError(f"{type(lm).__name__} has no list of {count} decoder layers to shard")


def shard_module(
    root: nn.Module,
    blocks: nn.ModuleList,
    mesh: DeviceMesh,
    mp_policy: MixedPrecisionPolicy | None = None,
    methods: tuple[str, ...] = (),
) -> None:
    """Shards each block, then what is left as one group of the root, in place.

    Args:
        root: The module whose call is the training forward.
        blocks: Its decoder layers; their parameters are freed after each forward and gathered again for backward.
        mesh: One-dimensional mesh of the data-parallel ranks.
        mp_policy: Dtypes of computation and of gradient reduction; the parameters' own by default.
        methods: Names of methods of ``root`` that compute with its parameters, beside ``forward``.
    """
    policy = mp_policy or MixedPrecisionPolicy()
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    fully_shard(root, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    for method in methods:
        register_fsdp_forward_method(root, method)


def fsdp_modules(root: nn.Module) -> list[FSDPModule]:
    """All sharded modules below and including ``root``."""
    return [module for module in root.modules() if isinstance(module, FSDPModule)]


def reshard(root: nn.Module) -> None:
    """Frees gathered parameters, so that what is computed next reads the shards as they are now."""
    for module in fsdp_modules(root):
        module.reshard()


@contextmanager
def unsharded(root: nn.Module) -> Iterator[None]:
    """Keeps all parameters of a module sharded by :func:`shard_module` gathered inside the block.

    All ranks must enter and leave it. Forwards of any part of it then communicate nothing, so each rank may run its
    own number of them. The gathered parameters are copies: change no weights inside.
    """
    reshard(root)
    modules = fsdp_modules(root)  # the root comes first
    try:
        for module in modules:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        yield
    finally:
        for index, module in enumerate(modules):
            module.set_reshard_after_forward(index > 0, recurse=False)
            module.reshard()
