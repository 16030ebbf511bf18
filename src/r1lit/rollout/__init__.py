"""Rollout engines: from prompts to completions, wherever the model runs."""

from r1lit.rollout.native import NativeEngine
from r1lit.rollout.openai import OpenAIEngine
from r1lit.rollout.transformers import TransformersEngine
from r1lit.types import RolloutEngine

__all__ = ["NativeEngine", "OpenAIEngine", "RolloutEngine", "TransformersEngine"]
