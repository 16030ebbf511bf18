"""How a sandbox is started: bubblewrap, namespaces of our own, or none. Each is tried out before it is trusted."""

import marshal
import os
import platform
import random
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from r1lit.errors import InputError
from r1lit.sandbox.types import Isolation, Limits, SandboxError

Backend = Literal["bubblewrap", "namespaces", "plain"]

_INSIDE = (
    *("wire", "kernel", "confine", "clock", "special", "describing", "candidate", "standins", "remote", "tester"),
    *("trial", "supervisor"),
)
# Python inside makes these modules of code that it reads first: nothing of the project has to be visible there.
_BOOT = """
import marshal, os, sys
def read(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
for name, code in marshal.loads(read(int.from_bytes(read(4), "little"))):
    module = sys.modules[name] = type(sys)(name)
    owner, _, last = name.rpartition(".")
    if owner:
        setattr(sys.modules[owner], last, module)
    exec(code, module.__dict__)
module.main()
"""
_PYTHON = "/python"
_PACKAGES = "/packages"
# Not /dev/zero: mapped and shared, it gives memory that no process is charged for.
_DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")
_LINKS = (("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "/proc/self/fd/0"), ("/dev/stdout", "/proc/self/fd/1"))
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


@cache
def payload() -> bytes:
    """The code of the modules that run inside, with its length in front."""
    modules = [(name, compile("", name, "exec")) for name in ("r1lit", "r1lit.sandbox", "r1lit.sandbox.inside")]
    for name in _INSIDE:
        path = Path(__file__).with_name("inside") / f"{name}.py"
        code = compile(path.read_text(encoding="utf-8"), f"{name}.py", "exec", dont_inherit=True, optimize=2)
        modules.append((f"r1lit.sandbox.inside.{name}", code))
    data = marshal.dumps(modules)
    return len(data).to_bytes(4, "little") + data


@dataclass(frozen=True, slots=True)
class Start:
    """A sandbox about to start: the command, its environment, the first message to it, a folder to delete after."""

    command: tuple[str, ...]
    environment: dict[str, str]
    setup: dict[str, Any]
    folder: str | None = None


def start(backend: Backend, limits: Limits) -> Start:
    """Works out how to start a sandbox."""
    setup: dict[str, Any] = {
        "limits": {**asdict(limits), "wall_s": limits.wall_limit_s},
        "pid1": backend != "plain",
        "namespaces": None,
        # A user of its own for each sandbox: root has no limit of processes, and other users' count for all they run.
        "user": random.SystemRandom().randrange(1 << 30, (1 << 31) - 2),
        "count_processes": backend != "plain" and (os.getuid() == 0 or _kernel_version() >= (5, 14)),
        "folder": "/tmp",
        "cleared": ["/tmp", "/dev/shm"],
    }
    packages = _packages(limits.packages)
    more = {"PYTHONPATH": _PACKAGES, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} if packages else {}
    if backend == "plain":
        if packages:
            more["PYTHONPATH"] = ":".join(sorted({os.path.dirname(source) for source, _ in packages}))
        folder = tempfile.mkdtemp(prefix="r1lit-plain-")
        setup |= {"folder": folder, "cleared": [folder]}
        return Start(_python(_real_python()), {**_ENVIRONMENT, **more, "HOME": folder, "TMPDIR": folder}, setup, folder)
    binds, links = _tree(_PYTHON if backend == "bubblewrap" else None)
    binds = [*binds, *packages]
    size = int(limits.memory_mb * 2**20)
    environment = {**_ENVIRONMENT, **more, "LD_LIBRARY_PATH": f"{_PYTHON}/lib"}
    if backend == "bubblewrap":
        return Start((*_bubblewrap(binds, links, size), *_python(_inner_python())), environment, setup)
    setup["namespaces"] = {"binds": binds, "links": [*links, *_LINKS], "devices": _DEVICES, "tmp_bytes": size}
    return Start(_python(_real_python()), {**_ENVIRONMENT, **more}, setup)


def _python(path: str) -> tuple[str, ...]:
    # No site-packages, no user's folder, no writing of bytecode. Not -I: it would ignore PYTHONHASHSEED, which makes
    # the order of sets, and so the verdict, the same in every run.
    # The last word tells whose processes these are.
    return (path, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _BOOT, f"r1lit-sandbox-of-{os.getpid()}")


def _real_python() -> str:
    """The interpreter itself; a virtual environment's would look for its configuration."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _inner_python() -> str:
    python, base = _real_python(), os.path.realpath(sys.base_prefix)
    inside = Path(python).is_relative_to(base) and base != "/usr"
    return str(Path(_PYTHON) / Path(python).relative_to(base)) if inside else python


def _packages(names: Sequence[str]) -> list[tuple[str, str]]:
    """Where packages lie and where a program finds them, with the libraries that wheels put beside them."""
    found = []
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise InputError(f"sandbox limit packages has {name!r}, which is not installed here")
        path = os.path.realpath(os.path.dirname(spec.origin) if spec.submodule_search_locations else spec.origin)
        found += [
            (each, f"{_PACKAGES}/{os.path.basename(each)}") for each in (path, f"{path}.libs") if os.path.exists(each)
        ]
    return found


@cache
def _tree(python: str | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What is visible inside: the system's programs and libraries, and Python; no home, no project, no /etc.

    Args:
        python: Where Python's own folders go; None: where they are.
    """
    binds, links = [], []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        for path in (f"/usr/{name}", f"/{name}"):
            if os.path.islink(path):
                links.append((path, os.readlink(path)))
            elif os.path.isdir(path):
                binds.append((path, path))
    paths = ("/etc/ld.so.cache", "/nix/store", "/usr/share/zoneinfo")
    binds += [(path, path) for path in paths if os.path.exists(path)]
    base = os.path.realpath(sys.base_prefix)
    if base != "/usr":
        folders = [name for name in ("bin", "lib", "lib64") if os.path.isdir(f"{base}/{name}")]
        binds += [(f"{base}/{name}", f"{python or base}/{name}") for name in folders]
    return binds, links


def _bubblewrap(binds: list[tuple[str, str]], links: list[tuple[str, str]], size: int) -> list[str]:
    command = [shutil.which("bwrap") or "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--as-pid-1"]
    if os.getuid() == 0:  # needed to become another user at once, and lost with it
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    inside = [target for _, target in binds] + [path for path, _ in links] + ["/dev/null"]
    for folder in sorted({str(parent) for path in inside for parent in Path(path).parents} - {"/"}):
        command += ["--perms", "0755", "--dir", folder]  # else root's alone
    for source, target in binds:
        command += ["--ro-bind", source, target]
    for path, target in (*links, *_LINKS):
        command += ["--symlink", target, path]
    for device in _DEVICES:
        command += ["--dev-bind", device, device]
    for path in ("/tmp", "/dev/shm"):
        command += ["--perms", "1777", "--size", str(size), "--tmpfs", path]
    return [*command, "--proc", "/proc", "--remount-ro", "/", "--chdir", "/tmp", "--"]


def _kernel_version() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


_lock = threading.Lock()
_found: dict[str, str | None] = {}


def trouble(backend: Backend) -> str | None:
    """Why a back end cannot be used here, found by using it once in this process; None if it can."""
    with _lock:
        if backend not in _found:
            _found[backend] = _try_out(backend)
        return _found[backend]


def _try_out(backend: Backend) -> str | None:
    from r1lit.sandbox.session import Session  # which starts what is defined here

    if backend != "plain" and sys.platform != "linux":
        return "only Linux has it"
    if backend == "bubblewrap" and shutil.which("bwrap") is None:
        return "the program bwrap is not installed"
    try:
        with tempfile.NamedTemporaryFile() as file, Session(backend, Limits(wall_s=20)) as session:
            report = session.run_script(_PROBE, file.name)
    except (SandboxError, OSError) as error:
        return str(error)
    if report["reason"]:
        return f"{report['reason']}: {report['output'].strip()[-300:]}"
    return None if backend == "plain" or report["output"] == "closed" else report["output"].strip()[-300:]


# Run in the box: is it one?
_PROBE = """
import os, sys
file = input()
found = []
if os.getuid() == 0: found.append("runs as root")
if os.getpid() > 50: found.append("sees the process numbers outside")
if os.path.exists(file): found.append("sees files outside")
with open("/proc/net/dev") as devices: names = [line.split(":")[0].strip() for line in devices if ":" in line]
if set(names) - {"lo"}: found.append("sees the network")
for folder in ("/", "/usr", sys.prefix, "/proc/sys/kernel"):
    if os.access(folder, os.W_OK): found.append("can write to " + folder)
with open("/proc/self/status") as status:
    for line in status:
        if line.startswith("CapEff") and int(line.split()[1], 16): found.append("has capabilities")
try: found.append("can read the supervisor: %d" % len(os.listdir("/proc/1/fd")))
except PermissionError: pass
with open("probe", "w") as out: out.write("x")
sys.stdout.write("; ".join(found) or "closed")
"""


def choose(isolation: Isolation) -> Backend:
    """The back end to use.

    Args:
        isolation: "auto" takes bubblewrap, else namespaces, and never plain processes.

    Raises:
        InputError: If the one asked for, or with "auto" any, does not work here.
    """
    if isolation not in ("auto", "bubblewrap", "namespaces", "plain"):
        raise InputError(f"isolation is {isolation!r}; choose from auto, bubblewrap, namespaces, plain")
    tried: list[str] = []
    candidates: tuple[Backend, ...] = ("bubblewrap", "namespaces") if isolation == "auto" else (isolation,)
    for backend in candidates:
        problem = trouble(backend)
        if problem is None:
            return backend
        tried.append(f"{backend}: {problem}")
    raise InputError(
        f"no sandbox for programs that nobody trusts ({'; '.join(tried)}); install bubblewrap (apt install bubblewrap) "
        "and allow user namespaces, or, for programs that you trust, say isolation='plain'".replace("\n", " ")
    )
