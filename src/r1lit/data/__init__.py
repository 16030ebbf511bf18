"""What the stages train on, as LightningDataModules."""

from r1lit.data.chat import ChatDataModule
from r1lit.data.corpus import TinyCorpusDataModule
from r1lit.data.prompts import PromptDataModule
from r1lit.data.sampler import RolloutSampler
from r1lit.data.sources import ChatSource
from r1lit.data.tiny_chats import TinyWorldChats

__all__ = [
    "ChatDataModule",
    "ChatSource",
    "PromptDataModule",
    "RolloutSampler",
    "TinyCorpusDataModule",
    "TinyWorldChats",
]
