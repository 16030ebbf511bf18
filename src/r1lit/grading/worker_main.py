"""A worker process that compares answers or runs a user's function; its parent kills it when it takes too long.

Run as a file, by path, so that it imports neither r1lit nor Lightning and starts within a second or two. The process
that its parent starts imports what it needs once and then forks a child that does the work: when the parent kills the
child, the next one stands ready within milliseconds. Requests come pickled on standard input, from the parent only;
replies leave as JSON lines. The end of the input ends both processes.
"""

import json
import logging
import math
import os
import pickle
import resource
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, TextIO

_SPARE_BYTES = 2 << 30
_SPARE_SECONDS = 2
_LOOK_S = 1.0
_ROUNDING = 1e-5
_FULL_MARKS = 1 - 1e-6

Reply = dict[str, Any]


class BadRequestError(Exception):
    """A request that no answer could satisfy: the prompt is at fault."""


def math_checker() -> Callable[[dict[str, Any]], Reply]:
    """Imports math-verify and returns its comparison, without its own time limits, which rest on SIGALRM."""
    from math_verify import LatexExtractionConfig, parse, verify

    usual = LatexExtractionConfig(boxed_match_priority=0)
    # It would read 12 + 10t as 12 + 10 tonnes and drop the unit; units are taken off before.
    config = [replace(usual, normalization_config=replace(usual.normalization_config, units=False))]

    def read(latex: str) -> list[Any]:
        text = rf"\boxed{{{latex}}}"
        found: list[Any] = parse(text, config, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
        return found

    def check(request: dict[str, Any]) -> Reply:
        if request.get("equations"):
            sides = [read(side)[0] for one in ("gold", "answer") for side in request[one].split("=")]
            return {"equal": _same_solutions(sides[0] - sides[1], sides[2] - sides[3])}
        gold, given = read(request["gold"]), read(request["answer"])
        # x > 5 is (5, \infty), whichever of the two the reference is.
        found = verify(gold, given, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True)
        return {"equal": (bool(found) and not _far_apart(gold, given)) or _same_complex(gold[0], given[0])}

    check({"answer": "x + 1", "gold": "1 + x"})  # what is loaded on first use must not count as a job's time
    return _wrong_if_unreadable(check)


def _same_solutions(gold: Any, given: Any) -> bool:
    """Whether two expressions have the same zeros: one is a multiple of the other, or they have the same roots."""
    import sympy

    names = gold.free_symbols | given.free_symbols
    if not names or not gold.free_symbols or not given.free_symbols:
        return False
    ratio = sympy.simplify(gold / given)
    if not ratio.free_symbols and ratio not in (0, sympy.nan, sympy.zoo):
        return True
    if len(names) > 1:
        return False
    name = names.pop()
    roots = [sympy.solveset(one, name, sympy.S.Complexes) for one in (gold, given)]
    return all(isinstance(found, sympy.FiniteSet) for found in roots) and roots[0] == roots[1] and bool(roots[0])


def _same_complex(gold: Any, given: Any) -> bool:
    """Whether two expressions in i are one complex number; readers of LaTeX take i for a symbol like any other."""
    import sympy

    if not all(isinstance(one, sympy.Expr) for one in (gold, given)):
        return False
    names = {name.name for one in (gold, given) for name in one.free_symbols}
    if (names != {"i"} and not (gold.has(sympy.I) or given.has(sympy.I))) or names - {"i"}:
        return False
    a, b = (one.subs(dict.fromkeys(one.free_symbols, sympy.I)) for one in (gold, given))
    difference = complex((a - b).evalf())
    return abs(difference) <= _ROUNDING * 1e-4 * max(1.0, abs(complex(a.evalf())))


def _far_apart(gold: list[Any], given: list[Any]) -> bool:
    """Whether both are numbers and differ by more than rounding: math-verify takes all below 10^-6 for equal."""
    a, b = gold[0], given[0]
    if not (getattr(a, "is_number", False) and getattr(b, "is_number", False)):
        return False
    return bool(abs((a - b).evalf()) > _ROUNDING * max(abs(a.evalf()), abs(b.evalf())))


def gym_checker() -> Callable[[dict[str, Any]], Reply]:
    """Imports reasoning-gym and returns "its scorer gives full marks"."""
    from reasoning_gym.factory import get_score_answer_fn

    scorers: dict[str, Callable[..., float]] = {}

    def check(request: dict[str, Any]) -> Reply:
        name, entry, given = request["dataset"], request["entry"], request["answer"]
        if name not in scorers:
            try:
                scorers[name] = get_score_answer_fn(name)
            except ValueError as error:
                raise BadRequestError(f"prompt {request['prompt']!r}: reasoning-gym has no dataset {name!r}") from error
        # Some scorers hand the answer to sympy's parser, which evaluates Python: names with two underscores are the
        # way out of it and have no place in an answer.
        if "__" in given:
            return {"equal": False}
        try:
            return {"equal": bool(scorers[name](answer=given, entry=entry) >= _FULL_MARKS)}
        except MemoryError:
            raise
        except Exception:
            _try_own_answer(scorers[name], request)  # a bad entry is the user's to mend, a bad answer is just wrong
            return {"equal": False}

    return _wrong_if_unreadable(check)


def _try_own_answer(scorer: Callable[..., float], request: dict[str, Any]) -> None:
    try:
        scorer(answer=request["entry"]["answer"], entry=request["entry"])
    except Exception as error:
        raise BadRequestError(
            f"prompt {request['prompt']!r}: reasoning-gym's scorer of {request['dataset']!r} cannot read the entry "
            f"({type(error).__name__}: {error})"
        ) from error


def _wrong_if_unreadable(check: Callable[[dict[str, Any]], Reply]) -> Callable[[dict[str, Any]], Reply]:
    """What a library of comparisons cannot read is not equal; lack of memory and bad prompts are told apart."""

    def checked(request: dict[str, Any]) -> Reply:
        try:
            return check(request)
        except (MemoryError, BadRequestError):
            raise
        except Exception:
            return {"equal": False}

    return checked


def function_runner(path: list[str], function: bytes) -> Callable[[Any], Reply]:
    """Imports a user's function, by the parent's import path, and returns "its scores of these completions"."""
    sys.path[:] = path
    score = pickle.loads(function)

    def run(completions: Any) -> Reply:
        try:
            return {"scores": [_plain(score) for score in score(completions)]}
        except MemoryError:
            raise
        except Exception as error:
            return {"raised": f"{type(error).__name__}: {' '.join(str(error).split())}"}

    return run


def _plain(score: Any) -> Any:
    """A score as JSON: a number, None, ``"unscored"``, or the type of what is none of them."""
    if score is None:
        return None
    if isinstance(score, Real):
        return float(score)
    if getattr(score, "value", None) == "unscored":
        return "unscored"
    return {"type": type(score).__name__}


CHECKERS: dict[str, Callable[..., Callable[[Any], Reply]]] = {
    "math": math_checker,
    "gym": gym_checker,
    "function": function_runner,
}


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


def answer(check: Callable[[Any], Reply], request: Any) -> Reply:
    """Does one job."""
    try:
        return check(request)
    except MemoryError:
        return {"limit": "memory"}
    except BadRequestError as error:
        return {"bad": " ".join(str(error).split())}


def serve(check: Callable[[Any], Reply], replies: TextIO, bounded: bool) -> None:
    """Answers requests until the input ends."""
    if bounded:
        limit_memory()
    _reply(replies, {"ready": os.getpid()})
    while True:
        try:
            request, timeout_s = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if bounded:
            limit_cpu(timeout_s)
        _reply(replies, answer(check, request))


def supervise(kind: str, replies: TextIO) -> None:
    """Imports what the kind of work needs, then keeps a child at work until the input ends."""
    try:
        check = CHECKERS[kind](**pickle.load(sys.stdin.buffer))
    except (ImportError, AttributeError) as error:
        _reply(replies, {"missing": f"{error}"})
        return
    parent = os.getppid()
    while True:
        ended, alive = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                serve(check, replies, bounded=kind != "function")
                status = 0
            finally:
                os._exit(status)
        os.close(alive)
        # Readable once the child has ended; meanwhile a look for a parent that was killed.
        while not select.select([ended], [], [], _LOOK_S)[0]:
            if os.getppid() != parent:
                os.kill(child, signal.SIGKILL)
        os.close(ended)
        if os.waitpid(child, 0)[1] == 0 or os.getppid() != parent:
            return


def _reply(replies: TextIO, message: Reply) -> None:
    replies.write("\n" + json.dumps(message) + "\n")  # a killed predecessor may have left half a line
    replies.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    logging.disable(logging.CRITICAL)
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)  # what libraries print must not mix with the replies
        supervise(sys.argv[1], channel)
