"""Low-rank adapters (LoRA, Hu et al. 2021): the base's weights stay, and a small product is trained beside them.

An adapted layer computes ``W x + alpha / rank * B A x``. peft makes the layers and owns the file format; this module
says where they go, how they start, which of them is on, and how they melt into plain weights. The trained adapter is
peft's ``default``. A second, frozen one called ``reference`` holds what the reference policy was when it last followed
the trained one; until then the reference policy is the base itself, with no adapter on.
"""

import copy
import math
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from r1lit.errors import InputError
from r1lit.policy.weights import copy_into, is_adapter, plain_name

TRAINED, REFERENCE = "default", "reference"
_ALL = "all-linear"


@dataclass(frozen=True)  # no slots: jsonargparse reads defaults with vars()
class LoraSettings:
    """Where adapters go and how large they are.

    There is no dropout: log-probabilities must be those of the distribution that is sampled from.

    Raises:
        InputError: If a number is out of range or no module is named.
    """

    rank: int = 16
    """Columns of B and rows of A."""
    alpha: int = 32
    """The adapter's product is multiplied by ``alpha / rank``."""
    target_modules: str | tuple[str, ...] = _ALL
    """Linear layers to adapt, by the ends of their names, such as ``[q_proj, v_proj]``; ``all-linear`` takes every one
    but the output head."""
    seed: int = 0
    """Of the random A; B starts at zero, so that training starts at the base."""

    def __post_init__(self) -> None:
        """Checks what can be checked without a model."""
        if self.rank < 1:
            raise InputError(f"lora.rank is {self.rank}; give at least 1")
        if self.alpha < 1:
            raise InputError(f"lora.alpha is {self.alpha}; give at least 1")
        if not self.target_modules:
            raise InputError(f"lora.target_modules is empty; name linear layers, or {_ALL}")

    @property
    def names(self) -> tuple[str, ...]:
        """The targets as a tuple."""
        return (self.target_modules,) if isinstance(self.target_modules, str) else tuple(self.target_modules)


def add_adapters(lm: PreTrainedModel, settings: LoraSettings, *, reference: bool) -> None:
    """Puts adapters into ``lm``, in place, and freezes all else; :func:`start_adapters` gives them values.

    Adapters are float32 whatever the base is (peft sees to it): steps of a usual learning rate vanish in bfloat16.

    Args:
        lm: The model, its parameters on any device or none.
        settings: Where the adapters go.
        reference: Also make the frozen adapter of the reference policy.

    Raises:
        InputError: If peft is not installed, or a target is no linear layer of the model, or its embedding or head.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError("policy.lora needs the package peft: pip install 'r1lit[lora]'") from error
    targets = _targets(lm, settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")  # two are meant
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # peft sees to it
        for name in (TRAINED, REFERENCE)[: 1 + reference]:
            config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets)
            inject_adapter_in_model(config, lm, name)
    for key, param in lm.named_parameters():
        param.requires_grad_(is_adapter(key) and f".{TRAINED}." in key)
    _switch(lm, TRAINED)


def _targets(lm: PreTrainedModel, settings: LoraSettings) -> list[str]:
    """Full names of the layers to adapt.

    Raises:
        InputError: See :func:`add_adapters`.
    """
    from transformers.pytorch_utils import Conv1D  # the linear layer of GPT-2's family

    head = lm.get_output_embeddings()
    linear = [name for name, part in lm.named_modules() if isinstance(part, nn.Linear | Conv1D) and part is not head]
    if settings.names == (_ALL,):
        return linear
    for wanted in settings.names:
        if not any(_ends(name, wanted) for name in linear):
            kinds = sorted({name.rpartition(".")[2] for name in linear})
            raise InputError(
                f"lora.target_modules names '{wanted}', but the linear layers of {lm.config.model_type} that can be "
                f"adapted are {', '.join(kinds)}; name some of them, or {_ALL}"
            )
    return [name for name in linear if any(_ends(name, wanted) for wanted in settings.names)]


def _ends(name: str, wanted: str) -> bool:
    return f".{name}".endswith(f".{wanted}")


# Values


def start_adapters(lm: PreTrainedModel, settings: LoraSettings) -> None:
    """Gives A the uniform values of a new linear layer and B zero, as peft does; parameters may be sharded.

    The values depend on the seed and the layer's name alone, so that ranks agree without a word.
    """
    for name, layer in adapted_layers(lm).items():
        seed = zlib.crc32(f"r1lit/lora/{settings.seed}/{name}".encode())
        for adapter in layer.lora_A:
            a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
            bound = 1.0 / math.sqrt(a.shape[1])
            noise = torch.Generator().manual_seed(seed)
            copy_into(torch.empty(a.shape, device="cpu").uniform_(-bound, bound, generator=noise), a)
            copy_into(torch.zeros(b.shape, device="cpu"), b)


@torch.no_grad()
def copy_to_reference(lm: PreTrainedModel) -> None:
    """Makes the frozen adapter equal to the trained one; shards are copied where they lie."""
    for layer in adapted_layers(lm).values():
        for part in (layer.lora_A, layer.lora_B):
            part[REFERENCE].weight.copy_(part[TRAINED].weight)


def adapted_layers(lm: nn.Module) -> dict[str, Any]:
    """The layers that peft has put in, by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in lm.named_modules() if isinstance(module, LoraLayer)}


