"""Which names of a test are the program's, and which are Python's. Looked up in the test, never in the program."""

import ast
import builtins
import importlib
import symtable
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

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
_SINGLETONS = ("True", "False", "None", "NotImplemented", "Ellipsis", "exit", "quit")
# Not all that this process has: notebooks and tools add names of their own.
_BUILTINS = frozenset(_SINGLETONS) | {
    name for name, value in vars(builtins).items() if getattr(value, "__module__", "") in ("builtins", "io", "_io")
}
_ERRORS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
)


@dataclass(frozen=True, slots=True)
class Names:
    """Where the names of a test come from.

    Args:
        names: The program.
        modules: The standard library's modules, by their own names.
        imports: Other things of the standard library, with the modules that they are in.
        look: Whether the test looks names up while it runs, so that it sees all that the program defines and Python
            does not.
    """

    names: tuple[str, ...]
    modules: tuple[str, ...] = ()
    imports: dict[str, str] = field(default_factory=dict)
    look: bool = False


def names_of(test: AssertTest) -> Names:
    """Finds out where the names of a test come from, by the rule that ``AssertTest`` tells.

    Raises:
        InputError: If a test takes nothing from the program, or has nothing but names of Python's and several of them,
            so that one must be the program's and it is unclear which.
    """
    try:
        found = _Uses(f"{test.setup}\n{test.code}")
    except (SyntaxError, ValueError):
        return Names(())  # compiling it fails inside as well, with the reason
    modules = tuple(name for name in found.read if found.is_module(name))
    if test.names is not None:
        known = set(test.names)
        return Names(
            test.names, tuple(name for name in modules if name not in known), _imports(found.read, found.bound | known)
        )
    free = [name for name in found.read if name not in modules and not name.startswith("__")]
    imports = _imports(free, found.bound)
    python = {name for name in free if name in _BUILTINS or name in imports}
    names = tuple(name for name in free if name not in python)
    if any(name not in found.bound for name in names):
        return Names(names, modules, imports, found.looks)
    own = [name for name in free if name in python and name not in found.bound | _ERRORS]
    own = [name for name in own if name not in _LOOKING] or own
    where = f"the test {test.code.strip()[:80]!r}"
    if not own:
        raise InputError(f"{where} takes nothing from the program, so any passes it; if that is meant, say names=()")
    if set(own) <= _LOOKING and found.looks:
        return Names(names, modules, imports, look=True)
    if len(own) > 1 or found.looks:
        raise InputError(
            f"{where} names nothing but {', '.join(sorted(python))}, which Python has; say which the program is to "
            f"define: AssertTest(code, names=({own[0]!r},)), or 'names' next to 'code' in the data"
        )
    return Names((*names, own[0]), modules, {name: imports[name] for name in imports if name != own[0]})


class _Uses:
    """What a test does with names.

    Attributes:
        read: Names that are read and that are not the test's own functions, classes, parameters, imports or variables
            of functions, in order.
        bound: Of these, the ones that the test also assigns to.
        looks: Whether other names may be read as well, by a text or a key that is not known before it runs.

    Raises:
        SyntaxError, ValueError: If the text is no Python.
    """

    def __init__(self, text: str) -> None:
        tree = _quiet(ast.parse, text)
        read, self.bound, own = _scoped(text)
        texts, self.looks = _looked_up(tree, own)
        self._nodes = list(ast.walk(tree))
        for inner in texts:
            try:
                read |= _scoped(inner)[0]
                self._nodes += ast.walk(_quiet(ast.parse, inner))
            except (SyntaxError, ValueError):
                continue  # the test may be about that
        names = dict.fromkeys(node.id for node in self._nodes if isinstance(node, ast.Name))
        self.read = [name for name in names if name in read and name not in own]

    def is_module(self, name: str) -> bool:
        """Whether a name is a module's: wherever it is used, an attribute that the module has is taken."""
        if name not in MODULES or name in self.bound:
            return False
        taken = {id(node.value): node.attr for node in self._nodes if isinstance(node, ast.Attribute)}
        module = importlib.import_module(name)
        places = [node for node in self._nodes if isinstance(node, ast.Name) and node.id == name]
        return all(hasattr(module, taken.get(id(node), " ")) for node in places)


def _quiet(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function that reads Python; where warnings are errors, what it warns of is no error of the text."""
    try:
        return function(*arguments)
    except SyntaxError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments)


def _scoped(text: str) -> tuple[set[str], set[str], set[str]]:
    """The global names that a text reads, those that it assigns to, and its own functions, classes and imports."""
    top = _quiet(symtable.symtable, text, "test", "exec")
    read, bound = set(), set()
    for scope in _scopes(top):
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (scope is top or symbol.is_global()):
                read.add(symbol.get_name())
            if symbol.is_assigned() and (scope is top or symbol.is_declared_global()):
                bound.add(symbol.get_name())
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_imported() or symbol.is_namespace()}
    return read, bound - own, own


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _scopes(child)


def _looked_up(tree: ast.AST, own: set[str]) -> tuple[list[str], bool]:
    """The Python that ``eval("...")`` and ``globals()["..."]`` read, and whether there is more that is not known."""
    texts: list[str] = []
    known: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="eval" | "exec") as name, args=[ast.Constant(value=str(text)), *_]):
                pass
            case ast.Subscript(value=ast.Call(func=ast.Name() as name, args=[]), slice=ast.Constant(value=str(text))):
                pass
            case ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Name() as name, args=[]), attr="get"),
                args=[ast.Constant(value=str(text)), *_],
            ):
                pass
            case ast.Compare(left=ast.Constant(value=str(text)), comparators=[ast.Call(func=ast.Name() as name)]):
                text = ""  # only whether it is there
            case ast.Call(func=ast.Name(id="vars") as name, args=[_]):
                text = ""
            case _:
                continue
        if name.id in _LOOKING - own:
            texts.append(text)
            known.add(id(name))
    looking = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in _LOOKING - own)
    return texts, any(id(node) not in known for node in looking)


def _imports(used: list[str], known: set[str]) -> dict[str, str]:
    return {name: _IMPORTS[name] for name in used if name in _IMPORTS and name not in known}
