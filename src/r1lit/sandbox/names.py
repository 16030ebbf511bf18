"""Which names of a test are the program's, and which are Python's. Looked up in the test, never in the program."""

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field

from r1lit.errors import InputError
from r1lit.sandbox.inside.remote import MODULES
from r1lit.sandbox.types import AssertTest

_IMPORTS = {
    **dict.fromkeys(("isclose", "isfinite", "isinf", "isnan", "inf", "nan", "pi"), "math"),
    **dict.fromkeys(("Counter", "OrderedDict", "defaultdict", "deque"), "collections"),
    **{"Decimal": "decimal", "Fraction": "fractions", "deepcopy": "copy"},
}
"""What tests compare by without importing it; other names of these modules are as likely to be a program's function."""
_LOOKING = frozenset({"eval", "exec", "globals", "locals", "vars"})
"""Builtins with which a test may use a name that does not stand in it."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where the names of a test come from.

    Args:
        names: The program; None: all that it defines and Python does not, for a test that looks names up while it runs.
        modules: The standard library's modules, by their own names.
        imports: Other things of the standard library, with the modules that they are in.
    """

    names: tuple[str, ...] | None
    modules: tuple[str, ...] = ()
    imports: dict[str, str] = field(default_factory=dict)


def names_of(test: AssertTest) -> Names:
    """Finds out where the names of a test come from, by the rule that ``AssertTest`` tells.

    Raises:
        InputError: If a test has nothing but names of Python's, and several that it calls, so that one of them must be
            the program's and none can be told to be.
    """
    try:
        tree = ast.parse(f"{test.setup}\n{test.code}")
    except (SyntaxError, ValueError):
        return Names(())  # compiling it fails inside as well, with the reason
    declared = _declared(tree)
    used = [name for name in _used(tree) if name not in declared]
    owned = {node.id for node in _names(tree) if not isinstance(node.ctx, ast.Load)}
    modules = tuple(name for name in used if name in MODULES and name not in owned and _is_module(name, tree))
    if test.names is not None:
        known = set(test.names)
        return Names(test.names, tuple(m for m in modules if m not in known), _imports(used, owned | known))
    free = [name for name in used if name not in modules and not name.startswith("__")]
    imports = _imports(used, owned)
    python = {name for name in free if hasattr(builtins, name) or name in imports}
    if _LOOKING & python:
        return Names(None, modules, imports)
    if any(name not in python and name not in owned for name in free):
        return Names(tuple(name for name in free if name not in python), modules, imports)
    called = sorted(python & _called(tree) - owned)
    if len(called) > 1:
        raise InputError(
            f"the test {test.code.strip()[:80]!r} names nothing but {', '.join(called)}, which Python has; say which "
            f"the program is to define: AssertTest(code, names=({called[0]!r},)), or 'names' next to 'code' in the data"
        )
    own = tuple(name for name in free if name not in python or name in called)
    return Names(own, modules, {name: module for name, module in imports.items() if name not in called})


def _used(tree: ast.AST) -> list[str]:
    """Names that are read, in order."""
    return list(dict.fromkeys(node.id for node in _names(tree) if isinstance(node.ctx, ast.Load)))


def _names(tree: ast.AST) -> Iterator[ast.Name]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Name))


def _declared(tree: ast.AST) -> set[str]:
    """Names of the test's own functions, classes, parameters and imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def _called(tree: ast.AST) -> set[str]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def _is_module(name: str, tree: ast.AST) -> bool:
    """Whether a name that a module has stands with a dot behind everywhere; ``copy(x)`` calls something else."""
    owners = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return all(id(node) in owners for node in _names(tree) if node.id == name)


def _imports(used: list[str], owned: set[str]) -> dict[str, str]:
    return {name: _IMPORTS[name] for name in used if name in _IMPORTS and name not in owned}
