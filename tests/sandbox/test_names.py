"""What a test means by a name is not for the program to say, unless it is the program's name."""

import builtins
import warnings

import pytest

from r1lit.errors import InputError
from r1lit.sandbox import AssertTest, judge
from r1lit.sandbox.names import names_of

# A builtin with which a test looks at the answer, the right answer and a wrong one.
LISTS = ("all", "any", "dict.fromkeys", "enumerate", "filter", "frozenset", "len", "list", "map", "max", "min")
LISTS += ("range", "repr", "reversed", "set", "sorted", "str", "sum", "tuple", "zip")
NUMBERS = ("abs", "bin", "bool", "chr", "complex", "divmod", "float", "hash", "hex", "int", "oct", "ord", "pow")
NUMBERS += ("round",)
HOW = {
    "dict.fromkeys": "dict.fromkeys({})",
    "divmod": "divmod({}, 10)",
    "enumerate": "list(enumerate({}))",
    "filter": "list(filter(None, {}))",
    "map": "list(map(str, {}))",
    "ord": "ord(chr({}))",
    "pow": "pow({}, 2)",
    "range": "list(range({}[0]))",
    "reversed": "list(reversed({}))",
    "zip": "list(zip({}, 'abc'))",
}


@pytest.mark.parametrize("name", sorted({*LISTS, *NUMBERS}))
def test_a_program_that_redefines_a_builtin_passes_no_test_by_it(name):
    right, wrong = ([1, 2], [0, 0, 0]) if name in LISTS else (7, 0)
    look = HOW.get(name, f"{name}({{}})")
    test = AssertTest(f"assert {look.format('answer()')} == {look.format(right)}")
    own = name.partition(".")[0]
    cheat = f"class Any:\n    fromkeys = lambda *a: 0\n    __call__ = lambda *a, **k: 0\n{own} = Any()\n"
    assert judge(f"def answer(): return {right}", test).passed
    assert judge(f"{cheat}def answer(): return {right}", test).passed
    assert not judge(f"{cheat}def answer(): return {wrong}", test).passed
    function = f"def {own}(*a, **k): return 0\ndef answer(): return {wrong}"
    assert not judge(function, test).passed


@pytest.mark.parametrize(
    ("cheat", "test"),
    [
        ("class math: isclose = staticmethod(lambda *a, **k: True)", "assert math.isclose(answer(), 7)"),
        ("def isclose(*a, **k): return True", "assert isclose(answer(), 7)"),
        ("class Counter:\n    def __new__(*a): return 0", "assert Counter([answer()]) == Counter([7])"),
        ("class collections: Counter = staticmethod(len)", "assert collections.Counter([answer()]) == {7: 1}"),
        ("def isinstance(*a): return True", "assert isinstance(answer(), str)"),
        ("def print(*a): raise SystemExit(0)", "print(1)\nassert answer() == 7"),
        ("AssertionError = 1", "assert answer() == 7"),
        ("def check(f): pass", "def check(f):\n    assert f() == 7\ncheck(answer)"),
        ("def check(f): pass\ncandidate = 7", "def check(candidate):\n    assert candidate() == 7\ncheck(answer)"),
        ("limit = 0", "limit = 7\nassert answer() == limit"),
        ("def abs(x): return 0", "assert eval('abs(answer() - 7)') == 0"),
        ("class math: isclose = staticmethod(lambda *a: True)", "assert eval('math.isclose(answer(), 7)')"),
        ("def range(n): return []", "for x in range(3): assert answer() == 7"),
        ("def enumerate(x): return []", "for i, x in enumerate([7]): assert answer() == x"),
    ],
)
def test_other_names_that_decide_nothing(cheat, test):
    assert not judge(f"{cheat}\ndef answer(): return 1", AssertTest(test)).passed
    if "eval('math" not in test:  # whose module only a program that imports it makes known
        assert judge(f"{cheat}\ndef answer(): return 7", AssertTest(test)).passed == ("isinstance" not in test)


