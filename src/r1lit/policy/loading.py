"""Where a model comes from: a directory, a Hugging Face hub id, a GGUF file, or a resource inside a package."""

import copy
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from r1lit.errors import InputError
from r1lit.policy.tokens import ensure_bos

_PACKAGE = "package:"
_CAUSAL_ENDINGS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A resolved ``init_from``."""

    name: str
    """What the user wrote; error messages use it."""
    location: str
    """A directory, or a hub id."""
    gguf_file: str | None = None
    """The name of the GGUF file inside ``location``."""

    @property
    def kwargs(self) -> dict[str, Any]:
        """The extra arguments of every ``from_pretrained`` call."""
        return {} if self.gguf_file is None else {"gguf_file": self.gguf_file}

    @property
    def is_local(self) -> bool:
        """Whether ``location`` is a directory on this machine."""
        return Path(self.location).is_dir()


def resolve_source(init_from: str) -> ModelSource:
    """Finds out where ``init_from`` points; opens no network.

    Args:
        init_from: A directory, a file ending in ``.gguf``, ``package:NAME/path/inside`` (a directory or a GGUF file
            that an installed package carries; the package is located, not imported), or a hub id ``owner/name``.

    Raises:
        InputError: If a local path, a package or a path inside it does not exist.
    """
    if not init_from:
        raise InputError("init_from is empty; name a directory, a hub id, a .gguf file or package:NAME/path")
    path = _package_path(init_from) if init_from.startswith(_PACKAGE) else Path(init_from).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"init_from '{init_from}': there is no such GGUF file; check the path")
        return ModelSource(init_from, str(path.parent), path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"init_from '{init_from}': the directory has no config.json; name a Hugging Face model")
        return ModelSource(init_from, str(path))
    if path.exists():
        raise InputError(f"init_from '{init_from}': a file, but no GGUF file; name a directory or a .gguf file")
    if init_from.startswith((_PACKAGE, ".", "/", "~")) or init_from.count("/") > 1:
        raise InputError(f"init_from '{init_from}': there is no such directory or file; check the path")
    return ModelSource(init_from, init_from)


def _package_path(init_from: str) -> Path:
    package, _, inside = init_from.removeprefix(_PACKAGE).partition("/")
    # find_spec locates a top-level package without running its code, which may need things that are not installed.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"init_from '{init_from}': package '{package}' is not installed; install it with pip")
    roots = [Path(root) for root in spec.submodule_search_locations]
    return next((root / inside for root in roots if (root / inside).exists()), roots[0] / inside)


def load_config(source: ModelSource) -> PreTrainedConfig:
    """Reads the model's configuration and makes sure that it is one of a causal language model.

    Raises:
        InputError: If the source cannot be reached or is not a causal language model.
    """
    config = read_config(source)
    architectures = config.architectures or []
    causal = not architectures or any(name.endswith(_CAUSAL_ENDINGS) for name in architectures)
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not causal:
        what = architectures[0] if architectures else config.model_type
        raise InputError(f"init_from '{source.name}': {what} is not a causal language model; name one that is")
    return config


def read_config(source: ModelSource) -> PreTrainedConfig:
    """Reads the configuration of a model of any kind.

    Raises:
        InputError: If the source cannot be reached.
    """
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source.location, **source.kwargs)
        return config
    except (OSError, ValueError) as error:
        raise _unreadable(source, "model", error) from error


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Reads the tokenizer; for a GGUF file, the one inside the file.

    It begins texts with the bos token where the model was trained so, whatever the conversion made of that.

    Raises:
        InputError: If there is none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, **source.kwargs)
    except (OSError, ValueError) as error:
        raise _unreadable(source, "tokenizer", error) from error
    # Configurations and GGUF files say so by add_bos_token, which not every conversion keeps; all Gemmas need one.
    if getattr(tokenizer, "add_bos_token", None) is True or type(tokenizer).__name__.startswith("Gemma"):
        ensure_bos(tokenizer, source.name)
    return tokenizer


def load_generation_config(source: ModelSource, config: PreTrainedConfig) -> GenerationConfig:
    """Reads ``generation_config.json``, or derives it from the model's configuration where there is none."""
    derived = GenerationConfig.from_model_config(config)
    if source.gguf_file is not None:
        return derived
    if source.is_local:
        found: object = (Path(source.location) / "generation_config.json").is_file()
    else:
        found = cached_file(source.location, "generation_config.json", _raise_exceptions_for_missing_entries=False)
    generation = GenerationConfig.from_pretrained(source.location) if found else derived
    if not generation.do_sample and (generation.temperature, generation.top_p, generation.top_k) != (None, None, None):
        generation.do_sample = True  # else transformers refuses to save what many published models carry
    return generation


