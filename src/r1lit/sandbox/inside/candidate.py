"""The untrusted side: runs a program, or loads one and answers calls of what it defines. Nothing here is secret."""

import _sitebuiltins
import atexit
import builtins
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from r1lit.sandbox.inside import wire


def add_site_names() -> None:
    """Gives programs ``exit`` and ``quit``; the module ``site``, which would, is left out, as it looks for packages."""
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))


def run_script(program: str) -> None:
    """Runs a program as a script is run, its end included; ends the process."""
    add_site_names()
    status = 1
    try:
        status = _script(program)
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        _print_error()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException:
                status = status or 1
        os._exit(status)


def _script(program: str) -> int:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["program.py"]
    try:
        exec(compile(program, "program.py", "exec", dont_inherit=True), module.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 255
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        _print_error()
        return 1
    return 0


def _print_error() -> None:
    try:
        kind, error, _ = sys.exc_info()
        text = str(error)[:2000]
        line = None
        trace = error.__traceback__ if error is not None else None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "program.py":
                line = trace.tb_lineno
            trace = trace.tb_next
        where = f"program.py, line {line}: " if line else ""
        sys.stderr.write(f"{where}{kind.__name__ if kind else 'error'}: {text}\n")
    except BaseException:
        return  # a program that has broken printing as well


class Server:
    """Loads a program and answers requests over a socket until it closes.

    What is not of a plain type stays here and goes out as a number, its handle.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.objects: list[Any] = []

    def run(self, program: str) -> None:
        """Loads, reports the names defined, answers; ends the process."""
        add_site_names()
        try:
            module = types.ModuleType("program")
            sys.modules["program"] = module
            try:
                exec(compile(program, "program.py", "exec", dont_inherit=True), module.__dict__)
            except BaseException as error:
                _print_error()
                wire.send(self.fd, {"failed": _described(error)})
                return
            names = {key: value for key, value in list(module.__dict__.items()) if not key.startswith("__")}
            wire.send(self.fd, {"names": {key: self._global(value) for key, value in names.items()}})
            while True:
                self._answer(wire.receive(self.fd))
        except wire.ClosedError:
            pass
        finally:
            try:
                sys.stdout.flush()
            finally:
                os._exit(0)

    def _global(self, value: Any) -> Any:
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        try:
            return self._out(value)
        except Exception:
            return self._keep(value)

    def _answer(self, request: Any) -> None:
        try:
            arguments = [self._in(item) for item in request["args"]]
            keywords = {key: self._in(item) for key, item in request["keywords"].items()}
            before = [self._shown(item) for item in arguments]
            value = OPERATIONS[request["do"]](*arguments, **keywords)
            reply = {"value": self._out(value)}
            after = [self._shown(item) for item in arguments]
            changed = [[i, new] for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
            if changed:
                reply["changed"] = changed
        except wire.ClosedError:
            raise
        except BaseException as error:
            reply = {"raised": _described(error)}
        _flush()
        wire.send(self.fd, reply)

    def _shown(self, value: Any) -> Any:
        """What a call may change about its argument: nothing but the content of these."""
        return self._out(value) if isinstance(value, list | dict | set | bytearray) else None

    def _out(self, value: Any) -> Any:
        return wire.encode(value, self._keep)

    def _keep(self, value: Any) -> Any:
        self.objects.append(value)
        return {"object": len(self.objects) - 1}

    def _in(self, message: Any) -> Any:
        return wire.decode(message, self._found)

    def _found(self, message: Any) -> Any:
        if "object" in message:
            return self.objects[message["object"]]
        if "builtin" in message:
            return getattr(builtins, message["builtin"])
        return self._callback(message["function"])

    def _callback(self, number: int) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            wire.send(self.fd, {"callback": number, "args": [self._out(item) for item in arguments]})
            while "result" not in (reply := wire.receive(self.fd)):
                self._answer(reply)
            if "error" in reply["result"]:
                raise RuntimeError(reply["result"]["error"])
            return self._in(reply["result"]["value"])

        return call


def _flush() -> None:
    """What a call has printed must not be lost when the process is ended after the tests."""
    try:
        sys.stdout.flush()
    except BaseException:
        return  # a program that has broken printing


def _described(error: BaseException) -> list[str]:
    """The name of the nearest builtin class of the error, and its text."""
    try:
        names = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
        return [names[0], f"{type(error).__name__}: {error}"[:500]]
    except BaseException:
        return ["Exception", "an error that cannot be shown"]


def _call(function: Any, *arguments: Any, **keywords: Any) -> Any:
    return function(*arguments, **keywords)


def _set_item(target: Any, key: Any, value: Any) -> None:
    target[key] = value


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
_COMPARED = ("eq", "ne", "lt", "le", "gt", "ge")
BETWEEN = (*_BINARY, *_COMPARED)
"""Operators that are worked out here, but only between two objects of the program's own."""


def _operations() -> dict[str, Callable[..., Any]]:
    import operator

    names = {"and": "and_", "or": "or_"}
    found: dict[str, Callable[..., Any]] = {name: getattr(operator, names.get(name, name)) for name in BETWEEN}
    return {
        **found,
        "call": _call,
        "getattr": getattr,
        "setattr": setattr,
        "delattr": delattr,
        "getitem": operator.getitem,
        "setitem": _set_item,
        "delitem": operator.delitem,
        "len": len,
        "iter": iter,
        "next": next,
        "bool": bool,
        "str": str,
        "repr": repr,
    }


OPERATIONS = _operations()
