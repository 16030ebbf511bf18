"""Filling a model that was built without memory, shard by shard."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedConfig, PreTrainedModel

from r1lit.policy.loading import ModelSource, check_complete, load_dense_model


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Inside, modules are built with parameters on the meta device and real buffers.

    ``torch.device("meta")`` would leave buffers such as rotary frequencies uncomputed, and no checkpoint has them.
    """
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:  # one already there is a tied one and must stay the same object
            param = nn.Parameter(param.to("meta"), requires_grad=param.requires_grad)
        register(module, name, param)

    nn.Module.register_parameter = register_on_meta  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def fixed_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers that no checkpoint carries, by qualified name."""
    return {
        f"{prefix}.{name}" if prefix else name: buffer.clone()
        for prefix, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if name in module._non_persistent_buffers_set and buffer is not None
    }


def restore_buffers(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Writes ``values`` back, each to the device where its buffer is now, in its own dtype."""
    for name, value in values.items():
        prefix, _, leaf = name.rpartition(".")
        module = model.get_submodule(prefix)
        current = module._buffers[leaf]
        device = value.device if current is None else current.device
        module._buffers[leaf] = value.to(device, copy=True)


@torch.no_grad()
def fill_from_source(
    model: PreTrainedModel,
    source: ModelSource,
    config: PreTrainedConfig,
    new: Collection[str] = (),
    load: Callable[[ModelSource, PreTrainedConfig, torch.dtype], PreTrainedModel] = load_dense_model,
) -> None:
    """Copies the weights of ``source`` into the parameters and persistent buffers of ``model``, in place.

    Parameters may be sharded: then each rank reads each tensor and keeps its own part, without communication.
    Safetensors files whose names fit are read tensor by tensor; anything else (GGUF, pickles, layouts that
    transformers converts on the way in) is first loaded whole into this process's memory. A vocabulary that has grown
    gets the mean of the old rows in its new ones. Adapters have nothing to read, and keep what they hold.

    Args:
        model: Built, with parameters on a real device.
        source: Where the weights are.
        config: The configuration that came with them (``model.config`` may have a larger vocabulary).
        new: Names of parameters that the source does not have; they keep what they hold.
        load: Loads the whole model where the files cannot be read tensor by tensor.

    Raises:
        InputError: If weights are missing or cannot be read.
    """
    held = {*new}
    found = _tensors_by_name(model).items()
    wanted = {plain_name(name): tensor for name, tensor in found if not is_adapter(name) and name not in held}
    files = _safetensors_index(source)
    aliases = {id(tensor): _names_of(wanted, tensor) for tensor in wanted.values()}
    if all(any(name in files for name in names) for names in aliases.values()):
        read = _read_files(files)
    else:
        dense = load(source, config, model.dtype)
        read = iter(dense.state_dict().items())
    left = dict(aliases)
    for name, value in read:
        target = wanted.get(name)
        if target is not None and left.pop(id(target), None) is not None:
            copy_into(value, target)
    check_complete(source.name, [names[0] for names in left.values()])


def is_adapter(name: str) -> bool:
    """Whether a parameter's name is one of a LoRA adapter."""
    return ".lora_A." in name or ".lora_B." in name


def plain_name(name: str) -> str:
    """The name that a parameter under an adapter has in a model without adapters."""
    return name.replace(".base_layer.", ".")


def _tensors_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers; tied ones appear under each of their names."""
    tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    fixed = fixed_buffers(model).keys()
    return tensors | {name: buffer for name, buffer in model.named_buffers() if name not in fixed}


def _names_of(tensors: dict[str, Tensor], tensor: Tensor) -> list[str]:
    return [name for name, other in tensors.items() if other is tensor]


def _safetensors_index(source: ModelSource) -> dict[str, Path]:
    """The safetensors file of each tensor name; empty where there are none."""
    if source.gguf_file is not None:
        return {}
    folder = Path(source.location)
    if not source.is_local:
        folder = Path(snapshot_download(source.location, allow_patterns=["*.safetensors", "*.json"]))
    index: dict[str, Path] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="pt") as handle:
            index |= dict.fromkeys(handle.keys(), file)
    return index


def _read_files(index: dict[str, Path]) -> Iterator[tuple[str, Tensor]]:
    for file in sorted(set(index.values())):
        with safe_open(file, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118 (not a dict)
                yield name, handle.get_tensor(name)


@torch.no_grad()
def copy_into(value: Tensor, target: Tensor) -> None:
    """Writes a whole tensor into a parameter; into a sharded one, each rank its own part."""
    extra = target.shape[0] - value.shape[0] if target.dim() else 0
    if extra > 0:
        mean = value.float().mean(0, keepdim=True).to(value.dtype)
        value = torch.cat([value, mean.expand(extra, *value.shape[1:])])
    if isinstance(target, DTensor):
        mesh = target.device_mesh
        value = value.to(device=mesh.device_type, dtype=target.dtype)
        # src_data_rank=None: every rank has read the tensor, so each cuts its part out of its own copy
        value = distribute_tensor(value, mesh, target.placements, src_data_rank=None)
    target.copy_(value)
