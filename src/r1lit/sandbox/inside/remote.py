"""A program's functions and objects as its tests see them: stand-ins that ask another process.

Calling one sends the arguments over a socket and brings the result back as a new value of a plain type, so that what an
``assert`` compares is never an object of the program's.
"""

import builtins
import importlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from r1lit.sandbox.inside import wire
from r1lit.sandbox.inside.candidate import BETWEEN

ENDED = "the program ended before the tests"


class BrokenError(Exception):
    """The program has ended or answers nonsense. It can never pass any more."""


class Link:
    """Asks the program's process; remembers for good what broke it.

    Args:
        fd: Socket to it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.functions: list[Callable[..., Any]] = []
        self.names: dict[str, Any] = {}
        """What the program says it defines, as it came; a liar may name anything, ``__builtins__`` too."""
        self.broken: str | None = None

    def load(self) -> None:
        """Takes note of the names that the program defines.

        Raises:
            BrokenError: If it failed.
        """
        reply = self._receive()
        if "failed" in reply:
            self._break(f"the program failed: {_text(reply['failed'])}")
        with _Sense(self):
            self.names = {key: item for key, item in reply["names"].items() if not key.startswith("__")}

    def named(self, name: str) -> Any:
        """What the program means by a name that it defines: a new value at each call."""
        item = self.names[name]
        with _Sense(self):
            if isinstance(item, dict) and "module" in item:
                module = str(item["module"])
                return importlib.import_module(module) if module in MODULES else None
            return self._in(item)

    def ask(self, do: str, *arguments: Any, **keywords: Any) -> Any:
        """Has the program's process do something with arguments, and returns the result.

        Raises:
            BrokenError: If it does not answer.
            Exception: What the program raised, as the nearest builtin class.
        """
        if self.broken:
            raise BrokenError(self.broken)
        sent = {
            "do": do,
            "args": [self._out(item) for item in arguments],
            "keywords": {key: self._out(item) for key, item in keywords.items()},
        }
        self._send(sent)
        while True:
            reply = self._receive()
            if "callback" not in reply:
                break
            self._send({"result": self._called_back(reply)})
        if "raised" in reply:
            _raise(reply["raised"], do)
        with _Sense(self):
            value = self._in(reply["value"])
            for place, content in reply.get("changed", ()):
                _refill(arguments[place], self._in(content))
            return value

    def _called_back(self, reply: Any) -> Any:
        try:
            with _Sense(self):
                function = self.functions[reply["callback"]]
                arguments = [self._in(item) for item in reply["args"]]
            return {"value": self._out(function(*arguments))}
        except BrokenError:
            raise
        except Exception as error:
            return {"error": str(error)[:500]}

    def _send(self, message: Any) -> None:
        try:
            wire.send(self.fd, message)
        except wire.ClosedError:
            self._wait_end()

    def _receive(self) -> dict[str, Any]:
        if self.broken:
            raise BrokenError(self.broken)
        try:
            reply = wire.receive(self.fd)
        except wire.ClosedError as error:
            self._break(str(error) or ENDED)
        if not isinstance(reply, dict):
            self._break("the program answered nonsense")
        return reply

    def _wait_end(self) -> NoReturn:
        self._break(ENDED)

    def _break(self, reason: str) -> NoReturn:
        self.broken = self.broken or reason
        raise BrokenError(self.broken)

    def _out(self, value: Any) -> Any:
        return wire.encode(value, self._other)

    def _other(self, value: Any) -> Any:
        if isinstance(value, Remote):
            return {"object": object.__getattribute__(value, "_number")}
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and getattr(builtins, name, None) is value:
            return {"builtin": name}
        if callable(value):
            self.functions.append(value)
            return {"function": len(self.functions) - 1}
        raise TypeError(f"a test cannot hand a {type(value).__name__} to the program")

    def _in(self, message: Any) -> Any:
        return wire.decode(message, self._remote)

    def _remote(self, message: Any) -> "Remote":
        return Remote(self, int(message["object"]))


class _Sense:
    """Whatever goes wrong while a reply is read is the program's fault: nothing but it writes replies."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and issubclass(kind, Exception) and not issubclass(kind, BrokenError):
            self.link._break("the program answered nonsense")


class Remote:
    """Stands for an object of the program: a function, a class, an instance, an iterator.

    Operators work between two of these only. Between one and a plain value they raise TypeError, and the two are never
    equal: else an object that claims to equal everything, or to lie at a distance of 0 from it, would pass.
    """

    __slots__ = ("_link", "_number")

    def __init__(self, link: Link, number: int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Calls it."""
        return self._link.ask("call", self, *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return self._link.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._link.ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._link.ask("delattr", self, name)

    def __getitem__(self, key: Any) -> Any:
        return self._link.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._link.ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._link.ask("delitem", self, key)

    def __len__(self) -> int:
        return int(self._link.ask("len", self))

    def __iter__(self) -> Iterator[Any]:
        iterator = self._link.ask("iter", self)
        while True:
            try:
                item = self._link.ask("next", iterator)
            except StopIteration:
                return
            yield item

    def __next__(self) -> Any:
        return self._link.ask("next", self)

    def __bool__(self) -> bool:
        return self._link.ask("bool", self) is True

    def __str__(self) -> str:
        return _string(self._link.ask("str", self))

    def __repr__(self) -> str:
        return _string(self._link.ask("repr", self))

    def __hash__(self) -> int:
        return int(self._number)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("the program's text is no string")
    return value


def _add_operator(name: str) -> None:
    def operate(self: Remote, other: Any) -> Any:
        return self._link.ask(name, self, other) if isinstance(other, Remote) else NotImplemented

    setattr(Remote, f"__{name}__", operate)


for _name in BETWEEN:
    _add_operator(_name)


def _raise(described: Any, do: str) -> NoReturn:
    name, text = str(described[0]), str(described[1])
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)) or name == "StopAsyncIteration":
        kind = RuntimeError
    if kind is StopIteration and do != "next":  # it would end a loop of the test's, and with it the test
        kind = RuntimeError
    try:
        error = kind(text)
    except TypeError:  # such as UnicodeDecodeError, which wants more arguments
        error = RuntimeError(text)
    raise error


def _text(described: Any) -> str:
    return str(described[1])[:300]


def _refill(target: Any, content: Any) -> None:
    """Gives an argument of the test the content that the program left in its copy."""
    if isinstance(target, list | bytearray) and isinstance(content, list | bytearray):
        target[:] = content
    elif isinstance(target, dict | set) and isinstance(content, dict | set):
        target.clear()
        target.update(content)


MODULES = (
    *("array", "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq"),
    *("itertools", "json", "math", "operator", "random", "re", "statistics", "string", "sys", "time", "typing"),
)
"""What a test may use without importing it, as the program it was written with did."""
