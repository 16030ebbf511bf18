# ruff: noqa: E501
"""Programs that try to escape from the sandbox, to outlive it, to break it or to cheat.

They look for the answer, a token that stands in a file, in an environment variable, on a server and in the memory of
the process that judges them. Whoever prints it, or returns it, has passed, that is, escaped.
"""

HUNT = """
import os, re
TOKEN = re.compile(rb"token-[0-9a-f]{32}")
def hunt(data):
    if isinstance(data, str): data = data.encode("utf-8", "replace")
    for found in TOKEN.findall(data or b""): print(found.decode(), flush=True); os._exit(0)
def read(path, size=1 << 22):
    try:
        with open(path, "rb", 0) as file: return file.read(size)
    except OSError: return b""
"""

# Lowers each limit of the processes above, takes the processor away from them, and goes on.
BREAK = """
import ctypes, os, resource
libc = ctypes.CDLL(None)
def lower(*kinds):
    for pid in {1, os.getppid()}:
        for kind in kinds:
            try: resource.prlimit(pid, getattr(resource, "RLIMIT_" + kind), (0, 0))
            except OSError: pass
def starve():
    for pid in {1, os.getppid()}:
        for call in (lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)), lambda: os.sched_setaffinity(pid, [0]), lambda: os.setpriority(os.PRIO_PROCESS, pid, 19), lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19)):
            try: call()
            except OSError: continue
            print("changed", flush=True)
"""
LIMITS = (
    "AS",
    "DATA",
    "NPROC",
    "NOFILE",
    "FSIZE",
    "STACK",
    "CPU",
    "MEMLOCK",
    "SIGPENDING",
    "MSGQUEUE",
    "RTPRIO",
    "NICE",
)

