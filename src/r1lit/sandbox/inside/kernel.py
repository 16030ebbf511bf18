"""The Linux system calls that Python has no functions for."""

import contextlib
import ctypes
import os
import signal
import struct

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x4000000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP = 0x20000000, 0x40000000, 0x2000000
_MNT_DETACH, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_SETATTR = 2, -100, 0x8000, 442
_SECCOMP_MODE_FILTER = 2


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def prctl(option: int, value: int = 0) -> None:
    """Calls ``prctl``; the constants above name the options."""
    _check(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)), "prctl")


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent ends. A change of user undoes it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def unshare(flags: int) -> None:
    """Moves this process, or the children to come, into new namespaces."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Calls ``mount``."""

    def text(value: str | None) -> bytes | None:
        return None if value is None else os.fsencode(value)

    data = ctypes.c_ulong(flags)
    _check(_libc.mount(text(source), text(target), text(kind), data, text(options)), f"mount {target}")


def read_only(target: str) -> None:
    """Makes a mount and all below it read-only, without devices and set-user-id programs."""
    attributes = struct.pack("<4Q", MS_RDONLY | MS_NOSUID | MS_NODEV, 0, 0, 0)  # as in mount_setattr(2)
    number = ctypes.c_long(_MOUNT_SETATTR)
    size = ctypes.c_size_t(len(attributes))
    path = os.fsencode(target)
    _check(_libc.syscall(number, _AT_FDCWD, path, _AT_RECURSIVE, attributes, size), f"mount_setattr {target}")


def pivot_root(new: str, old: str) -> None:
    """Makes ``new`` the root and puts the former one at ``old``."""
    numbers = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
    number = numbers.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root on {os.uname().machine} is not known here")
    _check(_libc.syscall(ctypes.c_long(number), os.fsencode(new), os.fsencode(old)), "pivot_root")


def unmount(target: str) -> None:
    """Detaches a mount and all below it."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"umount {target}")


def drop_capabilities() -> None:
    """Gives up all capabilities for good."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    with contextlib.suppress(PermissionError):  # where bubblewrap has taken them all before
        for capability in range(last + 1):
            prctl(PR_CAPBSET_DROP, capability)
    header = struct.pack("<Ii", 0x20080522, 0)  # version 3, this thread
    _check(_libc.capset(header, bytes(24)), "capset")


# System calls that no judged program needs and that widen what it can reach: other processes' memory, namespaces and
# mounts, the kernel's wilder corners; and what holds memory that no process is charged for: memory files, System V
# segments, a tmpfs of its own.
_DENIED = {
    "x86_64": (
        0xC000003E,
        56,
        435,
        # ptrace, process_vm_readv/writev, kcmp, pidfd_getfd, pivot_root, chroot, mount, umount2, swapon, setns, unshare
        *(101, 310, 311, 312, 438, 155, 161, 165, 166, 167, 308, 272),
        # new mount calls, shmget, memfd_create, memfd_secret, bpf, userfaultfd, perf_event_open, keyrings, io_uring
        *(428, 429, 430, 431, 432, 433, 442, 29, 319, 447, 321, 323, 298, 248, 249, 250, 425, 426, 427),
        # semget, msgget, mq_open: what they make would outlive a process, and carry state from one input to the next
        *(64, 68, 240),
        # modules, kexec, name_to_handle_at, open_by_handle_at, personality, vhangup, acct, fanotify_init, ioprio_set
        *(175, 313, 246, 320, 303, 304, 135, 153, 163, 300, 251),
    ),
    "aarch64": (
        0xC00000B7,
        220,
        435,
        *(117, 270, 271, 272, 438, 41, 51, 40, 39, 224, 268, 97),
        *(428, 429, 430, 431, 432, 433, 442, 194, 279, 447, 280, 282, 241, 217, 218, 219, 425, 426, 427),
        *(190, 186, 180),
        *(105, 273, 104, 294, 264, 265, 92, 58, 89, 262, 30),
    ),
}
# Calls that change the limits, the priority or the cores of a process: each program may change its own, and none those
# of the supervisor, which runs under the same user. Number of the call, and the arguments that must be 0 ("myself").
_OWN_ONLY = {
    # prlimit64, sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr, setpriority
    "x86_64": ((302, (0,)), (142, (0,)), (144, (0,)), (203, (0,)), (314, (0,)), (141, (0, 1))),
    "aarch64": ((261, (0,)), (118, (0,)), (119, (0,)), (122, (0,)), (274, (0,)), (140, (0, 1))),
}
# mmap, of which anonymous pages may not be shared: nobody's resident memory counts them once they are dropped from it.
# And socket and socketpair, which may make none but Unix ones.
_MMAP = {"x86_64": 9, "aarch64": 222}
_SOCKETS = {"x86_64": (41, 53), "aarch64": (198, 199)}
_MAP_SHARED, _MAP_ANONYMOUS, _AF_UNIX = 1, 0x20, 1
_EPERM, _ENOMEM, _ENOSYS, _EAFNOSUPPORT = 1, 12, 38, 97
_NEW_NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
_NEW_NAMESPACES |= CLONE_NEWCGROUP


