# ruff: noqa: E501
"""Programs that hold more memory than they may, speak over sockets, or hand state from one input to the next."""

# Each tries to hold three times the memory limit where no process is charged for it, and prints "held" if it can.
_HOLD = """
import ctypes, mmap, os, socket, sys, time
MB = 1 << 20
SIZE = {SIZE} * MB
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
waiting, ready = os.pipe()
def held():
    time.sleep(0.4)
    print("held", flush=True)
def mapped(flags, fd=-1, size=8 * MB):
    at = libc.mmap(None, size, 3, flags, fd, 0)
    if at in (None, ctypes.c_void_p(-1).value): raise SystemExit(3)
    return at
def drop(flags, advice, fd=lambda: -1):
    for _ in range(6):  # as each may only map so much
        if os.fork() == 0:
            for _ in range(SIZE // (6 * 8 * MB)):
                at = mapped(flags, fd())
                ctypes.memset(at, 1, 8 * MB)
                libc.madvise(at, 8 * MB, advice)
            os.write(ready, b"x"); time.sleep(9); os._exit(0)
    os.close(ready); done = b""
    while len(done) < 6: done += os.read(waiting, 6) or sys.exit(3)
    held()
def fill(path, size=SIZE, part=2 * MB):
    files = []
    for number in range(size // part):
        file = open(path % number, "wb", 0); file.write(b"x" * part); files.append(file)
    return files
"""

