"""Benchmarks as prompt sources: from the hub or a local file, zero-shot unless told otherwise."""

from r1lit.tasks.benchmarks.chat import IFEvalPrompts, XSTestPrompts
from r1lit.tasks.benchmarks.choice import ChoicePrompts, GPQAPrompts
from r1lit.tasks.benchmarks.code import HumanEvalPrompts, MBPPPrompts
from r1lit.tasks.benchmarks.contest import CodeforcesPrompts, ContestPrompts, LiveCodeBenchPrompts
from r1lit.tasks.benchmarks.maths import AIMEPrompts, GSM8KPrompts, MATH500Prompts, MathPrompts, MGSMPrompts
from r1lit.tasks.benchmarks.source import BenchmarkPrompts

__all__ = [
    "AIMEPrompts",
    "BenchmarkPrompts",
    "ChoicePrompts",
    "CodeforcesPrompts",
    "ContestPrompts",
    "GPQAPrompts",
    "GSM8KPrompts",
    "HumanEvalPrompts",
    "IFEvalPrompts",
    "LiveCodeBenchPrompts",
    "MATH500Prompts",
    "MBPPPrompts",
    "MGSMPrompts",
    "MathPrompts",
    "XSTestPrompts",
]
