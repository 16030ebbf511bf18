"""Messages between processes: frames of JSON, and Python values as JSON that can build nothing but plain types.

Not pickle, nor marshal: the reader trusts the writer with nothing, least of all with choosing what code to run.
"""

import json
import os
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

LONGEST = 64 << 20
"""Bytes of the longest message that is accepted."""
_SMALL = 1 << 63


class ClosedError(Exception):
    """The other side has closed the connection, or says what makes no sense."""


def pack(message: Any) -> bytes:
    """A frame: four bytes of length, then JSON."""
    body = json.dumps(message).encode()
    return struct.pack("<I", len(body)) + body


def send(fd: int, message: Any) -> None:
    """Writes a frame.

    Raises:
        ClosedError: If nobody reads.
    """
    rest = memoryview(pack(message))
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        raise ClosedError from error


def receive(fd: int) -> Any:
    """Reads a frame.

    Raises:
        ClosedError: At the end of the stream, or if the frame is too long or is not JSON.
    """
    (length,) = struct.unpack("<I", _exactly(fd, 4))
    if length > LONGEST:
        raise ClosedError(f"a message of {length} bytes")
    body = _exactly(fd, length)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ClosedError("a message that is not JSON") from error


def _exactly(fd: int, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = os.read(fd, min(size - len(parts), 1 << 20))
        except OSError as error:
            raise ClosedError from error
        if not part:
            raise ClosedError
        parts += part
    return bytes(parts)


_SEQUENCES: tuple[tuple[type, str], ...] = (
    (tuple, "tuple"),
    (set, "set"),
    (frozenset, "frozenset"),
    (deque, "deque"),
)


def _nothing(value: Any) -> bool:
    return False


def encode(value: Any, other: Callable[[Any], Any], own: Callable[[Any], bool] = _nothing) -> Any:
    """A value as JSON. Subclasses of plain types become the plain type: a Counter a dict.

    Args:
        value: Anything.
        other: Encodes what is not plain, or raises TypeError.
        own: Whether a value is for ``other`` even if it derives from a plain type.
    """
    if own(value):
        return other(value)
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return int(value) if -_SMALL <= value < _SMALL else {"int": hex(value)}
    if isinstance(value, list):
        return [encode(item, other, own) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key, other, own), encode(item, other, own)] for key, item in value.items()]}
    for kind, tag in _SEQUENCES:
        if isinstance(value, kind):
            return {tag: [encode(item, other, own) for item in value]}  # type: ignore[attr-defined]
    if isinstance(value, bytes | bytearray):
        return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    place = (type(value).__module__, type(value).__qualname__)
    if place in _TEXTUAL:
        return {".".join(place): str(value)}
    if place in _DATED:
        return {".".join(place): value.isoformat()}
    if place[0] == "numpy":
        if place[1] == "ndarray" and value.dtype.kind in "biufUS":
            return {"numpy.ndarray": [value.dtype.str, list(value.shape), [encode(x, other) for x in value.flat]]}
        if hasattr(value, "item") and place[1] != "ndarray":
            return encode(value.item(), other)
    if place == ("datetime", "timedelta"):
        return {"datetime.timedelta": [value.days, value.seconds, value.microseconds]}
    return other(value)


_TEXTUAL = {("decimal", "Decimal"), ("fractions", "Fraction")}
_DATED = {("datetime", "date"), ("datetime", "time"), ("datetime", "datetime")}


def decode(message: Any, other: Callable[[Any], Any]) -> Any:
    """The value that was encoded, made anew of exactly the plain types.

    Args:
        message: What ``encode`` made, or what a liar claims it did.
        other: Decodes what the other side's ``other`` encoded.

    Raises:
        ValueError, TypeError: If it is not what ``encode`` makes.
    """
    if isinstance(message, list):
        return [decode(item, other) for item in message]
    if not isinstance(message, dict):
        return message
    if len(message) != 1:
        raise ValueError("not a value")
    ((tag, content),) = message.items()
    if tag == "dict":
        return {decode(key, other): decode(item, other) for key, item in content}
    for kind, name in _SEQUENCES:
        if tag == name:
            return kind(decode(item, other) for item in content)
    return _SCALARS[tag](content) if tag in _SCALARS else other(message)


def _decimal(text: str) -> Any:
    import decimal  # rarely wanted, and slow to import

    return decimal.Decimal(text)


def _fraction(text: str) -> Any:
    import fractions

    return fractions.Fraction(text)


def _dated(name: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        import datetime

        return getattr(datetime, name).fromisoformat(text)

    return read


def _array(parts: list[Any]) -> Any:
    import numpy  # there if a program may import it

    kind, shape, items = parts
    return numpy.array([decode(item, _no_other) for item in items], dtype=kind).reshape(shape)


def _no_other(message: Any) -> Any:
    raise ValueError("not a plain value")


def _timedelta(parts: list[int]) -> Any:
    import datetime

    return datetime.timedelta(*parts)


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "decimal.Decimal": _decimal,
    "fractions.Fraction": _fraction,
    **{f"datetime.{name}": _dated(name) for name in ("date", "time", "datetime")},
    "datetime.timedelta": _timedelta,
    "numpy.ndarray": _array,
}
