"""What the stages train on, as LightningDataModules."""

from r1lit.data.chat import ChatDataModule
from r1lit.data.preference_data import PreferenceDataModule
from r1lit.data.preferences import (
    Labelled,
    Pair,
    PreferenceColumns,
    PreferenceFile,
    PreferenceSource,
    XSTestCompletions,
)
from r1lit.data.prompt_mix import PromptMix, PromptPart
from r1lit.data.prompts import PromptDataModule
from r1lit.data.sampler import RolloutSampler
from r1lit.data.sources import ChatSource

__all__ = [
    "ChatDataModule",
    "ChatSource",
    "Labelled",
    "Pair",
    "PreferenceColumns",
    "PreferenceDataModule",
    "PreferenceFile",
    "PreferenceSource",
    "PromptDataModule",
    "PromptMix",
    "PromptPart",
    "RolloutSampler",
    "XSTestCompletions",
]