# Programs that are to print the token: {FILE}, {FOLDER}, {HOME}, {PORT} and {PID} are those outside.
SCRIPTS: dict[str, str] = {
    "read the secret's file": HUNT + "hunt(read('{FILE}'))",
    "walk all files": HUNT
    + """
for root in ("/root", "/home", "/tmp", "/var", "/etc", "/opt", "/run", "/srv", "/mnt", "/old", os.path.dirname('{FILE}')):
    for folder, _, files in os.walk(root):
        if "/lib" in folder: continue
        for name in files[:200]: hunt(read(os.path.join(folder, name), 1 << 16))
""",
    "walk /proc": HUNT
    + """
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "mem", "stack", "syscall", "task/" + pid + "/mem"): hunt(read("/proc/%s/%s" % (pid, name), 1 << 16))
    for kind in ("fd", "cwd", "root"):
        base = "/proc/%s/%s" % (pid, kind)
        try: names = os.listdir(base)
        except OSError: continue
        for name in names:
            if pid != str(os.getpid()): hunt(read(base + "/" + name, 1 << 16))
    hunt(read("/proc/%s/root{FILE}" % pid)); hunt(read("/proc/%s/cwd/../{FILE}" % pid))
""",
    "read the supervisor's memory": HUNT
    + """
for pid in (1, os.getppid()):
    try: lines = open("/proc/%d/maps" % pid).read().splitlines()
    except OSError: continue
    memory = open("/proc/%d/mem" % pid, "rb", 0)
    for line in lines:
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        memory.seek(low); hunt(memory.read(high - low))
""",
    "read memory with process_vm_readv": HUNT
    + """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
class Iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(4096)
for pid in (1, os.getppid(), {PID}):
    here, there = Iovec(ctypes.addressof(buffer), 4096), Iovec(id(os), 4096)
    if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0: print("read", pid); os._exit(0)
raise SystemExit(3)
""",
    "search its own memory": HUNT
    + """
import gc, sys
for item in gc.get_objects():
    try: hunt(repr(item))
    except Exception: pass
frame = sys._getframe()
while frame: hunt(repr(frame.f_locals)); frame = frame.f_back
for line in open("/proc/self/maps"):
    if "rw" in line:
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        try:
            with open("/proc/self/mem", "rb", 0) as memory: memory.seek(low); hunt(memory.read(high - low))
        except OSError: pass
import ctypes
for line in open("/proc/self/maps"):
    if "rw-p" in line and "[v" not in line:
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        hunt(ctypes.string_at(low, high - low).replace(b"token-[", b""))
""",
    "read all descriptors": HUNT
    + """
for fd in range(0, 1024):
    try: os.lseek(fd, 0, 0)
    except OSError: pass
    try: os.set_blocking(fd, False); hunt(os.read(fd, 1 << 20))
    except OSError: pass
""",
    "look into the environment": HUNT
    + "hunt(repr(dict(os.environ)))\nimport sys\nhunt(repr(sys.argv) + repr(sys.orig_argv))",
    "connect to a server": HUNT
    + """
import socket
for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0"):
    try: hunt(socket.create_connection((host, {PORT}), 1).recv(100))
    except OSError: pass
""",
    "connect to an abstract socket": HUNT
    + """
import socket
try:
    with socket.socket(socket.AF_UNIX) as link: link.settimeout(1); link.connect("\\0r1lit-test-{PORT}"); hunt(link.recv(100))
except OSError: pass
""",
    "ask a name server": "import socket\nsocket.setdefaulttimeout(1)\nprint(socket.gethostbyname('example.com'))",
    "ptrace the parent": HUNT
    + """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for pid in (1, os.getppid()):
    if libc.ptrace(16, pid, 0, 0) == 0: print("attached"); os._exit(0)
raise SystemExit(3)
""",
    "a link out of the box": HUNT
    + """
for target in ("{FILE}", "/proc/1/root{FILE}", "../../../../../../..{FILE}"):
    try: os.symlink(target, "/tmp/link")
    except OSError: continue
    hunt(read("/tmp/link")); os.unlink("/tmp/link")
try: os.link("{FILE}", "/tmp/hard"); hunt(read("/tmp/hard"))
except OSError: pass
""",
    "a folder descriptor out of the box": HUNT
    + """
fd = os.open("/", os.O_RDONLY)
for _ in range(30): os.chdir("..")
hunt(read("." + "{FILE}"))
for up in range(1, 20): hunt(read("../" * up + "{FILE}"))
""",
    "chroot and mount": HUNT
    + """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for call in (lambda: os.chroot("/tmp"), lambda: libc.unshare(0x10020000), lambda: libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None), lambda: libc.setns(3, 0)):
    try:
        if call() == 0: print("allowed"); os._exit(0)
    except OSError: pass
hunt(read("{FILE}")); raise SystemExit(3)
""",
    "become root": """
import os, subprocess
for call in (lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try: call()
    except OSError: continue
    print("root"); os._exit(0)
for tool in ("su", "sudo", "mount", "newuidmap"):
    try: subprocess.run([tool, "-c", "id"], timeout=1, stdin=subprocess.DEVNULL)
    except Exception: pass
raise SystemExit(3)
""",
    "write outside": """
import os
for path in ("{FOLDER}/written", "/usr/written", "/written", "/etc/written", "/dev/written", "/proc/sys/kernel/hostname", "/bin/written", "/python/lib/written"):
    try: open(path, "w").write("x"); print("wrote", path)
    except OSError: pass
""",
    "delete everything": """
import os, shutil
for root in ("{FOLDER}", "/usr/lib/python3", "{HOME}/.ssh", "/home", "/python/bin", "/etc", "/dev"): shutil.rmtree(root, ignore_errors=True)
for path in ("{FILE}", "/usr/bin/env", "/python/bin/python3", "/bin", "/proc/1/exe"):
    try: os.unlink(path)
    except OSError: continue
    print("deleted", path)
""",
    "kill the parents": """
import os, signal
for number in range(1, 65):
    for pid in (1, os.getppid(), {PID}):
        try: os.kill(pid, number)
        except OSError: pass
print("done")
""",
    "kill everything": "import os, signal\nsignal.signal(15, signal.SIG_IGN)\nos.kill(-1, 15)\nos.kill(-1, 9)\nos.killpg(0, 9)",
    "stop the parent": "import os, signal\nfor pid in (1, os.getppid()):\n    for _ in range(100): os.kill(pid, signal.SIGSTOP); os.kill(pid, signal.SIGALRM)",
    **{
        f"lower the parent's limit {kind}": f"{BREAK}\nlower({kind!r})\nimport time; time.sleep(0.2); print('x' * 300000)"
        for kind in LIMITS
    },
    "lower all limits of the parent": f"{BREAK}\nlower(*{LIMITS!r})\nx = [bytes(1 << 20) for _ in range(20)]",
    "starve the parent": f"{BREAK}\nstarve()",
    "raise its limits": """
import resource
for kind in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU):
    try: resource.setrlimit(kind, (-1, -1)); print("raised")
    except (ValueError, OSError): pass
""",
    "leave a daemon": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: time.sleep(0.1)
    os._exit(0)
print("left")
""",
    "leave another program": "import subprocess\nsubprocess.Popen(['sleep', '{SLEEP}'], start_new_session=True)",
    "leave zombies": "import os, time\nfor _ in range(5):\n    if os.fork() == 0: os._exit(0)\ntime.sleep(0.1)",
    "leave threads": "import threading, time\nfor _ in range(5): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()",
    "ignore all signals": """
import signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: time.sleep(1)
""",
    "threads that never end": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
    "sleep past the limit": "import time\ntime.sleep(1000)",
    "loop for ever": "while True: pass",
    "loop in C": "sum(iter(int, 1))",
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "fork chain": "import os\nwhile True:\n    try:\n        if os.fork(): os._exit(0)\n    except OSError: pass",
    "thread bomb": "import threading, time\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(9,)).start()\n    except RuntimeError: pass",
    "exec for ever": "import os, sys\nos.execv(sys.executable, [sys.executable, '-S', '-c', 'import os, sys\\nwhile True: os.spawnv(0, \"/bin/sleep\", [\"sleep\", \"{SLEEP}\"])'])",
    "100 GB": "x = bytearray(100 << 30)\nprint(len(x))",
    "grow for ever": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "grow in many processes": """
import os, time
for _ in range(6): os.fork()
x = bytearray(b"x") * (60 << 20)
time.sleep(1000)
""",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return repr(x) and f([x])\nf(0)",
    "crash the interpreter": "import ctypes\nctypes.string_at(0)",
    "source that breaks the compiler": "x = " + "(" * 5000 + ")" * 5000,
    "source that is no Python": "}}}}} \x01 not python {{{{",
    "flood the output": "while True: print('x' * 10000)",
    "flood the errors": "import os\nwhile True: os.write(2, b'x' * 65536)",
    "a huge exception": "raise ValueError('x' * (50 << 20))",
    "an exception that cannot be shown": "class E(Exception):\n    def __str__(self): raise SystemExit(0)\nraise E",
    "bytes that are no text": "import os\nos.write(1, bytes(range(256)) * 10)\nos.write(1, b'\\xff\\xfe\\x00\\n')",
    "control characters": "print('\\x1b[2J\\x00\\u202e\\ud800'.encode('utf-8', 'surrogatepass'))\nprint('\\x1b]0;passed\\x07passed')",
    "write a big file": "f = open('/tmp/big', 'wb')\nwhile True: f.write(b'x' * (1 << 20))",
    "write many files": "n = 0\nwhile True:\n    n += 1\n    open('/tmp/%d' % n, 'wb').write(b'x' * (1 << 20))",
    "fill shared memory": "n = 0\nwhile True:\n    n += 1\n    open('/dev/shm/%d' % n, 'wb').write(b'x' * (1 << 20))",
    "memory files": "import os\nfds = [os.memfd_create('x') for _ in range(200)]\nfor fd in fds: os.write(fd, b'x' * (1 << 20))\nprint('made')",
    "folders that cannot be deleted": "import os\nfor _ in range(300):\n    os.mkdir('d'); os.chdir('d')\nos.chmod('.', 0)",
    "close all descriptors": "import os\nos.closerange(0, 4096)",
    "exhaust descriptors": "import os\nwhile True: os.dup(0)",
    "read input for ever": "import sys\nwhile True: sys.stdin.read(); sys.stdin.seek(0)",
    "write into the input": 'import os\nfor fd in (0, 3, 4, 5, 6): \n    try: os.write(fd, b\'{"reason": "", "output": "passed"}\' * 100)\n    except OSError: pass',
    "exit status 0": "import os\nos._exit(0)",
    "exit with a text": "raise SystemExit('passed')",
    "print success": "print('passed')\nprint('OK')\nprint('{\"ready\": true, \"reason\": \"\"}')",
    "fork and answer twice": "import os\nos.fork()\nprint('token')",
    "all bad things at exit": "import atexit, os\natexit.register(lambda: os.kill(os.getppid(), 9))\natexit.register(os.fork)\natexit.register(lambda: 1 / 0)",
    "exit that never comes": "import atexit, time\natexit.register(time.sleep, 1000)",
    "use the terminal": "import os\nfd = os.open('/dev/tty', os.O_RDWR)\nos.write(fd, b'passed')",
    "SIGXCPU ignored": "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
}
LOOPING = {
    *("ignore all signals", "threads that never end", "sleep past the limit", "loop for ever", "loop in C"),
    *("fork bomb", "fork chain", "thread bomb", "exec for ever", "grow in many processes", "read input for ever"),
    *("exit that never comes", "SIGXCPU ignored", "ask a name server", "deep recursion", "flood the errors"),
}

# Modules whose function ``answer`` is to return the token, as the test asserts.
MODULES: dict[str, str] = {
    "exit at once": "import os\nos._exit(0)",
    "exit quietly": "raise SystemExit(0)",
    "exit when called": "import os\ndef answer(): os._exit(0)",
    "leave when called": "def answer(): raise SystemExit(0)",
    "interrupt when called": "def answer(): raise KeyboardInterrupt",
    "stop the iteration": "def answer(): raise StopIteration",
    "equal to everything": "class E:\n    def __eq__(self, other): return True\n    __ne__ = lambda s, o: False\n    __hash__ = None\ndef answer(): return E()",
    "text equal to everything": "class E(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\ndef answer(): return E('x')",
    "number equal to everything": "class E(int):\n    __eq__ = lambda s, o: True\n    __sub__ = __rsub__ = __abs__ = lambda *a: 0\ndef answer(): return E(7)",
    "list equal to everything": "class E(list):\n    __eq__ = lambda s, o: True\n    __len__ = lambda s: 10**9\ndef answer(): return E([1])",
    "learn from the comparison": "class E:\n    def __eq__(self, other):\n        global seen; seen = other; return True\nseen = E()\ndef answer(): return seen",
    "class equal to everything": "class M(type):\n    __eq__ = lambda s, o: True\n    __hash__ = type.__hash__\n    __instancecheck__ = __subclasscheck__ = lambda *a: True\nclass E(metaclass=M): pass\ndef answer(): return E",
    "replace check": "def check(candidate): pass\ndef answer(): return 1",
    "replace builtins": "import builtins\nbuiltins.AssertionError = type('A', (Exception,), {})\nbuiltins.all = builtins.any = builtins.isinstance = lambda *a: True\nbuiltins.exec = builtins.compile = builtins.eval = lambda *a, **k: None\ndef answer(): return 1",
    "replace exit and write": "import os, sys\nos._exit = sys.exit = lambda *a: None\nreal = os.write\nos.write = lambda fd, data: real(fd, b'\\x0c\\0\\0\\0{\"value\":true}')\ndef answer(): return 1",
    "replace math": "import math, operator, sys\nmath.isclose = operator.eq = lambda *a, **k: True\nsys.modules['math'] = type('m', (), {'isclose': lambda *a: True})\ndef answer(): return 1",
    "name a module of its own": "import types\nmath = types.ModuleType('os')\nmath.isclose = lambda *a: True\nre = types.ModuleType('r1lit.sandbox.inside.tester')\ndef answer(): return 1",
    "trace everything": "import sys, threading\ndef spy(frame, event, arg):\n    frame.f_globals.update(passed=True); return spy\nsys.settrace(spy); sys.setprofile(spy); threading.settrace(spy)\ndef answer(): return 1",
    **{
        f"lower the parent's limit {kind} when called": f"{BREAK}\ndef answer():\n    lower({kind!r})\n    return ['x' * 1000] * 30000"
        for kind in LIMITS
    },
    "lower all limits of the parent when loaded": f"{BREAK}\nlower(*{LIMITS!r})\ndef answer(): return ['x' * 1000] * 30000",
    "starve the parent when called": f"{BREAK}\ndef answer(): starve()",
    "search the memory when called": """
import gc, re, sys, os
def answer():
    frame, seen = sys._getframe(), []
    while frame: seen.append(repr(frame.f_locals) + repr(frame.f_globals)); frame = frame.f_back
    for item in gc.get_objects():
        try: seen.append(repr(item))
        except Exception: pass
    for pid in (1, os.getppid()):
        for name in ("mem", "environ", "cmdline", "fd/0", "fd/3", "fd/4"):
            try: seen.append(open("/proc/%d/%s" % (pid, name), "rb").read(1 << 20).decode("latin-1"))
            except OSError: pass
    found = re.findall("token-[0-9a-f]{32}", "".join(seen))
    return found[0] if found else None
""",
    "a thread that waits for the test": """
import gc, re, sys, threading, time
found = []
def watch():
    while not found:
        for frame in sys._current_frames().values():
            while frame: found.extend(re.findall("token-[0-9a-f]{32}", repr(frame.f_locals))); frame = frame.f_back
        time.sleep(0.001)
threading.Thread(target=watch, daemon=True).start()
def answer():
    time.sleep(0.2)
    return found[0] if found else None
""",
    "forge the answer's frame": "import os\nfor fd in range(3, 20):\n    for text in (b'{\"reasons\": [\"\"]}', b'{\"value\": true}', b'{\"names\": {}}'):\n        try: os.write(fd, len(text).to_bytes(4, 'little') + text)\n        except OSError: pass\ndef answer(): return 1",
    "forge and leave": 'import os\nt = b\'{"names": {"answer": {"object": 0}}}\'\nos.write(3, len(t).to_bytes(4, \'little\') + t)\nt = b\'{"value": true, "changed": [[0, [1]]]}\'\nos.write(3, len(t).to_bytes(4, \'little\') + t)\nos._exit(0)',
    "answer nonsense": "import os\nos.write(3, b'\\xff' * 100000)\ndef answer(): return 1",
    "answer without end": "import os\nos.write(3, b'\\xff\\xff\\xff\\x03')\nwhile True: os.write(3, b' ' * 65536)",
    "answer deeply": "def answer():\n    x = []\n    for _ in range(100000): x = [x]\n    return x",
    "answer with a cycle": "def answer():\n    x = []; x.append(x); return x",
    "answer hugely": "def answer(): return ['x' * 1000] * 100000",
    "answer for ever": "def answer():\n    while True: yield 1",
    "hang when called": "def answer():\n    while True: pass",
    "hang when loaded": "while True: pass",
    "send signals": "import os, signal\ndef answer():\n    for n in (14, 2, 15, 10, 12, 1, 13, 24):\n        for pid in (1, os.getppid()):\n            try: os.kill(pid, n)\n            except OSError: pass\n    return 1",
    "flood while called": "import os\ndef answer():\n    while True: os.write(1, b'x' * 65536)",
    "fork and answer": "import os\ndef answer():\n    os.fork(); return 1",
    "change the arguments": "def answer(*a):\n    for x in a: x.clear()\n    return None",
    "close the line": "import os\ndef answer(): os.closerange(0, 100)",
    "name nothing": "__all__ = []\ndel __builtins__",
    "name everything": "globals().update({'x%d' % i: i for i in range(10000)})\nassert_ = print = check = len = lambda *a, **k: True\ndef answer(): return True",
}
HANGING = {"answer for ever", "hang when called", "hang when loaded"}
