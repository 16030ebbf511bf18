"""The line between a test and the program, which runs in another process.

A call sends the arguments over a socket and brings the result back as a new value of a plain type, or as a stand-in, so
that what an ``assert`` compares is never an object of the program's.
"""

import builtins
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from r1lit.sandbox.inside import wire
from r1lit.sandbox.inside.standins import (
    Function,
    Kind,
    StandInError,
    awaitable,
    generator,
    instance,
    mirror,
    number_of,
)

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
        self.kinds: dict[int, Kind] = {}
        """The stand-ins of classes, by number."""
        self.used: frozenset[str] = frozenset()
        """The names that the test takes from the program."""
        self.broken: str | None = None
        self._objects: dict[int, Any] = {}
        self._made: set[int] = set()

    def load(self) -> None:
        """Takes note of the names that the program defines.

        Raises:
            BrokenError: If it failed.
        """
        reply = self._receive()
        if "failed" in reply:
            self._break(f"the program failed: {str(reply['failed'])[:300]}")
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
            Exception: What the program raised: of its own class, or of the nearest that Python has.
        """
        sent = {
            "do": do,
            "args": [self._out(item) for item in arguments],
            "keywords": {key: self._out(item) for key, item in keywords.items()},
        }
        reply = self._exchanged(sent)
        if "raised" in reply:
            with _Sense(self):
                error = self._error(reply["raised"], do)
            raise error
        with _Sense(self):
            value = self._in(reply["value"])
            for place, content in reply.get("changed", ()):
                _refill(arguments[place], self._in(content))
            return value

    def make_class(self, name: str, bases: tuple[Kind, ...], methods: Mapping[str, Any]) -> int:
        """Has the program derive a class whose methods are a test's; its number."""
        made = self.ask("subclass", name, bases, {key: item for key, item in methods.items() if _can_be_sent(item)})
        if (number := number_of(made)) is None:
            raise TypeError(f"the program makes no class {name}")
        return number

    def register(self, number: int, kind: Kind) -> Kind:
        """Has a class of a test's stand for the one that was made for it."""
        self.kinds[number] = kind
        return kind

    def names_class(self, kind: type) -> bool:
        """Whether the test names a class as one names classes, so that its author knows of such objects."""
        return kind.__name__ in self.used and kind.__name__[:1].isupper()

    def trust(self, number: int | None) -> None:
        """Remembers that the test has made the object of a number; the program loses that by handing it over again."""
        if number is not None:
            self._made.add(number)

    def trusts(self, value: Any) -> bool:
        """Whether the test has made an object, and the program has not given it as a result since."""
        return number_of(value) in self._made

    def builtin_error(self, name: str) -> type[Exception]:
        """The builtin exception of a name; RuntimeError for what is none that a program may raise in a test."""
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return RuntimeError if issubclass(kind, StopIteration | StopAsyncIteration) else kind
        return RuntimeError

    def _exchanged(self, request: Any) -> dict[str, Any]:
        if self.broken:
            raise BrokenError(self.broken)
        self._send(request)
        while "callback" in (reply := self._receive()):
            self._send({"result": self._called_back(reply)})
        return reply

    def _called_back(self, reply: Any) -> Any:
        try:
            with _Sense(self):
                function = self.functions[reply["callback"]]
                arguments = [self._in(item) for item in reply["args"]]
                keywords = {str(key): self._in(item) for key, item in reply.get("keywords", {}).items()}
            return {"value": self._out(function(*arguments, **keywords))}
        except BrokenError:
            raise
        except Exception as error:
            return {"error": self._out(error)}

    def _error(self, described: Mapping[str, Any], do: str) -> Exception:
        """The exception that the program raised, or the nearest that a test can know."""
        own = self._in(described["own"]) if "own" in described else None
        if isinstance(own, Exception) and not isinstance(own, StopIteration | StopAsyncIteration):
            return own
        args = [self._in(item) for item in described["args"]]
        kind = self.builtin_error(described["kind"])
        # Elsewhere these would end a loop of the test's, and with it the test.
        if (described["kind"], do) in (("StopIteration", "next"), ("StopAsyncIteration", "await")):
            kind = getattr(builtins, described["kind"])
        module, name = described["class"]
        found = getattr(importlib.import_module(module), name, None) if module in _ERRORS else None
        if isinstance(found, type) and issubclass(found, Exception):
            return found.__new__(found, *args)  # not by its constructor, which may want what is not among these
        for given in (args, [str(described["text"])]):
            try:
                return kind(*given)
            except TypeError:  # such as UnicodeDecodeError, which wants other arguments
                continue
        return RuntimeError(str(described["text"]))

    def _send(self, message: Any) -> None:
        try:
            wire.send(self.fd, message)
        except wire.ClosedError:
            self._break(ENDED)

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

    def _break(self, reason: str) -> NoReturn:
        self.broken = self.broken or reason
        raise BrokenError(self.broken)

    def _out(self, value: Any) -> Any:
        return wire.encode(value, self._other, _stands_in)

    def _other(self, value: Any) -> Any:
        if (number := number_of(value)) is not None:
            return {"object": number}
        if isinstance(value, Exception):
            name = next(base.__name__ for base in type(value).__mro__ if getattr(builtins, base.__name__, None) is base)
            return {
                "exception": [name, [item if isinstance(item, str | int | float) else str(item) for item in value.args]]
            }
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and getattr(builtins, name, None) is value:
            return {"builtin": name}
        if callable(value):
            self.functions.append(value)
            return {"function": len(self.functions) - 1}
        raise TypeError(f"a test cannot hand a {type(value).__name__} to the program")

    def _in(self, message: Any) -> Any:
        return wire.decode(message, self._found)

    def _found(self, message: Any) -> Any:
        ((tag, content),) = message.items()
        if tag in ("object", "error"):
            return self._object(int(content[0]), int(content[1]), tag, content[2:])
        number = int(content)
        if tag == "class":
            return self._kind(number)
        if tag == "generator":
            return self._objects.setdefault(number, generator(self, number))
        if tag == "awaitable":
            return awaitable(self, number)
        if tag == "callable":
            return self._objects.setdefault(number, Function(self, number))
        raise ValueError("not a value")

    def _object(self, number: int, of: int, tag: str, more: Any) -> Any:
        self._made.discard(number)
        if number not in self._objects:
            kind = self._kind(of)
            if tag == "error":
                given = tuple(self._in(item) for item in more[0]), str(more[1])
                if not issubclass(kind, StandInError):
                    raise ValueError("an error whose class is none")
                self._objects[number] = instance(kind, number, error=given)
            else:
                self._objects[number] = instance(kind, number, *(self._in(item) for item in more))
        return self._objects[number]

    def _kind(self, number: int, below: tuple[int, ...] = ()) -> Kind:
        if number not in self.kinds:
            if number in below:
                raise ValueError("a class that derives from itself")
            described = self._exchanged({"do": "describe", "class": number})["described"]
            bases = tuple(self._kind(int(base), (*below, number)) for base in described["bases"])
            self.kinds[number] = mirror(self, number, described, bases)
        return self.kinds[number]


class _Sense:
    """Whatever goes wrong while a reply is read is the program's fault: nothing but it writes replies."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and issubclass(kind, Exception) and not issubclass(kind, BrokenError):
            self.link._break("the program answered nonsense")


_ERRORS = ("json.decoder", "decimal", "queue", "asyncio.exceptions", "statistics", "dataclasses", "struct", "binascii")
"""Modules of the standard library whose exceptions a test catches by their class."""


def _stands_in(value: Any) -> bool:
    return number_of(value) is not None


def _can_be_sent(item: Any) -> bool:
    return callable(item) or item is None or isinstance(item, bool | int | float | str | list | dict | tuple | set)


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
