"""Compiled modules: in memory as sealed files that cells can map and not change, on disk in a private folder.

A compiled module is machine code: one that was tampered with runs as it stands. So none is ever taken from anyone, the
folder is the node's own (0700), and what is read from it is checked against its SHA-256 before a cell gets it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import hmac
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plasm_cell.frames import read_all, write_all

from plasm.ports import Digest, RuntimeFailed

_MAGIC = b"PLASMCW1"
_HEADER = len(_MAGIC) + 1 + 32
_SUFFIX = ".compiled"
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def memory_file(name: str, content: bytes | None = None) -> int:
    """An anonymous file in memory, sealed where `content` is given. Raises :exc:`RuntimeFailed`."""
    try:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise RuntimeFailed(f"no memory file: {error.strerror}") from None
    if content is None:
        return descriptor
    try:
        write_all(descriptor, content)
        seal(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise RuntimeFailed(f"no memory for {len(content)} bytes: {error.strerror}") from None
    return descriptor


def seal(descriptor: int) -> None:
    """Nothing can change the memory file from now on. Raises :exc:`OSError` where something still has it mapped."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


@dataclass(frozen=True)
class Artifact:
    """A compiled module in a sealed memory file."""

    descriptor: int
    size: int
    starts: bool
    """Whether instantiating it runs code of the module."""
    stored: bool = False
    """Whether it was read from disk: another machine or engine may have written it."""


class HeldArtifacts:
    """Those in memory: the least recently used leaves first, the last one used stays."""

    def __init__(self, most_bytes: int, most_items: int = 128) -> None:
        self._most_bytes = most_bytes
        # Each is a descriptor, of which a process has 1024 by default for everything that it does.
        self._most_items = most_items
        self._held: OrderedDict[Digest, Artifact] = OrderedDict()

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._held

    def add(self, digest: Digest, artifact: Artifact) -> None:
        """Owns the descriptor from now on."""
        self.discard(digest)
        self._held[digest] = artifact
        total = sum(held.size for held in self._held.values())
        while len(self._held) > max(1, self._most_items) or (total > self._most_bytes and len(self._held) > 1):
            _, oldest = self._held.popitem(last=False)
            total -= oldest.size
            os.close(oldest.descriptor)

    def get(self, digest: Digest) -> Artifact | None:
        """With a descriptor of the caller's own, which outlives what happens here. Raises :exc:`RuntimeFailed`."""
        artifact = self._held.get(digest)
        if artifact is None:
            return None
        self._held.move_to_end(digest)
        try:
            return Artifact(os.dup(artifact.descriptor), artifact.size, artifact.starts, artifact.stored)
        except OSError as error:
            raise RuntimeFailed(f"no descriptor for the compiled module: {error.strerror}") from None

    def discard(self, digest: Digest) -> None:
        artifact = self._held.pop(digest, None)
        if artifact is not None:
            os.close(artifact.descriptor)

    def clear(self) -> None:
        for digest in list(self._held):
            self.discard(digest)


class ArtifactFolder:
    """Those on disk. Every method blocks: call it in a thread. `identity` names engine, version and configuration."""

    def __init__(self, folder: Path, identity: str, most_bytes: int) -> None:
        self._folder = folder
        self._identity = identity
        self._most_bytes = most_bytes

    def open(self) -> None:
        """Make the folder, private, and sweep what an interrupted write left. Raises :exc:`OSError`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._directory() as directory:
            os.fchmod(directory, 0o700)
            for name in os.listdir(directory):
                if name.endswith(".partial"):
                    os.unlink(name, dir_fd=directory)

    def has(self, digest: Digest) -> bool:
        return (self._folder / self._name(digest)).is_file()

    def load(self, digest: Digest) -> Artifact | None:
        """What was stored, if it is whole; what is not is removed. Raises :exc:`RuntimeFailed`."""
        try:
            with self._directory() as directory:
                content = self._load(directory, self._name(digest))
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR:
                raise RuntimeFailed(f"the compiled module could not be read: {error.strerror}") from None
            return None
        if content is None:
            return None
        starts, compiled = content
        return Artifact(memory_file("compiled", compiled), len(compiled), starts, stored=True)

    def store(self, digest: Digest, artifact: Artifact) -> None:
        """Keep a copy, whole or not at all, and let the oldest go. Raises :exc:`OSError`."""
        size = artifact.size + _HEADER
        if size > self._most_bytes:
            return
        compiled = read_all(artifact.descriptor)
        head = _MAGIC + bytes([artifact.starts])
        head += _checksum(self._name(digest), head, compiled)
        with self._directory() as directory:
            self._make_room(directory, size)
            partial = f"{self._name(digest)}.{os.getpid()}.partial"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(partial, flags, 0o600, dir_fd=directory), "wb") as file:
                    file.write(head)
                    file.write(compiled)
                os.replace(partial, self._name(digest), src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=directory)
                raise

    def discard(self, digest: Digest) -> None:
        with contextlib.suppress(OSError):
            (self._folder / self._name(digest)).unlink()

    def _name(self, digest: Digest) -> str:
        return hashlib.sha256(f"{digest}\n{self._identity}".encode()).hexdigest() + _SUFFIX

    @contextmanager
    def _directory(self) -> Iterator[int]:
        directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield directory
        finally:
            os.close(directory)

    def _load(self, directory: int, name: str) -> tuple[bool, bytes] | None:
        content = self._read(directory, name)
        with contextlib.suppress(OSError):
            if content is None:
                os.unlink(name, dir_fd=directory)
            else:
                os.utime(name, dir_fd=directory, follow_symlinks=False)
        return content

    def _read(self, directory: int, name: str) -> tuple[bool, bytes] | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_size > self._most_bytes:
                return None
            head = file.read(_HEADER)
            compiled = file.read()
        kind, checksum = head[: len(_MAGIC) + 1], head[len(_MAGIC) + 1 :]
        if not kind.startswith(_MAGIC) or kind[-1:] not in (b"\0", b"\1"):
            return None
        if not hmac.compare_digest(_checksum(name, kind, compiled), checksum):
            return None
        return kind[-1] == 1, compiled

    def _make_room(self, directory: int, size: int) -> None:
        found: list[tuple[float, str, int]] = []
        for name in os.listdir(directory):
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                found.append((status.st_mtime, name, status.st_size))
        total = size + sum(entry_size for _, _, entry_size in found)
        for _, name, entry_size in sorted(found):
            if total <= self._most_bytes:
                return
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
                total -= entry_size


def _checksum(name: str, head: bytes, compiled: bytes) -> bytes:
    """The file's name is part of it: a file under another's name does not pass."""
    summed = hashlib.sha256(name.encode() + head)
    summed.update(compiled)
    return summed.digest()