def load_dense_model(source: ModelSource, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """Loads the whole model into this process's memory through transformers; GGUF weights are unpacked.

    Raises:
        InputError: If the weights cannot be read, or do not fill the model.
    """
    kwargs: dict[str, Any] = dict(source.kwargs)
    gguf_config = getattr(transformers, "GgufConfig", None)
    if source.gguf_file is not None and gguf_config is not None:
        # Without it, newer releases keep the packed blocks, which cannot be trained; older ones always unpack.
        kwargs["quantization_config"] = gguf_config(dequantize=True)
    load: Any = AutoModelForCausalLM.from_pretrained  # its stub does not know of the pair that it returns here
    model: PreTrainedModel
    try:
        model, info = load(source.location, config=config, dtype=dtype, output_loading_info=True, **kwargs)
    except OSError as error:
        raise _unreadable(source, "weights", error) from error
    check_complete(source.name, info["missing_keys"])
    if source.gguf_file is not None:
        shed_quantizer(model)
    return model


def training_config(source: PreTrainedConfig, tokens: int, pad_id: int) -> PreTrainedConfig:
    """The configuration to build: without dropout, with a row for each token of the tokenizer."""
    config = copy.deepcopy(source)
    text = config.get_text_config()
    for part in {id(config): config, id(text): text}.values():
        for key, value in part.to_dict().items():
            if ("dropout" in key or key.endswith("_pdrop")) and isinstance(value, float):
                setattr(part, key, 0.0)
    text.vocab_size = max(text.vocab_size, tokens)
    text.pad_token_id = pad_id
    return config


def max_context(config: PreTrainedConfig) -> int:
    """Longest sequence that a model takes, in tokens; families without positions have no bound."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or sys.maxsize)


def set_max_context(config: PreTrainedConfig, length: int, name: str) -> None:
    """Changes the length of the longest sequence that a model takes.

    Raises:
        InputError: If it is not positive, or the model has a table of positions or scales them by its length.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None)  # families with a table of positions have none
    if length < 1:
        raise InputError(f"policy.max_context is {length}; give at least 1")
    if not isinstance(rope, dict) or rope.get("rope_type", "default") not in ("default", "llama3"):
        raise InputError(
            f"policy.max_context: {name} ({config.model_type}) is bound to the positions of its configuration; leave "
            "it out, and change them there"
        )
    text.max_position_embeddings = length


def check_complete(name: str, missing: set[str] | list[str]) -> None:
    """Refuses weights with holes, which would otherwise be filled with noise.

    Raises:
        InputError: If ``missing`` is not empty.
    """
    if missing:
        raise InputError(
            f"init_from '{name}': the weights lack {len(missing)} tensors, such as {min(missing)};"
            " name a complete causal language model"
        )


def shed_quantizer(model: PreTrainedModel) -> None:
    """Removes the quantizer that unpacked a GGUF file: with it, transformers refuses to save or train the model."""
    for owner, attribute in (
        (model, "hf_quantizer"),
        (model, "quantization_method"),
        (model, "is_quantized"),
        (model.config, "quantization_config"),
    ):
        if attribute in vars(owner):
            delattr(owner, attribute)


def resolve_dtype(dtype: str, config: PreTrainedConfig) -> torch.dtype:
    """The dtype of the parameters; ``auto`` is what the model was saved in, float32 where it does not say.

    Raises:
        InputError: For any other word than float32, bfloat16 and auto.
    """
    if dtype == "auto":
        saved = config.dtype
        return saved if isinstance(saved, torch.dtype) else getattr(torch, saved or "float32")
    if dtype not in _DTYPES:
        raise InputError(f"dtype '{dtype}': choose float32, bfloat16 or auto")
    return _DTYPES[dtype]


def _unreadable(source: ModelSource, what: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if source.is_local:
        return InputError(f"init_from '{source.name}': its {what} cannot be read: {reason}")
    return InputError(
        f"init_from '{source.name}': no such directory, and its {what} cannot be had from the hub"
        f" (misspelt, gated or offline?): {reason}"
    )
