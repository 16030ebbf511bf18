"""Writing a policy as a plain Hugging Face directory."""

import os
import shutil
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r1lit.errors import InputError
from r1lit.policy.lora import merge_state, write_adapter
from r1lit.policy.weights import is_adapter

ADAPTER_FOLDER = "adapter"


def save_directory(
    lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: str | Path, *, adapter: bool = False
) -> Path:
    """Writes safetensors, configuration, generation config and tokenizer; all ranks must call it, rank 0 writes.

    The files are written to a temporary folder beside ``directory`` which is then renamed, so that ``directory`` is
    never half-written; an older one is replaced. A LoRA adapter is merged into the weights; with ``adapter`` it is
    also written by itself, in peft's format, into the folder ``adapter`` inside.

    Returns:
        The directory, which exists on return on every rank that shares the file system.

    Raises:
        InputError: If ``directory`` is an existing file, or an adapter is asked for where there is none.
        RuntimeError: On the other ranks, if rank 0 could not write.
    """
    target = Path(directory).absolute()
    if target.exists() and not target.is_dir():
        raise InputError(f"save to '{directory}': it is a file; name a directory")
    if adapter and not any(is_adapter(name) for name, _ in lm.named_parameters()):
        raise InputError(f"save to '{directory}': the policy has no adapter to write; leave adapter out, or set lora")
    distributed = dist.is_available() and dist.is_initialized()
    is_writer = not distributed or dist.get_rank() == 0
    state = full_state_dict(lm, keep=is_writer)
    failure: list[str | None] = [None]
    try:
        if is_writer:
            _write(lm, tokenizer, state, target, adapter)
    except BaseException as error:
        failure = [f"{type(error).__name__}: {error}"]
        raise
    finally:
        if distributed:  # tells the others, who would otherwise wait for ever or read what is not there
            dist.broadcast_object_list(failure, src=0)
    if failure[0] is not None:
        raise RuntimeError(f"rank 0 could not save to '{directory}': {failure[0]}")
    return target


@torch.no_grad()
def full_state_dict(lm: PreTrainedModel, *, keep: bool = True) -> dict[str, Tensor]:
    """The whole state, gathered tensor by tensor to the CPU; empty where not ``keep``. Tied tensors stay tied."""
    full: dict[str, Tensor] = {}
    seen: dict[int, str] = {}
    for name, tensor in lm.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            if keep:
                full[name] = full[seen[id(tensor)]]
            continue
        seen[id(tensor)] = name
        value = tensor.detach()
        value = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            full[name] = value.cpu()
    return full


def _write(
    lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, state: dict[str, Tensor], target: Path, adapter: bool
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    replaced = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        lm.save_pretrained(temporary, state_dict=merge_state(lm, state) if any(map(is_adapter, state)) else state)
        if adapter:
            write_adapter(lm, state, temporary / ADAPTER_FOLDER)
        tokenizer.save_pretrained(temporary)
        if target.exists():
            target.rename(replaced)  # a directory that is not empty cannot be renamed over
        temporary.rename(target)
    finally:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
