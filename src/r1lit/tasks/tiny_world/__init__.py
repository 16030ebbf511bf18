"""The embedded default: a world small enough to learn in minutes, with a base model that has read its texts."""

from r1lit.tasks.tiny_world.prompts import TinyWorldPrompts

__all__ = ["TinyWorldPrompts"]