FORGER = """
import json, os
def put(message):
    data = json.dumps(message).encode()
    os.write(3, len(data).to_bytes(4, "little") + data)
def get():
    return json.loads(os.read(3, int.from_bytes(os.read(3, 4), "little")))
seen = []
names = ("__builtins__", "__name__", "__import__", "abs", "math", "check", "AssertionError", "isinstance", "answer")
put({"names": {name: {"object": i} for i, name in enumerate(names)}})
while True:
    asked = get()
    seen += [item for item in asked["args"] if not isinstance(item, dict)]
    put({"value": {"object": 99} if asked["do"].startswith("get") else REPLY})
"""


@pytest.mark.parametrize("reply", ["0", "True", "seen[-1] if seen else 0"])
@pytest.mark.parametrize(
    "test",
    [
        "assert abs(answer() - 7) < 1e-6",
        "import math\nassert math.isclose(answer(), 7)",
        "assert math.isclose(answer(), 7)",
        "assert isinstance(answer(), str) and answer() == 'x'",
        "def check(candidate):\n    assert abs(candidate() - 7) == 0\ncheck(answer)",
        "assert sorted([answer()]) == sorted([7])",
    ],
)
def test_forged_builtins_are_handed_nothing(test, reply):
    verdict = judge(FORGER.replace("REPLY", reply), AssertTest(test))
    assert not verdict.passed, verdict


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def sum(a, b): return 6", "assert sum(10, 15) == 6"),
        ("def max(x): return x[0]", "assert max([1, 2]) == 1\nassert max([3, 2]) == 3"),
        ("def copy(x): return [*x]", "assert copy([1]) == [1]"),
        ("def time(h, m): return 60 * h + m", "assert time(1, 2) == 62"),
        ("class array:\n    def size(self): return 3", "assert array().size() == 3"),
        ("class Counter:\n    n = 0\n    def add(self): self.n += 1", "c = Counter()\nc.add()\nassert c.n == 1"),
        ("import math\ndef f(x): return x", "assert math.floor(f(2.5)) == 2"),
        ("def f(x): return x", "assert math.floor(f(2.5)) == 2"),
        ("import datetime as dt\ndef f(y): return y", "assert dt.date(f(2020), 1, 1).year == 2020"),
        ("class Node: value = 1\ndef get(n): return n.value", "root = Node()\nassert get(root) == 1"),
        ("def f(x): return x", "assert eval('f(2)') == 2\nassert globals()['f'](3) == 3"),
        ("LIMIT = 3\ndef f(): return 3", "assert f() == LIMIT"),
        # A name that a scope of the test has for itself is still the program's in the others.
        ("def add(a, b): return a + b", "def check(add):\n    assert add(1, 2) == 3\ncheck(add)"),
        ("def add(a, b): return a + b", "assert (lambda add: add(1, 2))(add) == 3"),
        ("def add(a, b): return a + b", "class T:\n    def add(self): return add(1, 2)\nassert T().add() == 3"),
        ("def add(a, b): return a + b", "def t():\n    def add(): return 3\n    return add()\nassert add(1, 2) == t()"),
        ("from math import gcd", "def t():\n    from math import gcd\n    return gcd(4, 2)\nassert gcd(6, 2) == t()"),
        ("def e(x): return x", "try: int('x')\nexcept ValueError as e2: assert e(1) == 1"),
        # The only name is Python's, and not called, or calls what is not known.
        ("def sum(a, b): return a + b", "def check(candidate):\n    assert candidate(1, 2) == 3\ncheck(sum)"),
        ("def eval(x): return 6", "assert eval('2*3') == 6"),
        ("def sum(a, b): return 6", "match sum(10, 15):\n    case x: assert x == 6"),
        ("def sum(a, b): return 6", "assert globals()['sum'](10, 15) == 6"),
        ("def sum(a, b): return 6", "assert 'sum' in globals() and globals().get('sum')(10, 15) == 6"),
        ("def copy(x): return [*x]", "assert copy([1]) == eval('[1]')"),
        ("def f(x): return x\ndef copy(x): return [*x]", "for t in ['f([2])']: assert copy([2]) == eval(t)"),
        # The module has no such thing.
        ("string = 'abc'\ndef f(): return 3", "assert string.upper() == 'ABC' and f() == 3"),
        ("class Time: hours = 5\ntime = Time()", "assert time.hours == 5"),
        ("def f(x): return x", r"assert f('\d') == '\\d'"),  # a warning, in newer Pythons
    ],
)  # fmt: skip
def test_names_that_are_the_programs(program, test):
    verdict = judge(program, AssertTest(test))
    assert verdict.passed, verdict


