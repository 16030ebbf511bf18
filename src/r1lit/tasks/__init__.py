"""Where prompts come from: files, the Hugging Face hub, reasoning-gym, the tiny world."""

from r1lit.tasks.base import Columns, Defaults, PromptSource, prompts_from_rows
from r1lit.tasks.files import FilePrompts
from r1lit.tasks.hub import HubPrompts
from r1lit.tasks.reasoning_gym import ReasoningGymPrompts
from r1lit.tasks.table import TablePrompts

__all__ = [
    "Columns",
    "Defaults",
    "FilePrompts",
    "HubPrompts",
    "PromptSource",
    "ReasoningGymPrompts",
    "TablePrompts",
    "prompts_from_rows",
]
