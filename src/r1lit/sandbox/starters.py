"""What contest sites import before a solution runs: LeetCode's starters write ``List[int]`` without an import."""

import ast

_NAMES = {
    "typing": "Any Callable DefaultDict Deque Dict FrozenSet Iterable Iterator List Optional Set Tuple Union",
    "collections": "Counter OrderedDict defaultdict deque namedtuple",
    "heapq": "heapify heappop heappush heappushpop heapreplace nlargest nsmallest",
    "bisect": "bisect_left bisect_right insort insort_left insort_right",
    "itertools": "accumulate chain combinations combinations_with_replacement count cycle groupby islice pairwise "
    "permutations product repeat starmap takewhile zip_longest",
    "functools": "cache cmp_to_key lru_cache partial reduce",
    "math": "ceil comb factorial floor gcd inf isqrt lcm log log2 perm pi sqrt",
    "operator": "itemgetter mul xor",
    "string": "ascii_letters ascii_lowercase ascii_uppercase digits",
}
_FROM = {name: module for module, names in _NAMES.items() for name in names.split()}
_MODULES = frozenset({
    "bisect", "collections", "copy", "datetime", "functools", "heapq", "itertools", "math", "operator", "random", "re",
    "string", "sys", "typing",
})  # fmt: skip


def with_presupposed(program: str) -> str:
    """The program with imports of what it uses, does not define, and a contest site would have imported.

    They stand in a line before the first one, so that only programs which would fail otherwise have their lines moved.
    """
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program
    used, bound = set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            if node.name == "*":
                return program  # nobody can tell what it brings
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    missing = sorted(used - bound)
    lines = [f"from {_FROM[name]} import {name}" for name in missing if name in _FROM]
    lines += [f"import {name}" for name in missing if name in _MODULES and name not in _FROM]
    if not lines:
        return program
    future = [
        node.end_lineno or 0 for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    place = max(future, default=0)
    written = program.split("\n")
    return "\n".join([*written[:place], "; ".join(lines), *written[place:]])
