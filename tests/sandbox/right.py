# ruff: noqa: E501
"""Right programs with classes of their own, and tests as people write them: each passes."""

RIGHT: dict[str, tuple[str, str]] = {}


def add(name: str, program: str, test: str) -> None:
    RIGHT[name] = (program, test)


POINT = """
class Point:
    origin = (0, 0)
    def __init__(self, x, y=0): self.x, self.y = x, y
    def __eq__(self, other): return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)
    def __hash__(self): return hash((self.x, self.y))
    def __repr__(self): return f"Point({self.x}, {self.y})"
    def __add__(self, other): return Point(self.x + other.x, self.y + other.y)
    def __sub__(self, other): return Point(self.x - other.x, self.y - other.y)
    def __mul__(self, k): return Point(self.x * k, self.y * k) if isinstance(k, (int, float)) else self.x * k.x + self.y * k.y
    __rmul__ = __mul__
    def __truediv__(self, k): return Point(self.x / k, self.y / k)
    def __neg__(self): return Point(-self.x, -self.y)
    def __abs__(self): return (self.x ** 2 + self.y ** 2) ** 0.5
    def __lt__(self, other): return abs(self) < abs(other)
    def __bool__(self): return bool(self.x or self.y)
    def __iter__(self): return iter((self.x, self.y))
    def __getitem__(self, i): return (self.x, self.y)[i]
    def __len__(self): return 2
    def __radd__(self, other): return self if other == 0 else self + other
    def __iadd__(self, other): self.x += other.x; self.y += other.y; return self
    def __contains__(self, v): return v in (self.x, self.y)
    def __call__(self, k): return self.x * k
    def __format__(self, spec): return f"<{self.x}{spec}{self.y}>"
    def __int__(self): return self.x
    def __float__(self): return float(self.x)
    def __round__(self, n=0): return Point(round(self.x, n), round(self.y, n))
    def norm(self): return abs(self)
    @classmethod
    def unit(cls): return cls(1, 0)
    @staticmethod
    def dist(a, b): return abs(a - b)
    @property
    def pair(self): return (self.x, self.y)
    @pair.setter
    def pair(self, v): self.x, self.y = v
def make(x, y): return Point(x, y)
def total(points): return sum(points, Point(0, 0))
"""
for name, test in {
    "equal": "assert Point(1, 2) == Point(1, 2) and Point(1, 2) != Point(2, 1)",
    "equal to what a function makes": "assert make(1, 2) == Point(1, 2)",
    "not a tuple": "assert Point(1, 2) != (1, 2)",
    "isinstance": "assert isinstance(make(1, 2), Point) and not isinstance(1, Point)",
    "type": "assert type(make(1, 2)) is Point and type(Point(1)).__name__ == 'Point'",
    "sum of two": "assert Point(1, 2) + Point(3, 4) == Point(4, 6)",
    "times a number": "assert Point(1, 2) * 2 == Point(2, 4)",
    "a number times": "assert 2 * Point(1, 2) == Point(2, 4)",
    "dot product": "assert Point(1, 2) * Point(3, 4) == 11",
    "divided": "assert Point(2, 4) / 2 == Point(1, 2)",
    "in a chain": "assert (Point(1, 2) + Point(1, 0)) * 3 - Point(0, 6) == Point(6, 0)",
    "negative": "assert -Point(1, 2) == Point(-1, -2)",
    "absolute": "assert abs(Point(3, 4)) == 5.0 and Point(3, 4).norm() == 5",
    "order": "assert Point(1) < Point(2) and Point(3) > Point(2) and not Point(2) < Point(1)",
    "sorted": "assert [p.x for p in sorted([Point(3), Point(1), Point(2)])] == [1, 2, 3]",
    "max": "assert max([Point(3), Point(9), Point(2)]).x == 9 and min(Point(3), Point(1)) == Point(1)",
    "sum": "assert sum([Point(1, 1), Point(2, 2)]) == Point(3, 3) and total([Point(1), Point(2)]) == Point(3)",
    "in place": "p = Point(1, 1)\nq = p\np += Point(2, 2)\nassert p == Point(3, 3) and q is p",
    "truth": "assert Point(1) and not Point(0)\nif Point(0, 0): assert False",
    "unpacking": "x, y = Point(1, 2)\nassert (x, y) == (1, 2)",
    "items": "assert Point(1, 2)[0] == 1 and Point(1, 2)[-1] == 2 and len(Point(5)) == 2",
    "an index that is none": "try: Point(1, 2)[5]\nexcept IndexError: pass\nelse: assert False",
    "a list of it": "assert list(Point(1, 2)) == [1, 2] and tuple(Point(3, 4)) == (3, 4)",
    "membership": "assert 2 in Point(1, 2) and 3 not in Point(1, 2)",
    "among others": "assert Point(1) in [Point(2), Point(1)] and [Point(1), Point(2)].index(Point(2)) == 1",
    "called": "assert Point(3)(4) == 12 and callable(Point(3))",
    "text": "assert str(Point(1, 2)) == 'Point(1, 2)' and repr([Point(1)]) == '[Point(1, 0)]' and f'{Point(1, 2)!r}' == 'Point(1, 2)'",
    "format": "assert f'{Point(1, 2):-}' == '<1-2>'",
    "as a number": "assert int(Point(7)) == 7 and float(Point(2)) == 2.0 and round(Point(1.234, 5.678), 1) == Point(1.2, 5.7)",
    "a set": "assert len({Point(1), Point(1), Point(2)}) == 2 and Point(1) in {Point(1)}",
    "a key": "d = {Point(1): 'a'}\nassert d[Point(1)] == 'a' and d.get(Point(2)) is None",
    "attributes": "p = Point(1)\np.x = 5\nassert p.x == 5 and p.pair == (5, 0) and hasattr(p, 'y') and not hasattr(p, 'z')",
    "a property": "p = Point(1)\np.pair = (7, 8)\nassert (p.x, p.y) == (7, 8)",
    "a missing attribute": "try: Point(1).z\nexcept AttributeError: pass\nelse: assert False",
    "class attributes": "assert Point.origin == (0, 0) and Point(1).origin == (0, 0) and Point.__name__ == 'Point'",
    "class methods": "assert Point.unit() == Point(1, 0) and Point.dist(Point(0), Point(3, 4)) == 5.0",
    "too few arguments": "try: Point()\nexcept TypeError: pass\nelse: assert False",
    "a copy": "import copy\np = Point(1, [2])\nq, r = copy.copy(p), copy.deepcopy(p)\nq.x = 9\nassert p.x == 1 and p.y is not r.y and r == p",
    "what it holds": "assert Point(1, 2).__dict__ == {'x': 1, 'y': 2} and vars(Point(3))['x'] == 3",
    "a function of the test's": "assert list(map(Point.norm, [Point(3, 4)])) == [5.0] and sorted([Point(2), Point(1)], key=lambda p: p.x)[0] == Point(1)",
    "identity": "p = make(1, 2)\nassert p is p and make(1, 2) is not p",
}.items():
    add(f"points: {name}", POINT, test)

