"""What a test holds instead of a program's classes and objects: stand-ins, which ask the program's process.

An object that claims to equal everything must not pass, so a stand-in and a plain value are never equal, and have no
order; where the object's class derives from a plain type, the plain content is compared, here. An operator between the
two is asked for only if the test names the class, by a capital letter, and must give an object again, which makes no
number and no items by itself: else one whose distance from everything is 0 would pass. What an object says that it
holds is believed only of one that the test itself has made of such a class; another one's items are compared, here.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from r1lit.sandbox.inside import special

if TYPE_CHECKING:
    from r1lit.sandbox.inside.remote import Link

_NUMBER, _MET, _LINK = "_standin_number", "_standin_met", "_standin_link"
_KIND_NUMBER, _KIND_LINK = "_kind_number", "_kind_link"
_PLAIN = {base.__name__: base for base in (int, float, complex, str, bytes, tuple, frozenset)}
_READ = frozenset({"__name__", "__qualname__", "__doc__", "__module__", "__dict__", "__annotations__", "__members__"})
"""What a test may ask of attributes with underscores; Python itself asks for many others."""


def number_of(value: Any) -> int | None:
    """The number of what a value stands for; None if it stands for nothing."""
    kind = type(value)
    if issubclass(kind, Kind):
        return int(type.__getattribute__(value, _KIND_NUMBER))
    if issubclass(kind, StandIn | StandInError | StandInValue | Function):
        return int(object.__getattribute__(value, _NUMBER))
    return None


def _link(value: Any) -> "Link":
    link: Link
    if isinstance(value, Function):
        link = object.__getattribute__(value, _LINK)
    else:
        link = type.__getattribute__(value if isinstance(value, Kind) else type(value), _KIND_LINK)
    return link


def _has_met(value: Any) -> bool:
    return isinstance(value, StandIn) and object.__getattribute__(value, _MET)


def _checked(name: str) -> str:
    if name.startswith("__") and name.endswith("__") and name not in _READ:
        raise AttributeError(name)
    return name


class _Asks:
    """Attributes are the program's."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return _link(self).ask("getattr", self, _checked(name))

    def __setattr__(self, name: str, value: Any) -> None:
        _link(self).ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        _link(self).ask("delattr", self, name)


class Function(_Asks):
    """Stands for a function or method, or what else one calls."""

    __slots__ = (_LINK, _NUMBER)

    def __init__(self, link: "Link", number: int) -> None:
        object.__setattr__(self, _LINK, link)
        object.__setattr__(self, _NUMBER, number)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Calls it."""
        return _link(self).ask("call", self, *arguments, **keywords)


class StandIn(_Asks):
    """Stands for an object; its class stands for the object's class and has the same special methods."""

    __slots__ = (_NUMBER, _MET, "__weakref__")

    def __copy__(self) -> Any:
        return _ask_likewise([self], "copy", self)

    def __deepcopy__(self, memo: object) -> Any:
        return _ask_likewise([self], "deepcopy", self)

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        """Of the program's object."""
        return _link(self).ask("getattr", self, "__dict__")


class StandInValue(_Asks):
    """Stands for an object whose class derives from a plain type that does not change: it has that value itself."""


class StandInError(_Asks):
    """Stands for an exception of the program's own."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            object.__setattr__(self, name, value)  # Python's own: where it was raised, and from what
        else:
            _Asks.__setattr__(self, name, value)

    def __str__(self) -> str:
        return str(object.__getattribute__(self, "_standin_text"))


class Kind(type):
    """Stands for a class. A class that a test derives from one exists in the program as well, and calls back."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any) -> "Kind":
        """Makes a mirror of a class of the program's, or, without a number, a class of the test's."""
        if _KIND_NUMBER in namespace:
            return super().__new__(mcs, name, bases, namespace)
        link = _link(next(base for base in bases if isinstance(base, Kind)))
        methods = {key: item for key, item in namespace.items() if key not in _LOCAL and not _is_wrapped(item)}
        mirrored = tuple(base for base in bases if isinstance(base, Kind))
        number = link.make_class(name, mirrored, methods)
        return link.register(
            number, super().__new__(mcs, name, bases, {**namespace, _KIND_NUMBER: number, _KIND_LINK: link})
        )

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any) -> None:
        super().__init__(name, bases, namespace)

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        """Makes an object of the program's class."""
        link = _link(cls)
        made = link.ask("call", cls, *arguments, **keywords)
        link.trust(number_of(made))
        return made

    def __getattr__(cls, name: str) -> Any:
        return _link(cls).ask("getattr", cls, _checked(name))

    def __setattr__(cls, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            _link(cls).ask("setattr", cls, name, value)

    def __iter__(cls) -> Iterator[Any]:
        return iter(_link(cls).ask("iter", cls))

    def __len__(cls) -> int:
        return int(_link(cls).ask("len", cls))

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: Any) -> Any:
        return _link(cls).ask("getitem", cls, key)

    def __contains__(cls, item: Any) -> bool:
        return number_of(item) is not None and _link(cls).ask("contains", cls, item) is True


