"""Puts a process into a box: namespaces and mounts where bubblewrap has not done it, another user, resource limits."""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Mapping
from typing import Any

from r1lit.sandbox.inside import kernel

_NOBODY = 65534


def enter_namespaces(setup: Mapping[str, Any]) -> None:
    """Goes on in a child that is the first process of new namespaces; the parent waits for it and ends.

    Args:
        setup: ``binds`` (pairs: path outside, path inside, all read-only), ``links`` (pairs: path, target), ``devices``
            and ``tmp_bytes``.

    Raises:
        OSError: If the kernel, or its administrator, does not allow it.
    """
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    user, group = os.getuid(), os.getgid()
    kernel.die_with_parent()
    kernel.unshare(flags if user == 0 else flags | kernel.CLONE_NEWUSER)
    if user != 0:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{_NOBODY} {user} 1"),
            ("gid_map", f"{_NOBODY} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    child = os.fork()
    if child:
        os.closerange(0, 1 << 16)
        _, status = os.waitpid(child, 0)
        os._exit(min(255, abs(os.waitstatus_to_exitcode(status))))
    kernel.die_with_parent()
    os.setsid()
    os.umask(0o022)
    _build_root(setup)
    if user != 0:
        with contextlib.suppress(OSError), open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")  # what it may refuse the system call filter forbids as well


def _build_root(setup: Mapping[str, Any]) -> None:
    """A new root in memory: the bound folders, a few devices, /proc of the new namespace and an empty /tmp."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID, "mode=755,size=1m")
    os.mkdir("/tmp/old")
    kernel.pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    for source, target in setup["binds"]:
        _bind(f"/old{source}", target)
        kernel.read_only(target)
    for path, target in setup["links"]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)
    for device in setup["devices"]:
        _bind(f"/old{device}", device)
    os.mkdir("/proc")
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV)
    for path in ("/tmp", "/dev/shm"):
        os.makedirs(path, exist_ok=True)
        options = f"mode=1777,size={setup['tmp_bytes']},nr_inodes=4096"
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    kernel.unmount("/old")
    os.rmdir("/old")
    kernel.mount("tmpfs", "/", None, kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID, "mode=755,size=1m")


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def drop_privileges(user: int) -> None:
    """Becomes a user without rights, whom no child can trace, signal to death or read the memory of.

    Args:
        user: The user number to take, where this process is root: one that no other run has, as the limit of
            processes counts by user.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # when memory runs out, this goes first
    os.umask(0o022)
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)  # from root to another: the kernel takes all capabilities away
    else:
        kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    harden()
    kernel.die_with_parent()


def harden() -> None:
    """Closes this process to its children: no reading of its memory or files, no common signals."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def set_limits(limits: Mapping[str, float], count_processes: bool) -> None:
    """Resource limits of this process and what it starts, which cannot be raised again.

    Args:
        limits: The fields of ``Limits``.
        count_processes: Limit the number of processes too: only where the user has no others.
    """
    cpu = max(1, int(-(-limits["cpu_s"] // 1)))
    hard = {
        resource.RLIMIT_AS: int(limits["memory_mb"] * 2**20),
        resource.RLIMIT_FSIZE: int(limits["file_mb"] * 2**20),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
    if count_processes:
        hard[resource.RLIMIT_NPROC] = int(limits["processes"]) + 1  # the supervisor is one
    for kind, value in hard.items():
        top = resource.getrlimit(kind)[1]
        value = value if top == resource.RLIM_INFINITY else min(value, top)
        resource.setrlimit(kind, (value, value))
    top = resource.getrlimit(resource.RLIMIT_CPU)[1]
    cpu = cpu if top == resource.RLIM_INFINITY else min(cpu, top)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu if cpu == top else cpu + 1))
    stack, top = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = 64 << 20
    if 0 <= stack < wanted and (top == resource.RLIM_INFINITY or top >= wanted):
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, top))  # for deep recursion in C, as in re or json