ERRORS = """
class BankError(Exception): pass
class Insufficient(BankError):
    def __init__(self, need, have):
        super().__init__(f"need {need}, have {have}")
        self.need, self.have = need, have
class Wrong(ValueError):
    def __str__(self): return "wrong!"
class Account:
    def __init__(self, balance): self.balance = balance
    def withdraw(self, n):
        if n < 0: raise Wrong(n)
        if n > self.balance: raise Insufficient(n, self.balance)
        self.balance -= n
def load(text):
    import json
    return json.loads(text)
def chained():
    try: {}["a"]
    except KeyError as e: raise BankError("chained") from e
def check(x):
    if not isinstance(x, int): raise TypeError("must be int")
    if x < 0: raise ValueError("must not be negative", x)
    return x
"""
for name, test in {
    "by type": "try: Account(1).withdraw(5)\nexcept Insufficient: pass\nelse: assert False",
    "by its base": "try: Account(1).withdraw(5)\nexcept BankError as e: assert isinstance(e, Insufficient)\nelse: assert False",
    "by a builtin base": "try: Account(1).withdraw(-5)\nexcept ValueError as e: assert str(e) == 'wrong!'\nelse: assert False",
    "not another": "try:\n    try: Account(1).withdraw(5)\n    except Wrong: assert False\nexcept Insufficient: ok = True\nassert ok",
    "text": "try: Account(1).withdraw(5)\nexcept Insufficient as e: assert str(e) == 'need 5, have 1' and e.args == ('need 5, have 1',)",
    "attributes": "try: Account(1).withdraw(5)\nexcept Insufficient as e: assert e.need == 5 and e.have == 1",
    "several": "try: Account(1).withdraw(5)\nexcept (KeyError, Insufficient): pass",
    "builtin text": "try: check(-1)\nexcept ValueError as e: assert e.args == ('must not be negative', -1)\ntry: check('a')\nexcept TypeError as e: assert str(e) == 'must be int'",
    "of the standard library": "import json\ntry: load('{')\nexcept json.JSONDecodeError: pass\nelse: assert False",
    "a helper": "def raises(kind, f, *a):\n    try: f(*a)\n    except kind: return True\n    return False\nassert raises(Insufficient, Account(0).withdraw, 1) and raises(Exception, check, 'a') and not raises(ValueError, check, 1)",
    "raised by the test": "try: raise Insufficient(2, 1)\nexcept BankError as e: assert e.need == 2 and str(e) == 'need 2, have 1'",
    "subclasses": "assert issubclass(Insufficient, BankError) and issubclass(Wrong, ValueError) and not issubclass(Wrong, BankError)",
    "with contextlib": "import contextlib\nwith contextlib.suppress(Insufficient): Account(0).withdraw(1)",
    "after it the object is whole": "a = Account(10)\ntry: a.withdraw(50)\nexcept Insufficient: pass\na.withdraw(3)\nassert a.balance == 7",
    "chained": "try: chained()\nexcept BankError as e: assert str(e) == 'chained'",
    "with unittest": "import unittest\nclass T(unittest.TestCase):\n    def runTest(self):\n        with self.assertRaises(Insufficient) as c: Account(0).withdraw(1)\n        self.assertEqual(c.exception.need, 1)\nr = unittest.TestResult()\nT().run(r)\nassert r.wasSuccessful(), r.errors",
}.items():
    add(f"errors: {name}", ERRORS, test)

