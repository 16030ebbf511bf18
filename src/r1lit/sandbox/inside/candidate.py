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
from r1lit.sandbox.inside.describing import MODULE, OPERATIONS, Shelf, is_own, nearest_error, text_of


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

    What is not of a plain type stays here and goes out as a number; see ``describing``.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.shelf = Shelf()

    def run(self, program: str) -> None:
        """Loads, reports the names defined, answers; ends the process."""
        add_site_names()
        try:
            module = types.ModuleType(MODULE)
            sys.modules[MODULE] = module
            try:
                exec(compile(program, "program.py", "exec", dont_inherit=True), module.__dict__)
            except BaseException as error:
                _print_error()
                wire.send(self.fd, {"failed": f"{type(error).__name__}: {text_of(error)}"})
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
            return self.shelf.out(value)
        except Exception:
            return {"callable": self.shelf.number(value)}  # a value too deep, say: one may still call it

    def _answer(self, request: Any) -> None:
        try:
            if request["do"] == "describe":
                reply = {"described": self.shelf.described(self.shelf.objects[request["class"]])}
            else:
                reply = self._done(request)
        except wire.ClosedError:
            raise
        except BaseException as error:
            reply = {"raised": self._raised(error)}
        _flush()
        wire.send(self.fd, reply)

    def _done(self, request: Any) -> dict[str, Any]:
        arguments = [self._in(item) for item in request["args"]]
        keywords = {key: self._in(item) for key, item in request["keywords"].items()}
        before = [self._shown(item) for item in arguments]
        value = OPERATIONS[request["do"]](*arguments, **keywords)
        reply = {"value": self.shelf.out(value)}
        after = [self._shown(item) for item in arguments]
        changed = [[i, new] for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        return reply | ({"changed": changed} if changed else {})

    def _raised(self, error: BaseException) -> dict[str, Any]:
        """An error: the nearest builtin class, its module and name, and itself where its class is the program's."""
        try:
            kind = type(error)
            found = {"kind": nearest_error(kind), "class": [kind.__module__, kind.__qualname__]}
            try:
                args = [self.shelf.out(item) for item in error.args]
            except Exception:
                args = [text_of(error)]
            found |= {"args": args, "text": text_of(error)}
            return found | ({"own": self.shelf.out(error)} if is_own(error) else {})
        except BaseException:
            return {"kind": "Exception", "class": ["", ""], "args": ["an error that cannot be shown"], "text": ""}

    def _shown(self, value: Any) -> Any:
        """What a call may change about its argument: nothing but the content of these."""
        plain = isinstance(value, list | dict | set | bytearray) and not is_own(value)
        return self.shelf.out(value) if plain else None

    def _in(self, message: Any) -> Any:
        return wire.decode(message, self._found)

    def _found(self, message: Any) -> Any:
        if "object" in message:
            return self.shelf.objects[message["object"]]
        if "builtin" in message:
            return getattr(builtins, message["builtin"])
        if "exception" in message:
            name, given = message["exception"]
            return getattr(builtins, name)(*given)
        return self._callback(message["function"])

    def _callback(self, number: int) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            out = self.shelf.out
            given = {"args": [out(item) for item in arguments], "keywords": {k: out(v) for k, v in keywords.items()}}
            wire.send(self.fd, {"callback": number, **given})
            while "result" not in (reply := wire.receive(self.fd)):
                self._answer(reply)
            if "error" in reply["result"]:
                raise self._in(reply["result"]["error"])
            return self._in(reply["result"]["value"])

        return call


def _flush() -> None:
    """What a call has printed must not be lost when the process is ended after the tests."""
    try:
        sys.stdout.flush()
    except BaseException:
        return  # a program that has broken printing
