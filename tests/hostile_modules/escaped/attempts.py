"""What code in a cell may try against the machine around it. Each returns what it reached, or raises ``Denied``."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

from .kernel import Attempt, Denied, Kernel, Order

HERE = -100
"""AT_FDCWD"""
PAGE = 4096
READ_WRITE = 3
SHARED, PRIVATE, ANONYMOUS, GROWS_DOWN, NO_RESERVE = 0x01, 0x02, 0x20, 0x0100, 0x4000
CHUNK = 1 << 30
_PROGRAM = b"/bin/sh"


def _call(name: str, *arguments: Any) -> Attempt:
    return lambda kernel, order: kernel(name, *arguments)


def _open(path: Callable[[Order], str], flags: int) -> Attempt:
    return lambda kernel, order: kernel("openat", HERE, path(order).encode(), flags, 0o600)


def _on(name: str, key: str, *arguments: Any) -> Attempt:
    """A call whose first argument is a process or a path of the order's."""

    def attempt(kernel: Kernel, order: Order) -> int:
        first = order[key]
        return kernel(name, first.encode() if isinstance(first, str) else first, *arguments)

    return attempt


def _inherited(kernel: Kernel, order: Order) -> list[int]:
    """Descriptors beside the three of ``/dev/null`` and the socket to the node that can be written or are no files.

    A sealed memory file, as which a cell gets its module, is neither.
    """
    found, status = [], ctypes.create_string_buffer(512)
    for descriptor in range(4, 4096):
        try:
            kernel("fstat", descriptor, status)
            kernel("write", descriptor, b"x", 1)
        except Denied:
            continue
        found.append(descriptor)
    if not found:
        raise Denied("EBADF or EPERM")
    return found


def _connect_own_socket(kernel: Kernel, order: Order) -> int:
    address = struct.pack("=H", socket.AF_UNIX) + b"\0" + order["abstract"].encode()
    return kernel("connect", 3, address, len(address))


def _send_elsewhere(kernel: Kernel, order: Order) -> int:
    address = struct.pack("=H", socket.AF_UNIX) + b"\0" + order["abstract"].encode()
    return kernel("sendto", 3, b"x", 1, 0, address, len(address))


def _claim_another_process(kernel: Kernel, order: Order) -> int:
    """Credentials of the node on a message to the node."""
    control = struct.pack("=QiiiII4x", 28, socket.SOL_SOCKET, socket.SCM_CREDENTIALS, order["node"], 0, 0)
    buffers = [ctypes.create_string_buffer(each, len(each)) for each in (b"x", control)]
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(buffers[0]), 1), 16)
    message = struct.pack("=7Q", 0, 0, ctypes.addressof(vector), 1, ctypes.addressof(buffers[1]), len(control), 0)
    return kernel("sendmsg", 3, message, 0)