_LOCAL = frozenset({"__module__", "__qualname__", "__classcell__", "__firstlineno__", "__static_attributes__"})


def _is_wrapped(item: Any) -> bool:
    return isinstance(item, property | staticmethod | classmethod)


def mirror(link: "Link", number: int, described: Mapping[str, Any], bases: tuple[type, ...]) -> Kind:
    """The class that stands for one of the program's.

    Args:
        link: To the program.
        number: The class's.
        described: What ``describing`` says of it. A liar may say anything, and gains nothing: a method that a mirror
            has asks the program, and none decides anything about a plain value.
        bases: The mirrors of its bases.
    """
    plain = _PLAIN.get(described["plain"])
    namespace: dict[str, Any] = {_KIND_LINK: link, _KIND_NUMBER: number, "__doc__": None}
    names = [name for name in special.ALL if name in described["special"]]
    if described["error"] is not None:
        ground: tuple[type, ...] = (StandInError, link.builtin_error(described["error"]))
        names = []
    elif plain is not None:
        ground = (StandInValue, plain)
        names = [name for name in names if not hasattr(plain, special.method(name))]
        names += ["str", "repr", "format"]
    else:
        ground, namespace["__slots__"] = (StandIn,), ()
        names += special.TEXTS
        if "getitem" in names and "iter" not in names:
            names.append("iter")
        if described["plain"] is not None:
            namespace["__eq__"] = _equal_content
            namespace["__ne__"] = lambda self, other: not _equal_content(self, other)
            names = [name for name in names if name not in ("eq", "ne")]
    namespace |= {special.method(name): _special(name) for name in names}
    if described["unhashable"]:
        namespace["__hash__"] = None
    for name in described["methods"]:
        if special.method(name.strip("_")) != name or name == "__init__":
            namespace.setdefault(str(name), _forward(link, number, str(name)))
    rest = tuple(base for base in ground if not any(issubclass(other, base) for other in bases))
    return Kind(str(described["name"]), (*bases, *rest), namespace)


def instance(kind: Any, number: int, plain: Any = None, *, error: tuple[tuple[Any, ...], str] | None = None) -> Any:
    """A stand-in for an object."""
    if error is not None:
        made = kind.__new__(kind, *error[0])
        object.__setattr__(made, "_standin_text", error[1])
    elif issubclass(kind, StandInValue):
        made = kind.__new__(kind, plain)
    else:
        made = object.__new__(kind)
        object.__setattr__(made, _MET, False)
    object.__setattr__(made, _NUMBER, number)
    return made


def generator(link: "Link", number: int) -> Generator[Any, Any, Any]:
    """A real generator that goes on where the program's does."""
    target = Function(link, number)
    try:
        item = link.ask("next", target)
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                link.ask("call", target.close)
                raise
            except Exception as error:
                item = link.ask("call", target.throw, error)
            else:
                item = link.ask("next", target) if sent is None else link.ask("call", target.send, sent)
    except StopIteration as end:
        return end.value


async def awaitable(link: "Link", number: int) -> Any:
    """A real coroutine, in which the program's runs to its end."""
    return link.ask("await", Function(link, number))


