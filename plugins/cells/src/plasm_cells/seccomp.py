"""The seccomp programs of cells: lists of what they may call, everything else kills the process.

They are made in the node, by libseccomp, and installed in the cells as bytes. Source: seccomp(2), seccomp_init(3).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import Any, Final

_F_DUPFD_CLOEXEC: Final = 1030
_UNKNOWN: Final = -1
_THREAD: Final = 0x100 | 0x10000
"""``CLONE_VM`` and ``CLONE_THREAD``: what is made belongs to the process and ends with it (clone(2))."""

_BOTH: Final = (
    *(
        "read",
        "write",
        "recvfrom",
        "recvmsg",
        "sendto",
        "sendmsg",
        "close",
        "lseek",
        "pread64",
        "preadv",
        "preadv2",
        "poll",
    ),
    "fstat",
    *("mprotect", "munmap", "madvise", "mremap", "brk"),
    *("futex", "sched_yield", "sched_getaffinity", "rseq", "set_robust_list", "restart_syscall"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times", "getrusage"),
    *("getpid", "gettid", "getppid", "getrandom", "exit", "exit_group"),
)
_MAP_KIND: Final = 0x0F | 0x100
"""``MAP_TYPE`` and ``MAP_GROWSDOWN``: of all kinds of memory ``RLIMIT_DATA`` counts private mappings alone."""
_MAP_PRIVATE: Final = 0x02
_COMPILE: Final = ("pwrite64", "pwritev", "ftruncate")
_TRIED: Final = (
    *("open", "openat", "openat2", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd"),
    *("stat", "lstat", "newfstatat", "statx", "getdents64", "ioctl", "uname", "sysinfo", "prctl"),
    *("getuid", "geteuid", "getgid", "getegid", "sched_setaffinity", "setpriority"),
)
"""What libraries try and can do without: it fails, and the process lives."""
NEVER: Final = frozenset(
    {
        *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
        *("clone", "clone3", "fork", "vfork", "execve", "execveat", "ptrace", "kill", "tkill", "tgkill"),
        *("process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
        *("bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register"),
        *("keyctl", "add_key", "request_key", "mount", "umount2", "unshare", "setns", "chroot", "pivot_root"),
        *("open", "openat", "openat2", "open_by_handle_at", "memfd_create", "shmget", "shmat", "mknod", "mknodat"),
        *("init_module", "finit_module", "kexec_load", "reboot", "setuid", "setresuid", "setgid", "setresgid"),
    }
)
"""What no engine may ask for."""


class Unavailable(Exception):
    """libseccomp is not here, or does not know this machine."""


def program(engine_calls: Sequence[str], *, compiles: bool, threads: bool = False) -> bytes:
    """A BPF program (``struct sock_filter`` in a row). Raises :exc:`Unavailable`, :exc:`ValueError` for a bad name.

    With `threads` a process may make threads of its own, and still no other process.
    """
    wrong = sorted(set(engine_calls) & NEVER)
    if wrong:
        raise ValueError(f"the engine asks for system calls that no cell gets: {', '.join(wrong)}")
    try:
        import pyseccomp as library  # type: ignore[import-untyped]
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise Unavailable(f"libseccomp does not load: {error}") from None
    try:
        rules = library.SyscallFilter(library.KILL_PROCESS)
        rules.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
        with contextlib.suppress(OSError):
            # A binary tree instead of a list; libseccomp before 2.5 has none.
            rules.set_attr(library.Attr.CTL_OPTIMIZE, 2)
        refused = library.ERRNO(errno.EPERM)

        def add(action: int, name: str, *arguments: Any) -> None:
            number = library.resolve_syscall(library.Arch.NATIVE, name)
            if number != _UNKNOWN:
                rules.add_rule(action, number, *arguments)

        allowed = dict.fromkeys((*_BOTH, *(_COMPILE if compiles else ()), *engine_calls))
        for name in allowed:
            add(library.ALLOW, name)
        add(library.ALLOW, "mmap", library.Arg(3, library.MASKED_EQ, _MAP_KIND, _MAP_PRIVATE))
        for name in _TRIED:
            if name not in allowed:
                add(refused, name)
        for name, place, value in (("prlimit64", 0, 0), ("fcntl", 1, _F_DUPFD_CLOEXEC)):
            add(library.ALLOW, name, library.Arg(place, library.EQ, value))
            add(refused, name, library.Arg(place, library.NE, value))
        if threads:
            # The flags of clone3 stand in memory, where no filter sees them; without it libraries take clone.
            add(library.ERRNO(errno.ENOSYS), "clone3")
            add(library.ALLOW, "clone", library.Arg(0, library.MASKED_EQ, _THREAD, _THREAD))
        descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        with open(descriptor, "r+b") as file:
            rules.export_bpf(file)
            file.seek(0)
            return file.read()
    except OSError as error:
        raise Unavailable(f"libseccomp makes no program: {error.strerror}") from None