def _connect_inet(kernel: Kernel, order: Order) -> int:
    descriptor = kernel("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
    address = struct.pack("!2sH4s8x", struct.pack("=H", socket.AF_INET), order["port"], b"\x7f\0\0\1")
    return kernel("connect", descriptor, address, len(address))


def _connect_unix(kernel: Kernel, order: Order) -> int:
    descriptor = kernel("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_UNIX) + order["unix"].encode() + b"\0"
    return kernel("connect", descriptor, address, len(address))


def _connect_abstract(kernel: Kernel, order: Order) -> int:
    descriptor = kernel("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_UNIX) + b"\0" + order["abstract"].encode()
    return kernel("connect", descriptor, address, len(address))


def _pointers(*texts: bytes) -> Any:
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)


def _execve(kernel: Kernel, order: Order) -> int:
    return kernel("execve", _PROGRAM, _pointers(_PROGRAM, b"-c", b"exit 0"), _pointers())


def _execveat(kernel: Kernel, order: Order) -> int:
    return kernel("execveat", HERE, _PROGRAM, _pointers(_PROGRAM), _pointers(), 0)


def _fork(kernel: Kernel, order: Order) -> str:
    pid = kernel("clone", 17, 0, 0, 0, 0)
    if not pid:
        os._exit(0)
    return "forked"


def _clone3(kernel: Kernel, order: Order) -> str:
    pid = kernel("clone3", struct.pack("=8Q", 0, 0, 0, 0, 17, 0, 0, 0), 64)
    if not pid:
        os._exit(0)
    return "cloned"


def _thread(kernel: Kernel, order: Order) -> str:
    import _thread

    try:
        _thread.start_new_thread(lambda: None, ())
    except RuntimeError as error:
        raise Denied(str(error)) from None
    return "a thread"


def _signal_by_pidfd(kernel: Kernel, order: Order) -> int:
    descriptor = kernel("pidfd_open", order["node"], 0)
    return kernel("pidfd_send_signal", descriptor, 0, 0, 0)


def _steal_descriptor(kernel: Kernel, order: Order) -> int:
    return kernel("pidfd_getfd", kernel("pidfd_open", order["node"], 0), 0, 0)


def _across(name: str) -> Attempt:
    def attempt(kernel: Kernel, order: Order) -> int:
        buffer = ctypes.create_string_buffer(64)
        here = struct.pack("=QQ", ctypes.addressof(buffer), 64)
        there = struct.pack("=QQ", order["address"], 64)
        return kernel(name, order["node"], here, 1, there, 1, 0)

    return attempt


def _raise_limits(kernel: Kernel, order: Order) -> list[str]:
    kinds = {
        "data": resource.RLIMIT_DATA,
        "cpu": resource.RLIMIT_CPU,
        "files": resource.RLIMIT_NOFILE,
        "processes": resource.RLIMIT_NPROC,
        "file size": resource.RLIMIT_FSIZE,
        "locked": resource.RLIMIT_MEMLOCK,
        "core": resource.RLIMIT_CORE,
    }
    raised = []
    for name, kind in kinds.items():
        try:
            kernel("prlimit64", 0, kind, struct.pack("=qq", -1, -1), None)
        except Denied:
            continue
        raised.append(name)
    if not raised:
        raise Denied("EPERM")
    return raised


def _touch(kernel: Kernel, size: int, flags: int) -> str:
    """Take `size` bytes and write to every page of them."""
    address = kernel("mmap", None, size, READ_WRITE, flags | ANONYMOUS, -1, 0)
    for offset in range(0, size, CHUNK):
        ctypes.memset(address + offset, 1, min(CHUNK, size - offset))
    return f"{size} bytes"


def _map(flags: int, size: int = 768 << 20) -> Attempt:
    return lambda kernel, order: _touch(kernel, size, flags)


def _reserve_and_open(kernel: Kernel, order: Order) -> int:
    size = 64 << 30
    address = kernel("mmap", None, size, 0, PRIVATE | ANONYMOUS | NO_RESERVE, -1, 0)
    return kernel("mprotect", ctypes.c_void_p(address), size, READ_WRITE)


def _remap(kernel: Kernel, order: Order) -> int:
    address = kernel("mmap", None, PAGE, READ_WRITE, PRIVATE | ANONYMOUS, -1, 0)
    return kernel("mremap", ctypes.c_void_p(address), PAGE, 64 << 30, 1)


def _break(kernel: Kernel, order: Order) -> int:
    now = kernel("brk", 0)
    if kernel("brk", now + (64 << 30)) == now:
        raise Denied("ENOMEM")
    return now


def _memory_files(kernel: Kernel, order: Order) -> int:
    made = 0
    for _ in range(1000):
        descriptor = kernel("memfd_create", b"flood", 0)
        made += kernel("pwrite64", descriptor, bytes(1 << 20), 1 << 20, 0)
    return made


def _duplicates(kernel: Kernel, order: Order) -> int:
    """Descriptors without end: stopped by the limit on them."""
    for count in range(100_000):
        try:
            kernel("fcntl", 3, 1030, 0)
        except Denied:
            if count > 64:
                return count
            raise
    return count


def _deaf(kernel: Kernel) -> None:
    kernel("rt_sigprocmask", 0, b"\xff" * 8, None, 8)


def _sleep(kernel: Kernel, order: Order) -> None:
    _deaf(kernel)
    while True:
        time.sleep(1e6)


def _spin(kernel: Kernel, order: Order) -> None:
    _deaf(kernel)
    while True:
        pass


def _fill_the_artifact(kernel: Kernel, order: Order) -> str:
    """Of a compile cell: its two files in memory come after its socket, the second is to be written."""
    written = 0
    while written < 1 << 30:
        written += kernel("pwrite64", order["artifact"], bytes(1 << 20), 1 << 20, written)
    return f"{written} bytes"


ATTEMPTS: Mapping[str, Attempt] = {
    "nothing": lambda kernel, order: "nothing",
    # Files.
    "open the list of users": _open(lambda order: "/etc/passwd", os.O_RDONLY),
    "open its own memory": _open(lambda order: "/proc/self/mem", os.O_RDWR),
    "open the node's memory": _open(lambda order: f"/proc/{order['node']}/mem", os.O_RDWR),
    "list a folder": _open(lambda order: "/", os.O_RDONLY | os.O_DIRECTORY),
    "read the node's key": _open(lambda order: order["key"], os.O_RDONLY),
    "write the cache": _open(lambda order: order["cache"] + "/planted.compiled", os.O_CREAT | os.O_WRONLY),
    "write a file for all": _open(lambda order: order["public"] + "/planted", os.O_CREAT | os.O_WRONLY),
    "write to the control group": _open(lambda order: order["group"] + "/cgroup.procs", os.O_WRONLY),
    "open shared memory": _open(lambda order: "/dev/shm/plasm-planted", os.O_CREAT | os.O_RDWR),
    "open by openat2": lambda kernel, order: kernel("openat2", HERE, b"/etc/passwd", bytes(24), 24),
    "open by a handle": _call("open_by_handle_at", HERE, struct.pack("=Ii8s", 8, 1, bytes(8)), 0),
    "stat the node's key": lambda kernel, order: kernel("statx", HERE, order["key"].encode(), 0, 0x7FF, bytes(256)),
    "look where it is": _call("getcwd", bytes(256), 256),
    "make a folder": lambda kernel, order: kernel("mkdirat", HERE, f"{order['public']}/planted".encode(), 0o700),
    "remove the key": lambda kernel, order: kernel("unlinkat", HERE, order["key"].encode(), 0),
    "rename the key": lambda kernel, order: kernel(
        "renameat2", HERE, order["key"].encode(), HERE, f"{order['public']}/planted".encode(), 0
    ),
    "link the key": lambda kernel, order: kernel(
        "linkat", HERE, order["key"].encode(), HERE, f"{order['public']}/planted".encode(), 0
    ),
    "make a symbolic link": lambda kernel, order: kernel(
        "symlinkat", order["key"].encode(), HERE, f"{order['public']}/planted".encode()
    ),
    "make a device": lambda kernel, order: kernel(
        "mknodat", HERE, f"{order['public']}/planted".encode(), 0o20600, 0x0103
    ),
    "open the key to all": lambda kernel, order: kernel("fchmodat", HERE, order["key"].encode(), 0o666),
    "cut the key": _on("truncate", "key", 0),
    "use inherited descriptors": _inherited,
    "take all descriptors": _duplicates,
    # Sockets.
    "make an internet socket": _call("socket", socket.AF_INET, socket.SOCK_DGRAM, 0),
    "make a raw socket": _call("socket", socket.AF_INET, socket.SOCK_RAW, 1),
    "make a netlink socket": _call("socket", socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "make a packet socket": _call("socket", socket.AF_PACKET, socket.SOCK_RAW, 0),
    "make a pair of sockets": _call("socketpair", socket.AF_UNIX, socket.SOCK_STREAM, 0, bytes(8)),
    "connect by TCP": _connect_inet,
    "connect to a socket in a folder": _connect_unix,
    "connect to an abstract socket": _connect_abstract,
    "connect its own socket elsewhere": _connect_own_socket,
    "send to another address": _send_elsewhere,
    "claim to be the node": _claim_another_process,
    "listen": _call("listen", 3, 1),
    # Processes.
    "fork": _fork,
    "clone": _clone3,
    "start a thread": _thread,
    "execute": _execve,
    "execute at": _execveat,
    "trace the node": lambda kernel, order: kernel("ptrace", 16, order["node"], 0, 0),
    "trace the warm parent": lambda kernel, order: kernel("ptrace", 16, os.getppid(), 0, 0),
    "ask for the node": _on("kill", "node", 0),
    "kill the node": _on("kill", "node", 9),
    "kill a thread of the node": lambda kernel, order: kernel("tgkill", order["node"], order["node"], 9),
    "queue a signal for the node": _on("rt_sigqueueinfo", "node", 9, bytes(128)),
    "ask for the warm parent": lambda kernel, order: kernel("kill", os.getppid(), 0),
    "kill the warm parent": lambda kernel, order: kernel("kill", os.getppid(), 9),
    "ask for all": _call("kill", -1, 0),
    "signal by a descriptor": _signal_by_pidfd,
    "steal a descriptor": _steal_descriptor,
    "read the node's memory": _across("process_vm_readv"),
    "write the node's memory": _across("process_vm_writev"),
    "limit the node": lambda kernel, order: kernel("prlimit64", order["node"], 7, struct.pack("=qq", 0, 0), None),
    "take another processor": _call("sched_setaffinity", 0, 8, b"\xff" * 8),
    "take the processor for itself": _call("sched_setscheduler", 0, 1, struct.pack("=i", 1)),
    "come before others": _call("setpriority", 0, 0, -20),
    # Privileges.
    "become root": _call("setresuid", 0, 0, 0),
    "become another": _call("setresuid", 1, 1, 1),
    "join groups": _call("setgroups", 1, struct.pack("=I", 0)),
    "take capabilities": _call("capset", struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *[0xFFFFFFFF] * 6)),
    "become dumpable": _call("prctl", 4, 1, 0, 0, 0),
    "want new privileges": _call("prctl", 38, 0, 0, 0, 0),
    "outlive its parent": _call("prctl", 1, 0, 0, 0, 0),
    "raise its limits": _raise_limits,
    "make a name space": _call("unshare", 0x10000000),
    "enter a name space": _call("setns", 0, 0),
    "mount": _call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "unmount": _call("umount2", b"/proc", 0),
    "change the root": _call("chroot", b"/tmp"),
    "load a filter": _call("seccomp", 1, 0, None),
    "use keys": _call("keyctl", 0, -3, 0, 0, 0),
    "add a key": _call("add_key", b"user", b"planted", b"x", 1, -3),
    "load a program into the kernel": _call("bpf", 0, bytes(128), 128),
    "handle page faults": _call("userfaultfd", 1),
    "count events": _call("perf_event_open", bytes(128), 0, -1, -1, 0),
    "make a ring": _call("io_uring_setup", 4, bytes(120)),
    "write to a terminal": _call("ioctl", 0, 0x5412, b"x"),
    # Memory and time.
    "map 768 MiB": _map(PRIVATE),
    "map 768 MiB that grow down": _map(PRIVATE | GROWS_DOWN),
    "map 768 MiB to share": _map(SHARED),
    "reserve and open 64 GiB": _reserve_and_open,
    "remap to 64 GiB": _remap,
    "move the break": _break,
    "make memory files without end": _memory_files,
    "get shared memory": _call("shmget", 0x504C41, 1 << 20, 0o1600),
    "make a message queue": _call("msgget", 0x504C41, 0o1600),
    "make semaphores": _call("semget", 0x504C41, 1, 0o1600),
    "fill the artifact": _fill_the_artifact,
    "sleep for ever": _sleep,
    "spin": _spin,
}
UNCOUNTED = ("map 768 MiB to share", "map 768 MiB that grow down")
"""Memory that ``RLIMIT_DATA`` does not count."""