def test_names_that_must_be_said():
    unclear = AssertTest("assert abs(sum(10, 15) - 6) < 1e-9")
    with pytest.raises(InputError, match=r"nothing but abs, sum, which Python has; say which.*names="):
        judge("def sum(a, b): return 6", unclear)
    said = AssertTest(unclear.code, names=("sum",))
    assert judge("def sum(a, b): return 6", said).passed
    assert not judge("def abs(x): return 0\ndef sum(a, b): return 7", said).passed
    shadowed = AssertTest("assert sum(Pair(1, 2)) == 3", names=("sum", "Pair"))
    assert judge("class Pair:\n    def __init__(self, *a): self.a = a\ndef sum(p): return 3", shadowed).passed


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("assert [*map(sum, [[1]])] == [1]", "nothing but map, sum, which"),
        ("for t in ('1', '2'): assert int(t) == eval(t)", "nothing but eval, int, which"),
        ("assert 1 + 1 == 2", "takes nothing from the program"),
        ("assert math.floor(2.5) == 2", "takes nothing from the program"),
        ("def check(f): assert f(1)\ncheck(lambda x: x)", "takes nothing from the program"),
        ("try: 1 / 0\nexcept ZeroDivisionError as error: pass", "takes nothing from the program"),
    ],
)
def test_tests_that_would_say_nothing_are_refused(code, message):
    with pytest.raises(InputError, match=message):
        names_of(AssertTest(code))


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def sum(x): return 'junk'", "def check(candidate):\n    assert candidate([1, 2]) == 3\ncheck(sum)"),
        ("x = 1", "assert max([1, 2]) == 2"),
        ("x = 1", "assert eval('2*3') == 6"),
        ("def sum(a, b): return 'junk'", "match sum(10, 15):\n    case x: assert x == 6"),
    ],
)
def test_python_does_not_take_the_place_of_what_the_program_is_to_define(program, test):
    assert not judge(program, AssertTest(test)).passed


def test_a_reason_names_what_is_pythons():
    own = "class Counter:\n    n = 0\n    def add(self): self.n += 1\ndef read(c): return c.n\n"
    test = AssertTest("c = Counter()\nc.add()\nassert read(c) == 1")
    verdict = judge(own, test)
    assert "Counter of the test is Python's, not the program's" in verdict.reason
    assert judge(own, AssertTest(test.code, names=("Counter", "read"))).passed
    assert "Python's" not in judge("def read(c): return c.n", test).reason


def test_names_that_tools_add_to_the_builtins(monkeypatch):
    monkeypatch.setattr(builtins, "display", lambda x: None, raising=False)  # as notebooks do
    assert names_of(AssertTest("assert display(1) == 2")).names == ("display",)


def test_warnings_of_a_test_are_no_errors(recwarn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names_of(AssertTest("assert f('\\d')")).names == ("f",)


def test_what_is_found_in_a_test():
    found = names_of(AssertTest("import re\nassert f(math.pi, x) == len(re.sub('', '', g)) == Fraction(1)", "x = 1"))
    assert set(found.names) == {"f", "g", "x"}
    assert found.modules == ("math",)
    assert found.imports == {"Fraction": "fractions"}
    assert names_of(AssertTest("no python (")).names == ()
    assert "SyntaxError" in judge("", AssertTest("no python (")).reason
