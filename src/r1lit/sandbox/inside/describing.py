"""The untrusted side, too: what goes out of a program's process instead of an object, and what is done with one."""

import builtins
import functools
import operator
import types
from collections.abc import Callable
from typing import Any

from r1lit.sandbox.inside import special, wire

MODULE = "program"
"""The module that a program is loaded as; its own classes are of it."""
_IMMUTABLE: tuple[type, ...] = (int, float, complex, str, bytes, tuple, frozenset)
_MUTABLE: tuple[type, ...] = (list, dict, set)
_CALLABLE = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType),
    *(types.MethodDescriptorType, types.WrapperDescriptorType, functools.partial, type(functools.lru_cache(len))),
)


def is_own(value: Any) -> bool:
    """Whether a value's class is the program's, or a named tuple's: it stays here, also where it is of a plain type."""
    kind = type(value)
    return getattr(kind, "__module__", None) == MODULE or (isinstance(value, tuple) and hasattr(kind, "_fields"))


class Shelf:
    """The objects that have a number, which stands for them outside. One object has one number."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def number(self, value: Any) -> int:
        """Its number; it is kept from now on."""
        found = self._numbers.setdefault(id(value), len(self.objects))
        if found == len(self.objects):
            self.objects.append(value)
        return found

    def out(self, value: Any) -> Any:
        """A value as it goes out: a plain one itself, another by its number and what a test must know of it."""
        return wire.encode(value, self._other, is_own)

    def _other(self, value: Any) -> Any:
        number = self.number(value)
        kind = type(value)
        if isinstance(value, type):
            return {"class": number}
        if kind is types.GeneratorType:
            return {"generator": number}
        if not is_own(value) and hasattr(kind, "__await__"):
            return {"awaitable": number}
        if kind in _CALLABLE:
            return {"callable": number}
        of = self.number(kind)
        if isinstance(value, BaseException):
            return {"error": [number, of, [self.out(item) for item in value.args], text_of(value)]}
        return {"object": [number, of, *([self.out(content(value))] if isinstance(value, _IMMUTABLE) else [])]}

    def described(self, kind: type) -> dict[str, Any]:
        """What a class that a test holds is made of."""
        defined = [name for name in special.ALL if _defines(kind, name)]
        return {
            "name": kind.__name__,
            "own": kind.__module__ == MODULE,
            "bases": [self.number(base) for base in kind.__bases__ if base.__module__ == MODULE],
            "special": defined,
            "unhashable": kind.__hash__ is None,
            "methods": [name for name, item in vars(kind).items() if isinstance(item, types.FunctionType)],
            "error": nearest_error(kind) if issubclass(kind, BaseException) else None,
            "plain": next((base.__name__ for base in (*_IMMUTABLE, *_MUTABLE) if issubclass(kind, base)), None),
        }


def _defines(kind: type, name: str) -> bool:
    method = getattr(kind, special.method(name), None)
    return method is not None and method is not getattr(object, special.method(name), None)


def content(value: Any) -> Any:
    """A copy of the plain type that a value's class derives from."""
    for base in (*_IMMUTABLE, *_MUTABLE):
        if isinstance(value, base):
            return base(value)
    raise TypeError(f"a {type(value).__name__} has no plain content")


def nearest_error(kind: type) -> str:
    """The builtin exception that a class is or derives from."""
    return next(str(base.__name__) for base in kind.__mro__ if getattr(builtins, base.__name__, None) is base)


def text_of(error: BaseException) -> str:
    """An error's text, if it can be had."""
    try:
        return str(error)[:2000]
    except BaseException:
        return "an error that cannot be shown"


_loop: Any = None


def _awaited(value: Any) -> Any:
    """Runs an awaitable to its end, all of a program's in one event loop."""
    import asyncio  # slow to import, and rarely wanted

    global _loop
    _loop = _loop or asyncio.new_event_loop()

    async def run() -> Any:
        return await value

    return _loop.run_until_complete(run())


def _copy(value: Any) -> Any:
    import copy

    return copy.copy(value)


def _deepcopy(value: Any) -> Any:
    import copy

    return copy.deepcopy(value)


def _special(target: Any, name: str, *arguments: Any) -> Any:
    return getattr(type(target), special.method(name))(target, *arguments)


def _method(kind: type, name: str, *arguments: Any, **keywords: Any) -> Any:
    return getattr(kind, name)(*arguments, **keywords)


def _exit(target: Any, name: str, error: BaseException | None) -> Any:
    leave = getattr(type(target), special.method(name))
    return leave(target, None, None, None) if error is None else leave(target, type(error), error, error.__traceback__)


def _subclass(name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
    return types.new_class(name, bases, exec_body=lambda made: made.update(namespace, __module__=MODULE))


def _call(function: Any, *arguments: Any, **keywords: Any) -> Any:
    return function(*arguments, **keywords)


def _set_item(target: Any, key: Any, value: Any) -> None:
    target[key] = value


def _operations() -> dict[str, Callable[..., Any]]:
    names = {"and": "and_", "or": "or_"}
    operators = [name for name in (*special.COMPARED, *special.BINARY, *special.IN_PLACE) if name != "divmod"]
    return {
        **{name: getattr(operator, names.get(name, name)) for name in operators},
        **{"divmod": divmod, "call": _call, "getattr": getattr, "setattr": setattr, "delattr": delattr},
        **{
            "getitem": operator.getitem,
            "setitem": _set_item,
            "delitem": operator.delitem,
            "contains": operator.contains,
        },
        **{"len": len, "iter": iter, "next": next, "bool": bool, "str": str, "repr": repr, "hash": hash},
        **{"copy": _copy, "deepcopy": _deepcopy, "content": content, "await": _awaited},
        **{"special": _special, "method": _method, "exit": _exit, "subclass": _subclass},
    }


OPERATIONS = _operations()