def _forward(link: "Link", number: int, name: str) -> Callable[..., Any]:
    """A method as ``super()`` finds it."""

    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return link.ask("method", link.kinds[number], name, self, *arguments, **keywords)

    return method


def _equal_content(self: Any, other: Any) -> bool:
    """Equality of an object whose class derives from a list, dict or set: that of their contents."""
    link = _link(self)
    theirs = link.ask("content", other) if isinstance(other, StandIn) and number_of(other) is not None else other
    return bool(link.ask("content", self) == theirs)


def _special(name: str) -> Callable[..., Any]:
    if name in special.COMPARED:
        return _compared(name)
    if name in special.BINARY or name in special.IN_PLACE:
        return lambda self, other, *more: operate(name, self, other)
    if name in special.REFLECTED:
        return lambda self, other, *more: operate(name[1:], other, self)
    if name in special.TEXTS:
        return lambda self, *given: _text(_link(self).ask("special", self, name, *given))
    if name in _MADE:
        return _MADE[name]
    return _converted(name)


def _compared(name: str) -> Callable[[Any, Any], Any]:
    def compare(self: Any, other: Any) -> Any:
        if number_of(other) is not None:
            return _link(self).ask(name, self, other) is True
        if name in ("eq", "ne"):
            return name == "ne"  # not NotImplemented, which is true where a test calls the method itself
        raise TypeError(f"{name} of an object of the program's and a plain value is not asked for")

    return compare


def operate(name: str, left: Any, right: Any) -> Any:
    """An operator of which at least one operand is an object of the program's."""
    objects = [item for item in (left, right) if number_of(item) is not None]
    link = _link(objects[0])
    mixed = len(objects) < 2
    if mixed and not link.names_class(type(objects[0])):
        return NotImplemented
    value = link.ask(name, left, right) if mixed else _ask_likewise(objects, name, left, right)
    if mixed or _has_met(left) or _has_met(right):
        if not isinstance(value, StandIn):
            raise TypeError(f"{name} of an object of the program's and a plain value gives no object")
        object.__setattr__(value, _MET, True)
    return value


def _ask_likewise(objects: list[Any], do: str, *arguments: Any) -> Any:
    """Asks for an object that the test knows as well as the ones that it comes from."""
    link = _link(objects[0])
    known = all(map(link.trusts, objects))
    value = link.ask(do, *arguments)
    if known:
        link.trust(number_of(value))
    return value


def _refuse_met(self: Any, what: str) -> None:
    if _has_met(self):
        raise TypeError(f"{what} of an object that a plain value was added to, or the like, is not asked for")


def _converted(name: str) -> Callable[..., Any]:
    """What makes a number or items of an object."""

    def convert(self: Any, *given: Any) -> Any:
        _refuse_met(self, name)
        do = (name,) if name in ("iter", "next", "len", "bool", "hash") else ("special",)
        more = () if do[0] == name else (name,)
        value = _link(self).ask(*do, self, *more, *given)
        return value is True if name == "bool" else value

    return convert


def _contains(self: Any, item: Any) -> bool:
    link = _link(self)
    _refuse_met(self, "membership")
    if number_of(item) is not None or (link.names_class(type(self)) and link.trusts(self)):
        return link.ask("contains", self, item) is True
    return any(other is item or other == item for other in link.ask("iter", self))


def _leave(name: str) -> Callable[..., Any]:
    def leave(
        self: Any, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        return _link(self).ask("exit", self, name, error)

    return leave


_MADE: dict[str, Callable[..., Any]] = {
    "contains": _contains,
    "enter": lambda self: _ask_likewise([self], "special", self, "enter"),
    "exit": lambda self, *raised: _leave("exit")(self, *raised) is True,
    "aexit": _leave("aexit"),
    "await": lambda self: awaitable(_link(self), number_of(self) or 0).__await__(),
    "call": lambda self, *arguments, **keywords: _link(self).ask("call", self, *arguments, **keywords),
    "getitem": lambda self, key: _link(self).ask("getitem", self, key),
    "setitem": lambda self, key, value: _link(self).ask("setitem", self, key, value),
    "delitem": lambda self, key: _link(self).ask("delitem", self, key),
}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("the program's text is no string")
    return value