MEMORY = {
    "shared pages dropped from residency": "drop(0x21, 4)",
    "shared pages paged out": "drop(0x21, 21)",
    "shared pages made cold": "drop(0x21, 20)",
    "shared pages by mmap's module": "maps = []\nfor _ in range(4):\n    if os.fork() == 0: break\nfor _ in range(SIZE // (32 * MB)):\n    m = mmap.mmap(-1, 8 * MB); m.write(b'x' * 8 * MB); m.madvise(mmap.MADV_DONTNEED); maps.append(m)\nheld()",
    "shared and validated pages": "drop(0x23, 4)",
    "shared huge pages": "drop(0x40021, 4)",
    "the zero device mapped": "drop(0x1, 4, lambda: os.open('/dev/zero', os.O_RDWR))",
    "a memory file": "fd = os.memfd_create('x')\nfor _ in range(SIZE // MB): os.write(fd, b'x' * MB)\nheld()",
    "a secret memory file": "fd = libc.syscall(447, 0)\nif fd < 0: raise SystemExit(3)\nos.ftruncate(fd, SIZE); m = mapped(1, fd, SIZE); ctypes.memset(m, 1, SIZE); held()",
    "a System V segment": "n = libc.shmget(0, SIZE, 0o1600)\nif n < 0: raise SystemExit(3)\nlibc.shmat.restype = ctypes.c_void_p\nctypes.memset(libc.shmat(n, None, 0), 1, SIZE); held()",
    "files in the temporary folder": "f = fill('/tmp/%d'); held()",
    "files in shared memory": "f = fill('/dev/shm/%d'); held()",
    "files in both": "f = fill('/tmp/%d', SIZE // 4) + fill('/dev/shm/%d', SIZE // 4); held()",
    "deleted files": "files = []\nfor n in range(SIZE // (2 * MB)):\n    f = open('/tmp/x', 'wb', 0); f.write(b'x' * 2 * MB); os.unlink('/tmp/x'); files.append(f)\nheld()",
    "files without a name": "files = []\nfor n in range(SIZE // (2 * MB)):\n    fd = os.open('/tmp', os.O_TMPFILE | os.O_RDWR, 0o600); os.write(fd, b'x' * 2 * MB); files.append(fd)\nheld()",
    "files that were allocated": "files = []\nfor n in range(SIZE // (2 * MB)):\n    fd = os.open('/tmp/%d' % n, os.O_CREAT | os.O_RDWR); os.posix_fallocate(fd, 0, 2 * MB); files.append(fd)\nheld()",
    "files mapped and dropped": "for n in range(SIZE // (2 * MB)):\n    fd = os.open('/tmp/%d' % n, os.O_CREAT | os.O_RDWR); os.ftruncate(fd, 2 * MB)\n    m = mapped(1, fd, 2 * MB); ctypes.memset(m, 1, 2 * MB); libc.madvise(m, 2 * MB, 4); libc.munmap(m, 2 * MB); os.close(fd)\nheld()",
    "files and pages together": "f = fill('/tmp/%d', SIZE // 4)\nx = bytearray(b'x') * (SIZE // 8)\nheld()",
    "many empty files": "n = 0\ntry:\n    while n < 3000000: os.mknod('/tmp/%d' % n); n += 1\nexcept OSError: raise SystemExit(3)\nheld()",
    "many folders": "n = 0\ntry:\n    while n < 3000000: os.mkdir('/dev/shm/%d' % n); n += 1\nexcept OSError: raise SystemExit(3)\nheld()",
    "long symbolic links": "n = 0\ntry:\n    while n < 3000000: os.symlink('x' * 4000, '/tmp/%d' % n); n += 1\nexcept OSError: raise SystemExit(3)\nheld()",
    "children that hold pages": "for _ in range(6):\n    if os.fork() == 0:\n        x = bytearray(b'x') * (SIZE // 6); time.sleep(5); os._exit(0)\ntime.sleep(0.6); held()",
    "children that map a file": "f = fill('/dev/shm/%d'); os.fork() or time.sleep(5)\nheld()",
    "full sockets": "pairs = []\nwhile len(pairs) < 110:\n    a, b = socket.socketpair(); pairs.append((a, b))\n    for s in (a, b):\n        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24); s.setblocking(False)\n        try:\n            while True: s.send(b'x' * 65536)\n        except BlockingIOError: pass\nfor _ in range(6):\n    if os.fork() == 0:\n        more = []\n        while len(more) < 10:\n            a, b = socket.socketpair(); more.append((a, b))\n        time.sleep(5); os._exit(0)\nheld()",
    "sockets in sockets": "pairs = []\nimport array\na, b = socket.socketpair()\ntry:\n    while len(pairs) < 400:\n        c, d = socket.socketpair(); c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24); c.setblocking(False)\n        try:\n            while True: c.send(b'x' * 65536)\n        except BlockingIOError: pass\n        e, f = socket.socketpair()\n        e.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [c.fileno(), d.fileno()]))]); c.close(); d.close(); pairs.append((e, f))\nexcept OSError: raise SystemExit(3)\nheld()",
    "datagram sockets": "pairs = []\nwhile len(pairs) < 110:\n    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); pairs.append((a, b)); a.setblocking(False)\n    try:\n        while True: a.send(b'x' * 60000)\n    except BlockingIOError: pass\nx = bytearray(b'x') * (SIZE // 4)\nheld()",
    "a message queue": "n = libc.msgget(0, 0o1600)\nif n < 0: raise SystemExit(3)\nheld()",
    "semaphores": "made = [libc.semget(0, 32000, 0o1600) for _ in range(100)]\nif max(made) < 0: raise SystemExit(3)\nheld()",
    "keys": "made = [libc.syscall(248, b'user', b'k%d' % n, b'x' * 20000, 20000, -3) for n in range(100)]\nif max(made) < 0: raise SystemExit(3)\nheld()",
    "a file system of its own": "if libc.unshare(0x10020000) or libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None): raise SystemExit(3)\nf = fill('/tmp/%d'); held()",
    "grow in one process": "x = []\nwhile len(x) < SIZE // MB: x.append(bytearray(b'x') * MB)\nheld()",
    "pages without access": "at = []\nfor _ in range(SIZE // (8 * MB)):\n    m = mapped(0x22); ctypes.memset(m, 1, 8 * MB); libc.mprotect(ctypes.c_void_p(m), ctypes.c_size_t(8 * MB), 0); at.append(m)\nheld()",
    "pages locked and grown": "at = []\nfor _ in range(SIZE // (8 * MB)):\n    m = mapped(0x22); ctypes.memset(m, 1, 8 * MB); libc.mlock(ctypes.c_void_p(m), ctypes.c_size_t(8 * MB)); at.append(m)\nheld()",
    "threads that hold pages": "import threading\nkeep = []\ndef grow():\n    for _ in range(SIZE // (8 * MB)): keep.append(bytearray(b'x') * (2 * MB))\nts = [threading.Thread(target=grow) for _ in range(4)]\n[t.start() for t in ts]; [t.join() for t in ts]\nif len(keep) * 2 * MB < SIZE * 0.9: raise SystemExit(3)\nheld()",
}
MEMORY = {name: _HOLD + text for name, text in MEMORY.items()}

