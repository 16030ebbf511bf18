"""The embedded default: a world small enough to learn in minutes, with a base model that has read its texts."""

from r1lit.tasks.tiny_world.prompts import TinyWorldPrompts
from r1lit.tasks.tiny_world.requests import TinyWorldRequests

__all__ = ["TinyWorldPrompts", "TinyWorldRequests"]