# Which adapter is on


@contextmanager
def switched(lm: nn.Module, adapter: str | None) -> Iterator[None]:
    """Inside, another adapter is on, or with None no one; gradients may not be taken for it."""
    _switch(lm, adapter)
    try:
        yield
    finally:
        _switch(lm, TRAINED)


def _switch(lm: nn.Module, adapter: str | None) -> None:
    for layer in adapted_layers(lm).values():
        # peft's set_adapter also turns requires_grad on and off, which neither DDP nor FSDP2 would follow.
        layer._active_adapter = [] if adapter is None else [adapter]


# Plain weights


def _product(weight: Tensor, a: Tensor, b: Tensor, layer: Any) -> Tensor:
    """The plain weight of an adapted layer, rounded once, to the base's dtype."""
    delta: Tensor = (b.float() @ a.float()) * layer.scaling[TRAINED]
    return (weight.float() + (delta.T if layer.fan_in_fan_out else delta)).to(weight.dtype)


@contextmanager
def merged(lm: nn.Module) -> Iterator[None]:
    """Inside, plain layers with the trained adapter in their weights stand where the adapted ones were.

    Nothing is written to: on leaving, the adapted layers come back as they were, to the bit. The model must be whole.
    """
    layers = adapted_layers(lm)
    try:
        for name, layer in layers.items():
            base = layer.base_layer
            plain = copy.copy(base)
            a, b = layer.lora_A[TRAINED].weight, layer.lora_B[TRAINED].weight
            weight = nn.Parameter(_product(base.weight.detach(), a.detach(), b.detach(), layer), requires_grad=False)
            plain._parameters = base._parameters | {"weight": weight}
            lm.set_submodule(name, plain)
        yield
    finally:
        for name, layer in layers.items():
            lm.set_submodule(name, layer)


def merge_state(lm: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a plain model from the whole (gathered) state of one with adapters."""
    plain = {plain_name(name): value for name, value in state.items() if not is_adapter(name)}
    for name, layer in adapted_layers(lm).items():
        a, b = (state[f"{name}.{part}.{TRAINED}.weight"] for part in ("lora_A", "lora_B"))
        plain[f"{name}.weight"] = _product(plain[f"{name}.weight"], a, b, layer)
    return plain


def write_adapter(lm: Any, state: Mapping[str, Tensor], directory: Path) -> None:
    """Writes the trained adapter as peft does, for ``PeftModel.from_pretrained(base, directory)``.

    Args:
        lm: The model with adapters.
        state: Its whole state.
        directory: Where to; it is made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lm.peft_config[TRAINED].save_pretrained(directory)
    own = {
        "base_model.model." + name.replace(f".{TRAINED}.", "."): value.contiguous()
        for name, value in state.items()
        if is_adapter(name) and f".{TRAINED}." in name
    }
    save_file(own, directory / "adapter_model.safetensors", {"format": "pt"})