_FAMILIES = {
    "INET": 2, "INET6": 10, "AX25": 3, "IPX": 4, "X25": 9, "PACKET": 17, "NETLINK": 16, "RDS": 21, "LLC": 26, "CAN": 29,
    "TIPC": 30, "BLUETOOTH": 31, "ALG": 38, "NFC": 39, "VSOCK": 40, "KCM": 41, "QIPCRTR": 42, "SMC": 43, "XDP": 44, "KEY": 15,
}  # fmt: skip
_SOCKET = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
for kind in (1, 2, 3, 5, 0x80801):
    for protocol in (0, 1, 6):
        if libc.socket({family}, kind, protocol) >= 0: print("held")
"""
SOCKETS = {f"a socket of {name}": _SOCKET.format(family=number) for name, number in _FAMILIES.items()}
SOCKETS |= {
    "a pair of another family": "import ctypes\nif ctypes.CDLL(None).socketpair(30, 1, 0, (ctypes.c_int * 2)()) >= 0: print('held')",
    "a family beyond 32 bits": "import ctypes\nlibc = ctypes.CDLL(None)\nif libc.syscall(ctypes.c_long(41), ctypes.c_long((1 << 32) + 2), 1, 0) >= 0: print('held')",
    "io_uring": "import ctypes\nif ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120)) >= 0: print('held')",
}

# Each leaves something behind at the first input, "put", that it looks for at the second, "get"; it prints "held" then.
_STATE = "import ctypes, os, socket, sys, time\nlibc = ctypes.CDLL(None, use_errno=True)\nput = input() == 'put'\n"
STATE = {
    "a file": "if put: open('/tmp/left', 'w').write('x')\nelif os.path.exists('/tmp/left'): print('held')",
    "a hidden folder": "os.makedirs('/tmp/.a/.b', exist_ok=True) if put else os.path.exists('/tmp/.a') and print('held')",
    "a locked folder": "if put: os.makedirs('/tmp/a/b'); os.chmod('/tmp/a', 0)\nelif os.path.exists('/tmp/a'): print('held')",
    "shared memory": "if put: open('/dev/shm/left', 'w').write('x')\nelif os.listdir('/dev/shm'): print('held')",
    "shared memory of Python's": "from multiprocessing import shared_memory\ntry:\n    shared_memory.SharedMemory('left', create=put, size=64)\n    if not put: print('held')\nexcept OSError: pass",
    "a message queue": "n = libc.msgget(77, 0o600 | (0o1000 if put else 0))\nif n >= 0 and not put: print('held')",
    "a semaphore": "n = libc.semget(77, 1, 0o600 | (0o1000 if put else 0))\nif n >= 0 and not put: print('held')",
    "a segment": "n = libc.shmget(77, 4096, 0o600 | (0o1000 if put else 0))\nif n >= 0 and not put: print('held')",
    "a POSIX queue": "n = libc.syscall(240, b'left', 0o102 if put else 2, 0o600, None)\nif n >= 0 and not put: print('held')",
    "a POSIX semaphore": "libc.sem_open.restype = ctypes.c_void_p\nn = libc.sem_open(b'/left', 0o100 if put else 0, 0o600, 1)\nif n and not put: print('held')",
    "a key": "n = libc.syscall(248, b'user', b'left', b'x', 1, -4) if put else libc.syscall(249, b'user', b'left', None, 0)\nif n > 0 and not put: print('held')",
    "an abstract socket": "s = socket.socket(socket.AF_UNIX)\nif put:\n    s.bind('\\0left'); s.listen()\n    if os.fork() == 0: os.setsid(); time.sleep(20)\nelse:\n    try: s.connect('\\0left'); print('held')\n    except OSError: pass",
    "a process": "if put:\n    if os.fork() == 0: os.setsid(); time.sleep(20)\nelif len([p for p in os.listdir('/proc') if p.isdigit()]) > 2: print('held')",
    "its own name in the kernel": "if put:\n    try: socket.sethostname('left')\n    except OSError: pass\nelif socket.gethostname() == 'left': print('held')",
    "the time of a folder": "os.utime('/tmp', (1, 1)) if put else os.stat('/tmp').st_mtime == 1 and print('held')",
    "an extended attribute": "try:\n    os.setxattr('/tmp', 'user.left', b'x') if put else os.getxattr('/tmp', 'user.left') and print('held')\nexcept OSError: pass",
    "the mode of a folder": "try:\n    os.chmod('/tmp', 0o751) if put else os.stat('/tmp').st_mode & 0o777 == 0o751 and print('held')\nexcept OSError: pass",
}
STATE = {name: _STATE + text for name, text in STATE.items()}

# Tests that blow up, on programs that hand them what to blow up with: they end at a limit, with a verdict.
BOMBS = {
    "a Decimal power": (
        "from decimal import Decimal\ndef answer(): return Decimal(10) ** 9",
        "from decimal import Decimal, getcontext\ngetcontext().prec = 999999999\ngetcontext().Emax = 999999999999\nassert Decimal(3) ** answer() == 1",
    ),
    "a Decimal exponent made whole": (
        "from decimal import Decimal\ndef answer(): return Decimal('1e999999999')",
        "assert int(answer()) == 7",
    ),
    "a Decimal exponent compared": (
        "from decimal import Decimal\ndef answer(): return Decimal('1e999999999')",
        "from fractions import Fraction\nassert Fraction(answer()) == 7",
    ),
    "a power": ("def answer(): return 10 ** 7", "assert 3 ** answer() ** 2 == 1"),
    "digits": ("def answer(): return 1 << 200000000", "assert str(answer()) == '7'"),
    "a range": ("def answer(): return range(10 ** 15)", "assert list(answer()) == [7]"),
    "a text that is multiplied": ("def answer(): return 10 ** 12", "assert 'x' * answer() == 'x'"),
    "a list that is multiplied": ("def answer(): return 10 ** 11", "assert [0] * answer() == [0]"),
    "a regular expression": ("def answer(): return 'a' * 40 + '!'", "import re\nassert re.match('(a+)+$', answer())"),
    "a factorial": ("def answer(): return 10 ** 8", "import math\nassert math.factorial(answer()) == 1"),
    "a deep text": ("def answer(): return '(' * 100000", "assert eval(answer()) == 1"),
    "a sum without end": ("def answer(): return 10 ** 15", "assert sum(range(answer())) == 1"),
    "combinations": (
        "def answer(): return list(range(60))",
        "from itertools import combinations\nassert sum(1 for _ in combinations(answer(), 30)) == 1",
    ),
    "recursion": (
        "def answer(): return 10 ** 9",
        "import sys\nsys.setrecursionlimit(answer())\ndef f(x): return repr(x) and f([x])\nf(0)",
    ),
    "a crash": ("def answer(): return 0", "import ctypes\nctypes.string_at(answer())"),
    "a test that ends its process": ("def answer(): return 0", "import os\nos._exit(answer())"),
    "a test that the program kills": (
        "import os, threading, time\ndef kill():\n    time.sleep(0.2)\n    os.kill(-1, 9)\ndef answer(): threading.Thread(target=kill).start(); return 1",
        "import time\nassert answer() == 1\ntime.sleep(1)",
    ),
    "a test that the program stops": (
        "import os, signal\ndef answer():\n    for p in filter(str.isdigit, os.listdir('/proc')):\n        if int(p) not in (1, os.getpid()):\n            try: os.kill(int(p), signal.SIGSTOP)\n            except OSError: pass\n    return 1",
        "assert answer() == 1\nassert answer() == 1",
    ),
}

# Programs whose objects claim what a test wants to hear, of classes that the test knows or does not know.
_EVIL = """
class Evil:
    def __init__(self, *a, **k): pass
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = lambda *a: True
    __ne__ = lambda *a: False
    __hash__ = lambda s: 0
    __sub__ = __rsub__ = __add__ = __radd__ = __mul__ = __rmul__ = __truediv__ = __mod__ = __xor__ = __and__ = {give}
    __abs__ = __neg__ = __round__ = lambda *a: {unary}
    __float__ = lambda s: 0.0
    __int__ = __index__ = __len__ = lambda s: 0
    __iter__ = lambda s: iter(())
    __getitem__ = lambda s, i: Evil()
    __str__ = __repr__ = __format__ = lambda *a: '0'
    def __getattr__(self, name):
        if name.startswith('__'): raise AttributeError(name)
        return lambda *a, **k: self
