"""The special methods that pass between a test and a program: names without their underscores."""

COMPARED = ("eq", "ne", "lt", "le", "gt", "ge")
BINARY = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"),
    "divmod",
)
"""Operators of two operands, each with its reflected and its in-place form."""
IN_PLACE = tuple(f"i{name}" for name in BINARY if name != "divmod")
NUMBERS = ("neg", "pos", "invert", "abs", "round", "trunc", "floor", "ceil", "int", "float", "complex", "index", "bool")
"""What makes a number of an object."""
CONTENTS = ("len", "iter", "next", "reversed", "length_hint")
OTHERS = (
    *("getitem", "setitem", "delitem", "contains", "call", "enter", "exit", "bytes", "fspath"),
    *("await", "aiter", "anext", "aenter", "aexit"),
)
TEXTS = ("str", "repr", "format")
"""Every class has these."""
REFLECTED = tuple(f"r{name}" for name in BINARY)
ALL = (*COMPARED, *BINARY, *REFLECTED, *IN_PLACE, *NUMBERS, *CONTENTS, *OTHERS, "hash")


def method(name: str) -> str:
    """The method's name."""
    return f"__{name}__"
