"""A worker process that compares answers; its parent kills it when it takes too long.

Run as a file, by path, so that it imports neither r1lit nor Lightning and starts within a second or two. Requests come
pickled on standard input, from the parent only; replies leave as JSON lines.
"""

import json
import logging
import math
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

_SPARE_BYTES = 2 << 30
_SPARE_SECONDS = 2
_FULL_MARKS = 1 - 1e-6


class BadRequestError(Exception):
    """A request that no answer could satisfy: the prompt is at fault."""


def math_checker() -> Callable[[dict[str, Any]], bool]:
    """Imports math-verify and returns its comparison, without its own time limits, which rest on SIGALRM."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0)]

    def read(latex: str) -> list[Any]:
        text = rf"\boxed{{{latex}}}"
        return parse(text, config, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)

    def check(request: dict[str, Any]) -> bool:
        return verify(read(request["gold"]), read(request["answer"]), timeout_seconds=None, raise_on_error=True)

    check({"answer": "x + 1", "gold": "1 + x"})  # what is loaded on first use must not count as a job's time
    return check


def gym_checker() -> Callable[[dict[str, Any]], bool]:
    """Imports reasoning-gym and returns "its scorer gives full marks"."""
    from reasoning_gym.factory import get_score_answer_fn

    scorers: dict[str, Callable[..., float]] = {}

    def check(request: dict[str, Any]) -> bool:
        name, entry, given = request["dataset"], request["entry"], request["answer"]
        if name not in scorers:
            try:
                scorers[name] = get_score_answer_fn(name)
            except ValueError as error:
                raise BadRequestError(f"prompt {request['prompt']!r}: reasoning-gym has no dataset {name!r}") from error
        # Some scorers hand the answer to sympy's parser, which evaluates Python: names with two underscores are the
        # way out of it and have no place in an answer.
        if "__" in given:
            return False
        try:
            return scorers[name](answer=given, entry=entry) >= _FULL_MARKS
        except MemoryError:
            raise
        except Exception:
            _try_own_answer(scorers[name], request)  # a bad entry is the user's to mend, a bad answer is just wrong
            return False

    return check


def _try_own_answer(scorer: Callable[..., float], request: dict[str, Any]) -> None:
    try:
        scorer(answer=request["entry"]["answer"], entry=request["entry"])
    except Exception as error:
        raise BadRequestError(
            f"prompt {request['prompt']!r}: reasoning-gym's scorer of {request['dataset']!r} cannot read the entry "
            f"({type(error).__name__}: {error})"
        ) from error


CHECKERS = {"math": math_checker, "gym": gym_checker}


def limit_memory() -> None:
    """Bounds the address space at what the imports took plus 2 GiB, where the system says how much that is."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + _SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def limit_cpu(seconds: float) -> None:
    """Bounds the processor time of the next job, so that a worker whose parent was killed does not compute on."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + seconds) + _SPARE_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def answer(check: Callable[[dict[str, Any]], bool], request: dict[str, Any]) -> dict[str, Any]:
    """Runs one comparison. What the library cannot read is not equal; lack of memory and bad prompts are told apart."""
    try:
        return {"equal": bool(check(request))}
    except MemoryError:
        return {"limit": "memory"}
    except BadRequestError as error:
        return {"bad": " ".join(str(error).split())}
    except Exception:
        return {"equal": False}


def serve(kind: str, replies: TextIO) -> None:
    """Answers requests until the input ends."""

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    try:
        check = CHECKERS[kind]()
    except ImportError as error:
        reply({"missing": f"{error}"})
        return
    limit_memory()
    reply({"ready": True})
    while True:
        try:
            request, timeout_s = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        limit_cpu(timeout_s)
        reply(answer(check, request))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    logging.disable(logging.CRITICAL)
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)  # what libraries print must not mix with the replies
        serve(sys.argv[1], channel)