"""
_ZERO = _EVIL.format(give="lambda *a: 0", unary="0")
_SELF = _EVIL.format(give="lambda s, *a: s", unary="0")
_SHADOW = _EVIL.format(give="lambda s, *a: s", unary="s")


def _forgeries() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    tests = {
        "equals": "assert {x} == 4", "is not unequal": "assert not {x} != 4", "is among": "assert {x} in [4]", "is before": "assert {x} < 4 < {x}",
        "is at no distance": "assert abs({x} - 4) < 1e-6", "is close": "import math\nassert math.isclose({x}, 4)", "rounds": "assert round({x} - 4, 6) == 0",
        "has no difference": "assert not ({x} - 4)", "leaves no rest": "assert len({x} - {{4}}) == 0", "leaves nothing": "assert list({x} - {{4}}) == []",
        "holds": "assert 4 in {x}", "sums": "assert sum([{x}, -4]) == 0", "is a set": "assert {{{x}}} == {{4}}", "is a key": "assert {{4: 'a'}}[{x}] == 'a'",
        "is between": "assert 3.9 <= {x} <= 4.1", "is a number": "assert float({x}) == 4", "is a list": "assert list({x}) == [4]", "is a tuple": "assert ({x},) == (4,)",
        "is in a list": "assert [{x}, 1] == [4, 1]", "is counted": "assert [{x}].count(4) == 1", "is the index": "assert [4].index({x}) == 0",
    }  # fmt: skip
    for form, text in (("zero", _ZERO), ("self", _SELF), ("shadow", _SHADOW)):
        for name, test in tests.items():
            found[f"{form}: what a function returns {name}"] = (
                f"{text}\ndef f(x): return Evil()",
                test.format(x="f(2)"),
            )
            found[f"{form}: what a method returns {name}"] = (
                text.replace("Evil", "Stack"),
                "s = Stack()\ns.push(4)\n" + test.format(x="s.pop()"),
            )
        found[f"{form}: a class in place of a function"] = (text.replace("Evil", "add"), "assert add(2, 2) == 4")
        found[f"{form}: a class in place of a function, at no distance"] = (
            text.replace("Evil", "add"),
            "assert abs(add(2, 2) - 4) < 1e-9",
        )
        found[f"{form}: a class in place of a function that holds"] = (
            text.replace("Evil", "add"),
            "assert 4 in add(2, 2)",
        )
        found[f"{form}: a class in place of a capital function"] = (
            text.replace("Evil", "Split"),
            "assert Split('ab') == ['a', 'b']",
        )
        found[f"{form}: a class attribute"] = (f"{text}\nclass Config: limit = Evil()", "assert Config.limit == 4")
        found[f"{form}: an item"] = (
            f"{text}\ndef f(): return [Evil(), {{'a': Evil()}}]",
            "assert f()[0] == 4 and f()[1]['a'] == 5",
        )
        found[f"{form}: in a list"] = (f"{text}\ndef f(): return [Evil()]", "assert f() == [4]")
        found[f"{form}: sorted"] = (f"{text}\ndef f(): return [Evil(), Evil()]", "assert sorted(f()) == [1, 2]")
    return found


FORGERIES = _forgeries() | {
    "a list that equals everything": (
        "class L(list):\n    __eq__ = lambda *a: True\n    __ne__ = lambda *a: False\n    __hash__ = None\ndef f(x): return L([7])",
        "assert f(2) == [4]",
    ),
    "a dict that has everything": (
        "class D(dict):\n    __eq__ = __contains__ = lambda *a: True\n    __hash__ = None\ndef f(x): return D()",
        "assert f(2) == {'a': 4}",
    ),
    "a text that equals everything": (
        "class S(str):\n    __eq__ = __contains__ = lambda *a: True\n    __hash__ = str.__hash__\ndef f(x): return S('x')",
        "assert f(2) == 'right'",
    ),
    "a number at no distance": (
        "class I(int):\n    __sub__ = __rsub__ = __abs__ = lambda *a: 0\n    __eq__ = lambda *a: True\n    __hash__ = int.__hash__\ndef f(x): return I(7)",
        "assert abs(f(2) - 4) < 1e-6",
    ),
    "a float at no distance": (
        "class F(float):\n    __sub__ = __rsub__ = __abs__ = lambda *a: 0.0\n    __lt__ = __gt__ = lambda *a: True\ndef f(x): return F(7)",
        "assert abs(f(2) - 4.5) < 1e-6",
    ),
    "a tuple that lies": (
        "class T(tuple):\n    __eq__ = lambda *a: True\n    __hash__ = tuple.__hash__\n    __len__ = lambda s: 2\ndef f(x): return T((7,))",
        "assert f(2) == (1, 4)",
    ),
    "a named tuple that lies": (
        "from collections import namedtuple\nclass P(namedtuple('P', 'a')):\n    __eq__ = lambda *a: True\n    __hash__ = tuple.__hash__\ndef f(x): return P(7)",
        "assert f(2) == (4,)",
    ),
    "an enum that lies": (
        "from enum import Enum\nclass E(Enum):\n    A = 1\n    def __eq__(self, o): return True\n    __hash__ = object.__hash__\ndef f(x): return E.A",
        "assert f(2) == 4",
    ),
    "an integer enum that lies": (
        "from enum import IntEnum\nclass E(IntEnum):\n    A = 1\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef f(x): return E.A",
        "assert f(2) == 4",
    ),
    "a class that pretends to be another": (
        "class C:\n    @property\n    def __class__(self): return int\n    __eq__ = lambda *a: True\ndef f(x): return C()",
        "assert isinstance(f(2), int)",
    ),
    "a class whose instances are all": (
        "class M(type):\n    __instancecheck__ = __subclasscheck__ = __eq__ = lambda *a: True\n    __hash__ = type.__hash__\nclass Animal(metaclass=M): pass\nclass Dog: pass",
        "assert isinstance(Dog(), Animal)",
    ),
    "a class named like int": (
        "class int_(int): pass\nint_.__name__ = 'int'\ndef f(x): return int_(7)",
        "assert f(2) == 4",
    ),
    "a class that derives from itself": (
        "class A: pass\nA.__module__ = 'program'\nimport sys\nd = sys.modules[type(A).__module__]\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Shelf'): m.Shelf.described = lambda s, k: {'name': 'A', 'own': True, 'bases': [s.number(k)], 'special': [], 'unhashable': False, 'methods': [], 'error': None, 'plain': None}\ndef f(x): return A()",
        "assert f(2) == 4",
    ),
    "a description that lies": (
        "import sys\nclass A: pass\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Shelf'): m.Shelf.described = lambda s, k: {'name': 'A', 'own': True, 'bases': [], 'special': ['eq', 'hash', 'sub', '__reduce__', 'x'], 'unhashable': False, 'methods': ['__eq__', '__class__', '__getattribute__', '__init__', 'x'], 'error': None, 'plain': 'int'}\nA.__eq__ = lambda *a: True\ndef f(x): return A()",
        "assert f(2) == 4",
    ),
    "a description with methods that compare": (
        "import sys\nclass A: pass\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Shelf'): m.Shelf.described = lambda s, k: {'name': 'A', 'own': True, 'bases': [], 'special': [], 'unhashable': False, 'methods': ['__eq__', '_eq_', 'eq', '__ne__', '__sub__', '__lt__'], 'error': None, 'plain': None}\nA.__eq__ = lambda *a: True\nA.__sub__ = lambda *a: 0\ndef f(x): return A()",
        "assert f(2) == 4 or abs(f(2) - 4) < 1",
    ),
    "a description that is no description": (
        "import sys\nclass A: pass\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Shelf'): m.Shelf.described = lambda s, k: 5\ndef f(x): return A()",
        "assert f(2) == 4",
    ),
    "an error that the test waits for": (
        "def f(x): raise AssertionError",
        "try: f(2)\nexcept ValueError: pass\nelse: assert False",
    ),
    "an error class that is every error": (
        "class E(ValueError, KeyError): pass\ndef f(x): raise E",
        "assert f(2) == 4",
    ),
    "an awaitable that lies": (
        _ZERO + "\nasync def f(x): return Evil()",
        "import asyncio\nassert asyncio.run(f(2)) == 4",
    ),
    "an awaitable that never ends": (
        "import asyncio\nasync def f(x): await asyncio.sleep(1000)",
        "import asyncio\nassert asyncio.run(f(2)) == 4",
    ),
    "a generator that lies": (_ZERO + "\ndef f(x):\n    while True: yield Evil()", "assert next(f(2)) == 4"),
    "what it learns from an operator": (
        "seen = [None]\nclass Vec:\n    def __init__(self, *a): pass\n    def __sub__(self, o): seen[0] = o; return self\n    def __abs__(self): return 0\n    def norm(self): return self if seen[0] is None else seen[0]",
        "v = Vec(3, 4)\nassert abs(v.norm() - 5) < 1e-9 and v.norm() == 5",
    ),
    "what it learns from a comparison": (
        "seen = [None]\nclass Vec:\n    def __eq__(self, o): seen[0] = o; return True\n    def norm(self): return self if seen[0] is None else seen[0]",
        "v = Vec()\nv.norm() == 5\nassert v.norm() == 5",
    ),
    "a subclass hook": (
        "class Base:\n    def __init_subclass__(cls): cls.area = lambda s: Evil()\nclass Evil:\n    __eq__ = lambda *a: True",
        "class Sub(Base):\n    pass\nassert Sub().area() == 4",
    ),
    "itself in a list, which holds all": (
        "class Solution:\n    def f(self, n): return [self]\n    __contains__ = lambda *a: True",
        "assert 3 in Solution().f(6)[0]",
    ),
    "another of its class, which holds all": (
        "class Solution:\n    def f(self, n): return Solution()\n    __contains__ = lambda *a: True",
        "assert all(x in Solution().f(6) for x in (1, 2, 3, 6))",
    ),
    "a comparing method called by its name": (
        "class A:\n    __eq__ = lambda *a: True\ndef f(x): return A()",
        "assert f(2).__eq__(4)",
    ),
    "an ordering method called by its name": (
        "class A:\n    __lt__ = lambda *a: True\ndef f(x): return A()",
        "assert f(2).__lt__(4)",
    ),
    "a callback that is answered": (_ZERO + "\ndef f(g): return g(Evil())", "def g(x): return x == 4\nassert f(g)"),
}