SHAPES = """
from abc import ABC, abstractmethod
class Shape(ABC):
    def __init__(self, name="shape"): self.name = name
    @abstractmethod
    def area(self): ...
    def describe(self): return f"{self.name} of {self.area()}"
class Square(Shape):
    def __init__(self, side): super().__init__("square"); self.side = side
    def area(self): return self.side ** 2
def largest(shapes): return max(shapes, key=lambda s: s.area())
def visit(visitor, n): return [visitor.see(i) for i in range(n)]
class Visitor:
    def see(self, i): return i
"""
for name, test in {
    "abstract": "try: Shape()\nexcept TypeError: pass\nelse: assert False",
    "inherited": "assert isinstance(Square(2), Shape) and issubclass(Square, Shape) and Square(3).describe() == 'square of 9'",
    "derived in the test": "class Circle(Shape):\n    def area(self): return 3\nassert Circle('circle').describe() == 'circle of 3' and isinstance(Circle(), Shape)",
    "super in the test": "class Big(Square):\n    def __init__(self, side): super().__init__(side * 10)\n    def area(self): return super().area() + 1\nassert Big(1).area() == 101 and Big(1).describe() == 'square of 101'",
    "handed back": "class One(Shape):\n    def area(self): return 1\nassert largest([Square(2), One(), Square(1)]).area() == 4 and largest([One()]).area() == 1",
    "a visitor": "class Twice(Visitor):\n    def see(self, i): return 2 * i\nassert visit(Twice(), 3) == [0, 2, 4] and visit(Visitor(), 2) == [0, 1]",
    "state of its own": "class Count(Visitor):\n    def __init__(self): self.seen = []\n    def see(self, i): self.seen = self.seen + [i]; return i\nc = Count()\nvisit(c, 3)\nassert c.seen == [0, 1, 2]",
}.items():
    add(f"classes: {name}", SHAPES, test)

