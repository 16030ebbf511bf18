"""What the stages train on, as LightningDataModules."""

from r1lit.data.chat import ChatDataModule
from r1lit.data.corpus import TinyCorpusDataModule
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
from r1lit.data.tiny_chats import TinyWorldChats
from r1lit.data.tiny_preferences import TinyWorldLabels, TinyWorldPairs

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
    "TinyCorpusDataModule",
    "TinyWorldChats",
    "TinyWorldLabels",
    "TinyWorldPairs",
    "XSTestCompletions",
]
