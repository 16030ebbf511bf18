"""Models with a scalar head on disk: plain ``AutoModelForSequenceClassification`` directories."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from r1lit.errors import InputError
from r1lit.policy.loading import ModelSource, check_complete, load_config, read_config

CLASSIFIER = "ForSequenceClassification"


def base_config(source: ModelSource) -> tuple[PreTrainedConfig, bool]:
    """The configuration of a causal language model, or of a reward model, and whether it is the latter."""
    config = read_config(source)
    is_classifier = any(name.endswith(CLASSIFIER) for name in config.architectures or [])
    if is_classifier and config.num_labels != 1:
        raise InputError(f"init_from '{source.name}': its head has {config.num_labels} labels; a reward model has one")
    config = config if is_classifier else load_config(source)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise InputError(f"init_from '{source.name}': transformers has no scalar head for {config.model_type}")
    return config, is_classifier


def load_classifier(source: ModelSource, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """Loads a whole model with a scalar head.

    Raises:
        InputError: If the weights cannot be read, do not fill the model, or do not fit it.
    """
    load: Any = AutoModelForSequenceClassification.from_pretrained
    model: PreTrainedModel
    try:
        model, info = load(source.location, config=config, dtype=dtype, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:  # sizes that do not fit are a RuntimeError or a ValueError
        raise InputError(
            f"reward model '{source.name}': cannot be read: {str(error).strip().splitlines()[0]}"
        ) from error
    check_complete(source.name, info["missing_keys"])
    return model


def padded(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both [B, T] int64, of rows padded on the right."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return ids.to(device), mask.to(device)
