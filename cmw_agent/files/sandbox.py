"""Sandbox: cuts this process off from files, network and other processes, as far as Linux can.

Landlock limits which files can be opened, a seccomp filter which system calls succeed. Both last
until the process ends, whatever code runs in it, and need neither privileges nor a library. See
``docs/adr/0028-extraction-in-a-sandbox.md``, `landlock(7)` and `seccomp(2)`.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

_PR_SET_NO_NEW_PRIVS, _PR_GET_SECCOMP, _PR_SET_SECCOMP, _SECCOMP_FILTER = 38, 21, 22, 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH = 1, 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_WRITE_FILE, _MAKE_SOCKET, _TRUNCATE, _DEVICE_CONTROL = 1 << 1, 1 << 9, 1 << 14, 1 << 15
# Number of file access rights in each ABI version of Landlock; later versions as the last one.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_ALL_RIGHTS = (1 << max(_FILE_RIGHTS.values())) - 1
# Those that a rule for a file may have; the others are of folders.
_FILE_ALONE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
_NETWORK_VERSION, _NETWORK_RIGHTS = 4, 0b11  # TCP bind and connect
_SCOPE_VERSION, _SCOPES = 6, 0b11  # abstract sockets, signals to processes outside

_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | 1  # EPERM
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_AF_UNIX = 1
_X32 = 0x40000000  # first number of x86-64's second set of system calls

# Numbers of the system calls that fail in the sandbox, on x86-64 and on 64-bit ARM.
_FORBIDDEN: Mapping[str, tuple[int | None, int | None]] = MappingProxyType(
    {
        # sockets of every kind
        "socket": (41, 198),
        "socketpair": (53, 199),
        "connect": (42, 203),
        "accept": (43, 202),
        "accept4": (288, 242),
        "bind": (49, 200),
        "listen": (50, 201),
        "sendto": (44, 206),
        "sendmsg": (46, 211),
        "sendmmsg": (307, 269),
        # programs
        "execve": (59, 221),
        "execveat": (322, 281),
        # signals
        "kill": (62, 129),
        "tkill": (200, 130),
        "tgkill": (234, 131),
        "rt_sigqueueinfo": (129, 138),
        "rt_tgsigqueueinfo": (297, 240),
        "pidfd_send_signal": (424, 424),
        # memory and descriptors of other processes
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "process_madvise": (440, 440),
        "kcmp": (312, 272),
        "pidfd_getfd": (438, 438),
        # limits and priorities of other processes
        "prlimit64": (302, 261),
        "setpriority": (141, 140),
        "ioprio_set": (251, 30),
        "sched_setaffinity": (203, 122),
        "sched_setattr": (314, 274),
        "sched_setparam": (142, 118),
        "sched_setscheduler": (144, 119),
        # modes, owners, times and attributes of files, which Landlock does not control
        "chmod": (90, None),
        "fchmod": (91, 52),
        "fchmodat": (268, 53),
        "fchmodat2": (452, 452),
        "chown": (92, None),
        "lchown": (94, None),
        "fchown": (93, 55),
        "fchownat": (260, 54),
        "utime": (132, None),
        "utimes": (235, None),
        "utimensat": (280, 88),
        "futimesat": (261, None),
        "setxattr": (188, 5),
        "lsetxattr": (189, 6),
        "fsetxattr": (190, 7),
        "removexattr": (197, 14),
        "lremovexattr": (198, 15),
        "fremovexattr": (199, 16),
        # watches, and files by a handle instead of a name
        "inotify_init": (253, None),
        "inotify_init1": (294, 26),
        "fanotify_init": (300, 262),
        "open_by_handle_at": (304, 265),
        # memory and keys shared with other processes
        "shmget": (29, 194),
        "msgget": (68, 186),
        "semget": (64, 190),
        "mq_open": (240, 180),
        "add_key": (248, 217),
        "request_key": (249, 218),
        "keyctl": (250, 219),
        # other namespaces
        "mount": (165, 40),
        "mount_setattr": (442, 442),
        "move_mount": (429, 429),
        "open_tree": (428, 428),
        "fsopen": (430, 430),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "unshare": (272, 97),
        "setns": (308, 268),
        # ways around a filter
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "bpf": (321, 280),
        "perf_event_open": (298, 241),
        "userfaultfd": (323, 282),
    }
)
# What a program needs that starts others of its own and talks to them by local sockets which it has
# made itself: it can connect to none that is another's.
_OF_PROGRAMS = frozenset(
    {
        *("socketpair", "accept", "accept4", "bind", "listen", "sendto", "sendmsg", "sendmmsg"),
        *("execve", "kill", "tkill", "tgkill", "prlimit64", "setpriority", "sched_setaffinity"),
        *("chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "utimensat", "futimesat"),
        *("inotify_init", "inotify_init1"),
    }
)
# The machine's column in that table, and its identifier in the kernel (AUDIT_ARCH_*).
_MACHINES = MappingProxyType({"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)})


class SandboxError(Exception):
    """The kernel offers the sandbox, but it could not be entered."""


@dataclass(frozen=True, slots=True)
class SandboxFeatures:
    """The sandbox features of this system.

    Args:
        landlock: ABI version of Landlock; 0 if it is not available.
        seccomp: Whether system calls can be filtered.
    """

    landlock: int
    seccomp: bool

    @property
    def is_whole(self) -> bool:
        """Whether the sandbox blocks both files and network."""
        return self.landlock > 0 and self.seccomp


def features() -> SandboxFeatures:
    """Return the sandbox features of the kernel; changes nothing."""
    if not sys.platform.startswith("linux"):
        return SandboxFeatures(0, False)
    libc = _libc()
    version = libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    can_filter = libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0
    return SandboxFeatures(max(0, version), can_filter and platform.machine() in _MACHINES)


def enter(
    readable: Iterable[Path],
    *,
    programs: Iterable[Path] = (),
    writable: Path | None = None,
    sockets: Path | None = None,
) -> SandboxFeatures:
    """Enter the sandbox until the process ends, with the features that the kernel offers.

    Open files stay open. Nothing else can be written, executed or connected to.

    Args:
        readable: Files and folders that can still be opened for reading.
        programs: Files and folders that can be read and executed. With them the process may start
            programs, signal them, and make local sockets to which it alone can connect.
        writable: A folder in which everything can be read and written.
        sockets: A folder in which local sockets can be made.

    Returns:
        The features that are in effect.

    Raises:
        SandboxError: An available feature could not be put into effect.
    """
    available = features()
    if available.landlock or available.seccomp:
        libc = _libc()
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        executed = tuple(programs)
        if available.landlock:
            rules = _rules(readable, executed, writable, sockets)
            _restrict_files(libc, available.landlock, rules)
        if available.seccomp:
            _restrict_calls(libc, runs_programs=bool(executed))
    return available


def _rules(
    readable: Iterable[Path],
    programs: Iterable[Path],
    writable: Path | None,
    sockets: Path | None,
) -> Iterator[tuple[Path, int]]:
    """Yield paths with the rights to what is beneath each."""
    reading = _READ_FILE | _READ_DIR
    yield from ((path, reading) for path in readable)
    yield from ((path, reading | _EXECUTE) for path in programs)
    if writable is not None:
        yield writable, _ALL_RIGHTS & ~_EXECUTE
    if sockets is not None:
        yield sockets, _MAKE_SOCKET


def _restrict_files(libc: ctypes.CDLL, version: int, rules: Iterable[tuple[Path, int]]) -> None:
    rights = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
    network = _NETWORK_RIGHTS if version >= _NETWORK_VERSION else 0
    scopes = _SCOPES if version >= _SCOPE_VERSION else 0
    # Older kernels refuse a structure longer than theirs, unless the rest is zero.
    attributes = struct.pack("QQQ", rights, network, scopes)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(24), 0))
    try:
        for path, allowed in rules:
            _allow(libc, ruleset, path, allowed & rights)
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it does not exist
        return
    try:
        allowed = rights if path.is_dir() else rights & _FILE_ALONE
        rule = struct.pack("=Qi", allowed, descriptor)
        _checked(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _restrict_calls(libc: ctypes.CDLL, *, runs_programs: bool) -> None:
    filters = _program(platform.machine(), runs_programs=runs_programs)
    buffer = ctypes.create_string_buffer(filters)
    # struct sock_fprog: number of instructions, and their address
    program = struct.pack("HP", len(filters) // 8, ctypes.addressof(buffer))
    _checked(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, program, 0, 0))


def _program(machine: str, *, runs_programs: bool) -> bytes:
    """Return the BPF filter: forbidden calls and other architectures' calls fail with EPERM."""
    column, audit = _MACHINES[machine]
    forbidden = [
        number
        for name, call in _FORBIDDEN.items()
        if (number := call[column]) is not None and not (runs_programs and name in _OF_PROGRAMS)
    ]
    sockets = _FORBIDDEN["socket"][column] or 0
    if runs_programs:
        forbidden.remove(sockets)  # judged by its family
    # A socket of another family than the local one is denied.
    local = [
        (_JUMP_EQUAL, 0, 3, sockets),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_EQUAL, len(forbidden) + 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, _DENY),
    ]
    local = local if runs_programs else []
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _DENY),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_ABOVE, len(local) + len(forbidden) + 1, 0, _X32),
        *local,
    ]
    # Each jumps over the ones after it and over the "allow" instruction.
    instructions += [
        (_JUMP_EQUAL, len(forbidden) - index, 0, number) for index, number in enumerate(forbidden)
    ]
    instructions += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DENY)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        raise SandboxError(os.strerror(ctypes.get_errno()))
    return result
