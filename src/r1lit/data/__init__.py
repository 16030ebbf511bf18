"""What the stages train on, as LightningDataModules."""

from r1lit.data.corpus import TinyCorpusDataModule
from r1lit.data.prompts import PromptDataModule
from r1lit.data.sampler import RolloutSampler

__all__ = ["PromptDataModule", "RolloutSampler", "TinyCorpusDataModule"]