def filter_system_calls() -> None:
    """Denies a list of system calls to this process and its descendants, where their numbers are known.

    A second fence behind the namespaces, not the first: an unknown machine goes without it.
    """
    machine = os.uname().machine
    if machine not in _DENIED:
        return
    architecture, clone, clone3, *denied = _DENIED[machine]
    load, equal, greater, masked, give = 0x20, 0x15, 0x35, 0x45, 0x06  # LD+W+ABS, JEQ, JGE, JSET, RET
    allow, kill, error = 0x7FFF0000, 0x80000000, 0x00050000
    program = [
        (load, 0, 0, 4),  # the architecture: numbers of another one would mean other calls
        (equal, 1, 0, architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),
        (greater, 0, 1, 0x40000000),  # the x32 numbers
        (give, 0, 0, kill),
        (equal, 0, 1, clone3),  # its flags lie in memory, where no filter can look; libraries fall back to clone
        (give, 0, 0, error | _ENOSYS),
    ]
    for number in denied:
        program += [(equal, 0, 1, number), (give, 0, 0, error | _EPERM)]
    for number, arguments in _OWN_ONLY[machine]:
        program.append((equal, 0, 3 * len(arguments) + 1, number))
        for index in arguments:  # the lower half of each, which is all that the kernel reads of these
            program += [(load, 0, 0, 16 + 8 * index), (equal, 1, 0, 0), (give, 0, 0, error | _EPERM)]
        program.append((give, 0, 0, allow))
    for number in _SOCKETS[machine]:
        program += [
            (equal, 0, 4, number),
            (load, 0, 0, 16),  # its first argument, the family
            (equal, 1, 0, _AF_UNIX),
            (give, 0, 0, error | _EAFNOSUPPORT),
            (give, 0, 0, allow),
        ]
    program += [
        (equal, 0, 5, _MMAP[machine]),
        (load, 0, 0, 16 + 8 * 3),  # its fourth argument, the flags
        (masked, 0, 2, _MAP_ANONYMOUS),
        (masked, 0, 1, _MAP_SHARED),
        (give, 0, 0, error | _ENOMEM),
        (give, 0, 0, allow),
        (equal, 0, 3, clone),
        (load, 0, 0, 16),  # its first argument, the flags
        (masked, 0, 1, _NEW_NAMESPACES),
        (give, 0, 0, error | _EPERM),
        (give, 0, 0, allow),
    ]
    code = b"".join(struct.pack("<HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    pointer = ctypes.create_string_buffer(head)
    result = _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), pointer)
    _check(result, "prctl(PR_SET_SECCOMP)")