OTHER = {
    "context manager": (
        "class Timer:\n    def __enter__(self): self.on = True; return self\n    def __exit__(self, *a): self.on = False",
        "t = Timer()\nwith t as u:\n    assert t.on and u is t\nassert not t.on",
    ),
    "context manager that swallows": (
        "class Quiet:\n    def __enter__(self): return self\n    def __exit__(self, kind, error, trace): self.kind = kind.__name__; return kind is ValueError",
        "q = Quiet()\nwith q: raise ValueError('x')\nassert q.kind == 'ValueError'\ntry:\n    with q: raise KeyError('y')\nexcept KeyError: pass\nelse: assert False",
    ),
    "contextlib's": (
        "from contextlib import contextmanager\nlog = []\n@contextmanager\ndef tag(name):\n    log.append(name)\n    try: yield name.upper()\n    finally: log.append('/' + name)\ndef seen(): return log",
        "with tag('a') as t: assert t == 'A'\nassert seen() == ['a', '/a']",
    ),
    "coroutine": (
        "import asyncio\nasync def add(a, b):\n    await asyncio.sleep(0)\n    return a + b",
        "import asyncio\nassert asyncio.run(add(1, 2)) == 3",
    ),
    "await in the test": (
        "import asyncio\nclass Client:\n    async def get(self, n): await asyncio.sleep(0); return n * 2",
        "import asyncio\nasync def main():\n    c = Client()\n    return [await c.get(1), *await asyncio.gather(c.get(2), c.get(3))]\nassert asyncio.run(main()) == [2, 4, 6]",
    ),
    "async errors": (
        "async def fail(): raise LookupError('no')",
        "import asyncio\ntry: asyncio.run(fail())\nexcept LookupError as e: assert str(e) == 'no'\nelse: assert False",
    ),
    "async with": (
        "class A:\n    async def __aenter__(self): return 5\n    async def __aexit__(self, *a): self.closed = True",
        "import asyncio\nasync def main():\n    a = A()\n    async with a as v: assert v == 5\n    assert a.closed\nasyncio.run(main())",
    ),
    "async for": (
        "async def numbers(n):\n    for i in range(n): yield i",
        "import asyncio\nasync def main(): return [i async for i in numbers(3)]\nassert asyncio.run(main()) == [0, 1, 2]",
    ),
    "generator": (
        "def count(n):\n    while n: yield n; n -= 1",
        "g = count(3)\nassert next(g) == 3 and list(g) == [2, 1] and next(g, None) is None",
    ),
    "generator type": (
        "def count(n): yield from range(n)",
        "import types\nassert isinstance(count(3), types.GeneratorType) and sum(count(4)) == 6",
    ),
    "generator that is sent to": (
        "def echo():\n    got = yield 'ready'\n    while True: got = yield got * 2",
        "g = echo()\nassert next(g) == 'ready' and g.send(3) == 6 and g.send('a') == 'aa'\ng.close()",
    ),
    "generator without end": (
        "def naturals():\n    n = 0\n    while True: yield n; n += 1",
        "from itertools import islice\nassert list(islice(naturals(), 4)) == [0, 1, 2, 3]",
    ),
    "iterator class": (
        "class Up:\n    def __init__(self, n): self.n, self.i = n, 0\n    def __iter__(self): return self\n    def __next__(self):\n        if self.i >= self.n: raise StopIteration\n        self.i += 1; return self.i",
        "assert list(Up(3)) == [1, 2, 3]\nu = Up(1)\nassert next(u) == 1\ntry: next(u)\nexcept StopIteration: pass\nelse: assert False",
    ),
    "iterable class": (
        "class Bag:\n    def __init__(self, *a): self.a = a\n    def __iter__(self): yield from self.a",
        "from collections.abc import Iterable\nassert sorted(Bag(2, 1)) == [1, 2] and 2 in Bag(1, 2) and isinstance(Bag(), Iterable)",
    ),
    "sequence class": (
        "class Seq:\n    def __getitem__(self, i):\n        if i > 2: raise IndexError\n        return i * 10",
        "assert list(Seq()) == [0, 10, 20] and Seq()[1] == 10",
    ),
    "enum": (
        "from enum import Enum\nclass Color(Enum):\n    RED = 1\n    BLUE = 'b'\ndef mix(a): return Color.BLUE if a is Color.RED else Color.RED",
        "assert mix(Color.RED) is Color.BLUE and mix(Color.BLUE) == Color.RED and Color.RED.value == 1 and Color.BLUE.name == 'BLUE'\nassert Color('b') is Color.BLUE and Color['RED'] is Color.RED and [c.name for c in Color] == ['RED', 'BLUE'] and len(Color) == 2\nassert Color.RED in Color and isinstance(Color.RED, Color)",
    ),
    "integer enum": (
        "from enum import IntEnum\nclass Level(IntEnum):\n    LOW = 1\n    HIGH = 3",
        "assert Level.HIGH > Level.LOW and Level.HIGH == 3 and Level.LOW + 1 == 2 and Level(3).name == 'HIGH'",
    ),
    "dataclass": (
        "from dataclasses import dataclass, field\n@dataclass\nclass Item:\n    name: str\n    price: float = 0.0\n    tags: list = field(default_factory=list)\ndef cheapest(items): return min(items, key=lambda i: i.price)",
        "a = Item('a', 2.0)\nassert a == Item('a', 2.0) and a != Item('b') and repr(Item('x')) == \"Item(name='x', price=0.0, tags=[])\"\nassert cheapest([a, Item('b', 1.0)]).name == 'b' and a.tags == []",
    ),
    "frozen dataclass": (
        "from dataclasses import dataclass, FrozenInstanceError\n@dataclass(frozen=True, order=True)\nclass V:\n    n: int",
        "from dataclasses import FrozenInstanceError\nassert {V(1), V(1)} == {V(1)} and V(1) < V(2)\ntry: V(1).n = 5\nexcept FrozenInstanceError: pass\nelse: assert False",
    ),
    "named tuple": (
        "from collections import namedtuple\nPair = namedtuple('Pair', 'a b')\ndef swap(p): return Pair(p.b, p.a)",
        "p = swap(Pair(1, 2))\nassert p == (2, 1) and p.a == 2 and p[1] == 1 and isinstance(p, tuple) and p._asdict() == {'a': 2, 'b': 1}\nx, y = p\nassert (x, y) == (2, 1) and p._replace(a=9).a == 9",
    ),
    "typed named tuple": (
        "from typing import NamedTuple\nclass E(NamedTuple):\n    name: str\n    id: int = 3",
        "assert E('a') == ('a', 3) and E('a').id == 3 and isinstance(E('b', 1), E)",
    ),
    "subclass of list": (
        "class Stack(list):\n    def push(self, x): self.append(x)\n    def top(self): return self[-1]",
        "s = Stack()\ns.push(1); s.push(2)\nassert s.top() == 2 and len(s) == 2 and s == [1, 2] and list(s) == [1, 2] and s.pop() == 2 and s != [1, 2]",
    ),
    "subclass of dict": (
        "class Bag(dict):\n    def __missing__(self, k): return 0\n    def add(self, k): self[k] = self[k] + 1",
        "b = Bag()\nb.add('x'); b.add('x')\nassert b['x'] == 2 and b['y'] == 0 and b == {'x': 2} and 'x' in b and dict(b) == {'x': 2}",
    ),
    "subclass of str": (
        "class Name(str):\n    def shout(self): return self.upper() + '!'",
        "assert Name('a').shout() == 'A!' and Name('a') == 'a' and len(Name('abc')) == 3",
    ),
    "subclass of int": (
        "class Odd(int):\n    def __new__(cls, n):\n        if n % 2 == 0: raise ValueError('even')\n        return super().__new__(cls, n)\n    def half(self): return self // 2",
        "assert Odd(7) == 7 and Odd(7).half() == 3 and Odd(3) + 1 == 4\ntry: Odd(2)\nexcept ValueError: pass\nelse: assert False",
    ),
    "dates": (
        "from datetime import date, datetime, timedelta\ndef later(d, n): return d + timedelta(days=n)\ndef gap(a, b): return b - a\ndef noon(d): return datetime(d.year, d.month, d.day, 12)",
        "from datetime import date, datetime, timedelta\nassert later(date(2024, 2, 28), 2) == date(2024, 3, 1) and gap(date(2024, 1, 1), date(2024, 1, 3)) == timedelta(days=2)\nassert noon(date(2024, 1, 1)) == datetime(2024, 1, 1, 12) and isinstance(later(date(2024, 1, 1), 0), date)",
    ),
    "decimal and fraction": (
        "from decimal import Decimal\nfrom fractions import Fraction\ndef price(a, b): return Decimal(a) + Decimal(b)\ndef half(x): return Fraction(x, 2)",
        "from decimal import Decimal\nfrom fractions import Fraction\nassert price('0.1', '0.2') == Decimal('0.3') and half(3) == Fraction(3, 2)",
    ),
    "linked list": (
        "class Node:\n    def __init__(self, v, next=None): self.v, self.next = v, next\ndef build(xs):\n    head = None\n    for x in reversed(xs): head = Node(x, head)\n    return head\ndef flip(h):\n    p = None\n    while h: h.next, p, h = p, h, h.next\n    return p",
        "h = flip(build([1, 2, 3]))\nout = []\nwhile h:\n    out.append(h.v)\n    h = h.next\nassert out == [3, 2, 1]",
    ),
    "tree": (
        "class Tree:\n    def __init__(self, v, l=None, r=None): self.v, self.l, self.r = v, l, r\ndef depth(t): return 0 if t is None else 1 + max(depth(t.l), depth(t.r))\ndef invert(t): return t and Tree(t.v, invert(t.r), invert(t.l))",
        "t = Tree(1, Tree(2, Tree(4)), Tree(3))\nassert depth(t) == 3 and depth(None) == 0 and invert(t).l.v == 3 and invert(t).r.r.v == 4 and invert(None) is None",
    ),
    "stack": (
        "class Stack:\n    def __init__(self): self._a = []\n    def push(self, x): self._a.append(x); return self\n    def pop(self): return self._a.pop()\n    def __len__(self): return len(self._a)\n    def is_empty(self): return not self._a",
        "s = Stack()\nassert s.is_empty() and s.push(1).push('b').pop() == 'b' and len(s) == 1 and s._a == [1]\ntry: s.pop(); s.pop()\nexcept IndexError: pass\nelse: assert False",
    ),
    "cache": (
        "from functools import lru_cache\ncalls = []\n@lru_cache(maxsize=2)\ndef f(x): calls.append(x); return x * 2\ndef times(): return len(calls)",
        "assert f(1) == f(1) == 2 and times() == 1 and f.cache_info().hits == 1\nf.cache_clear()\nassert f(1) == 2 and times() == 2",
    ),
    "decorator": (
        "def twice(f):\n    def g(*a, **k): return f(*a, **k), f(*a, **k)\n    return g",
        "n = []\n@twice\ndef h(x, y=1):\n    n.append(x)\n    return x + y\nassert h(1, y=2) == (3, 3) and n == [1, 1]",
    ),
    "closure": (
        "def counter():\n    n = 0\n    def up(by=1):\n        nonlocal n; n += by; return n\n    return up",
        "a, b = counter(), counter()\nassert a() == 1 and a(by=4) == 5 and b() == 1",
    ),
    "callbacks": (
        "class Bus:\n    def __init__(self): self.f = []\n    def on(self, f): self.f.append(f)\n    def emit(self, *a, **k): return [f(*a, **k) for f in self.f]",
        "seen = []\nb = Bus()\nb.on(lambda *a, **k: seen.append((a, k)))\nb.on(lambda *a, **k: len(a))\nassert b.emit(1, 2, z=3) == [None, 2] and seen == [((1, 2), {'z': 3})]",
    ),
    "an error of a callback": (
        "def safely(f):\n    try: return f()\n    except KeyError as e: return 'no ' + e.args[0]",
        "def f(): raise KeyError('a')\nassert safely(f) == 'no a'",
    ),
    "singleton": (
        "class One:\n    _it = None\n    def __new__(cls):\n        cls._it = cls._it or super().__new__(cls); return cls._it",
        "assert One() is One()",
    ),
    "slots": (
        "class S:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 1",
        "s = S()\ntry: s.b = 2\nexcept AttributeError: pass\nelse: assert False\nassert s.a == 1",
    ),
    "descriptor": (
        "class Positive:\n    def __set_name__(self, o, n): self.n = '_' + n\n    def __get__(self, i, o): return getattr(i, self.n)\n    def __set__(self, i, v):\n        if v <= 0: raise ValueError('positive!')\n        setattr(i, self.n, v)\nclass Box:\n    w = Positive()\n    def __init__(self, w): self.w = w",
        "b = Box(3)\nb.w = 4\nassert b.w == 4\ntry: b.w = -1\nexcept ValueError as e: assert 'positive' in str(e)\nelse: assert False",
    ),
    "generic class": (
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass Cell(Generic[T]):\n    def __init__(self, v: T): self.v = v\n    def map(self, f): return Cell(f(self.v))",
        "assert Cell(2).map(lambda x: x + 1).v == 3 and Cell[int](4).v == 4",
    ),
    "protocol methods": (
        "class Grid:\n    def __init__(self): self.d = {}\n    def __setitem__(self, k, v): self.d[k] = v\n    def __getitem__(self, k): return self.d[k]\n    def __delitem__(self, k): del self.d[k]\n    def __contains__(self, k): return k in self.d",
        "g = Grid()\ng[1, 2] = 'a'\nassert g[1, 2] == 'a' and (1, 2) in g\ndel g[1, 2]\nassert (1, 2) not in g\ntry: g[0]\nexcept KeyError: pass\nelse: assert False",
    ),
    "total ordering": (
        "from functools import total_ordering\n@total_ordering\nclass V:\n    def __init__(self, t): self.t = tuple(map(int, t.split('.')))\n    def __eq__(self, o): return self.t == o.t\n    def __lt__(self, o): return self.t < o.t",
        "assert V('1.2') < V('1.10') and V('2.0') >= V('1.9') and max(V('1.0'), V('3.0')).t == (3, 0) and V('1.0') == V('1.0')",
    ),
    "matrix product": (
        "class M:\n    def __init__(self, a): self.a = a\n    def __matmul__(self, o): return M([[sum(x * y for x, y in zip(r, c)) for c in zip(*o.a)] for r in self.a])\n    def __eq__(self, o): return self.a == o.a\n    def __pow__(self, n): return self if n == 1 else self @ self ** (n - 1)",
        "assert M([[1, 1], [1, 0]]) @ M([[1, 1], [1, 0]]) == M([[2, 1], [1, 1]]) and (M([[1, 1], [1, 0]]) ** 3).a == [[3, 2], [2, 1]]",
    ),
    "results in containers": (
        "class P:\n    def __init__(self, n): self.n = n\n    def __eq__(self, o): return isinstance(o, P) and self.n == o.n\ndef many(n): return [P(i) for i in range(n)], {'k': P(n)}, (P(0), 1)",
        "a, d, t = many(2)\nassert a == [P(0), P(1)] and d == {'k': P(2)} and t == (P(0), 1)",
    ),
    "arguments that are changed": (
        "class Sorter:\n    def sort(self, xs, key=None): xs.sort(key=key); return xs",
        "x = [3, 1, 2]\nr = Sorter().sort(x, key=lambda v: -v)\nassert x == [3, 2, 1] and r == x",
    ),
    "keyword arguments": (
        "class C:\n    def __init__(self, *, a, **rest): self.a, self.rest = a, rest",
        "c = C(a=1, b=2)\nassert c.a == 1 and c.rest == {'b': 2}",
    ),
    "printing": ("class L:\n    def log(self, x): print('log', x); return x", "assert L().log(3) == 3"),
    "inheritance of two": (
        "class A:\n    def who(self): return 'A'\nclass B:\n    def who(self): return 'B'\n    def b(self): return 1\nclass C(A, B): pass\nclass D(C):\n    def who(self): return 'D' + super().who()",
        "assert C().who() == 'A' and D().who() == 'DA' and D().b() == 1 and isinstance(D(), B) and issubclass(D, A)",
    ),
    "bank": (
        "class Account:\n    rate = 0.1\n    def __init__(self, owner, balance=0): self.owner, self._b = owner, balance\n    @property\n    def balance(self): return self._b\n    def deposit(self, n):\n        if n <= 0: raise ValueError('amount')\n        self._b += n\n    def __add__(self, o): return Account(self.owner + o.owner, self._b + o._b)",
        "a = Account('x')\na.deposit(5)\nassert a.balance == 5 and (a + Account('y', 2)).balance == 7\ntry: a.balance = 3\nexcept AttributeError: pass\nelse: assert False\nAccount.rate = 0.2\nassert a.rate == 0.2",
    ),
}
_BAG = """
class Bag:
    def __init__(self, items): self.items = list(items)
    def __contains__(self, item): return item in self.items
    def __or__(self, other): return Bag(self.items + other.items)
    def __enter__(self): return self
    def __exit__(self, *raised): pass
"""
add("what the test's own object holds", _BAG, "b = Bag([1])\nassert 1 in b and 2 not in b and 'x' not in b")
add("what a union holds", _BAG, "c = Bag([1]) | Bag([2])\nassert 1 in c and 2 in c and 3 not in c")
add("what is held inside of with", _BAG, "with Bag([1]) as b:\n    assert 1 in b and 2 not in b")
add("what a copy holds", _BAG, "import copy\nassert 1 in copy.copy(Bag([1])) and 2 not in copy.deepcopy(Bag([1]))")

for name, (program, test) in OTHER.items():
    add(name, program, test)
