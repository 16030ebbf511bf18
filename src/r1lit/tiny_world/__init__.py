"""The tiny world: a base model of half a million weights, its prompts, chats and preferences. A satellite.

No other part needs it: it is what the recipe runs on where no model and no data are given.
"""

from r1lit.tiny_world.base_module import BaseModule
from r1lit.tiny_world.chats import TinyWorldChats
from r1lit.tiny_world.corpus import TinyCorpusDataModule
from r1lit.tiny_world.preferences import TinyWorldLabels, TinyWorldPairs
from r1lit.tiny_world.prompts import TinyWorldPrompts
from r1lit.tiny_world.requests import TinyWorldRequests

__all__ = [
    "BaseModule",
    "TinyCorpusDataModule",
    "TinyWorldChats",
    "TinyWorldLabels",
    "TinyWorldPairs",
    "TinyWorldPrompts",
    "TinyWorldRequests",
]
