"""Runs Python programs that nobody trusts, and judges them by tests."""

from r1lit.sandbox.backends import choose, trouble
from r1lit.sandbox.judging import cores, judge, judge_all
from r1lit.sandbox.types import (
    AssertTest,
    CallTest,
    IOTest,
    Isolation,
    Job,
    Limits,
    SandboxError,
    Test,
    Verdict,
)

__all__ = [
    "AssertTest",
    "CallTest",
    "IOTest",
    "Isolation",
    "Job",
    "Limits",
    "SandboxError",
    "Test",
    "Verdict",
    "choose",
    "cores",
    "judge",
    "judge_all",
    "trouble",
]
