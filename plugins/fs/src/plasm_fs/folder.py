"""Content in files named by their SHA-256, as blocking calls that are safe between threads.

Layout: ``objects/AB/CD/ABCD…`` holds content, ``incoming/`` what is being written; both on one filesystem, so that
content appears whole, by a rename.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from plasm.ports import Corrupt, Digest, Entry, NotStored, StoreError, TooLarge
from plasm_fs.budget import Budget, hexadecimal
from plasm_fs.folders import FOLDER, READ, disk_errors, opened, pairs
from plasm_fs.incoming import Arrival, sweep


class Folder:
    """Content of one folder, within a budget. Close it when nothing of it is in use."""

    def __init__(self, path: Path, budget: Budget) -> None:
        """Open or create `path`, sweep what killed writers left and count what is there. Raises :exc:`StoreError`."""
        self._path = path
        self._budget = budget
        self._lock = threading.Lock()
        with disk_errors(path), ExitStack() as stack:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
            root = os.open(path, FOLDER)
            stack.callback(os.close, root)
            self._objects = stack.enter_context(opened(root, "objects", create=True))
            self._incoming = stack.enter_context(opened(root, "incoming", create=True))
            sweep(self._incoming)
            self._count()
            self._open = stack.pop_all()

    def close(self) -> None:
        """Idempotent."""
        self._open.close()

    def has(self, digest: Digest) -> bool:
        """Whether there is a regular file for `digest`. Raises :exc:`StoreError`."""
        name = hexadecimal(digest)
        with disk_errors(self._path):
            try:
                with self._shelf(name) as shelf:
                    status = os.stat(name, dir_fd=shelf, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return stat.S_ISREG(status.st_mode)

    def read(self, digest: Digest, max_bytes: int) -> bytes:
        """The verified content; what is corrupt is removed.

        Raises :exc:`NotStored`, :exc:`TooLarge`, :exc:`Corrupt` or :exc:`StoreError`.
        """
        name = hexadecimal(digest)
        with disk_errors(self._path):
            try:
                with self._shelf(name) as shelf:
                    return self._read(shelf, name, digest, max_bytes)
            except FileNotFoundError:
                with self._lock:
                    self._budget.drop(digest)
                raise NotStored(f"{digest} is not in {self._path}") from None

    def _read(self, shelf: int, name: str, digest: Digest, max_bytes: int) -> bytes:
        with os.fdopen(os.open(name, READ, dir_fd=shelf), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise StoreError(f"{name} in {self._path} is not a regular file: what it was is not known")
            if status.st_size > max_bytes:
                raise TooLarge(f"{digest} has {status.st_size} bytes and {max_bytes} are allowed")
            content = file.read(status.st_size + 1)
            if hashlib.sha256(content).hexdigest() == name:
                now = time.time()
                # Where the time of use cannot be written (a read-only mount) the content is good all the same.
                with suppress(OSError):
                    os.utime(file.fileno(), (now, now))
                with self._lock:
                    self._budget.touch(digest, now)
                return content
        with self._lock:
            # A writer may have put good content in its place meanwhile; that stays.
            if os.stat(name, dir_fd=shelf, follow_symlinks=False).st_ino == status.st_ino:
                os.unlink(name, dir_fd=shelf)
                self._budget.drop(digest)
        raise Corrupt(f"the file of {digest} in {self._path} was corrupt and is removed")

    def delete(self, digest: Digest) -> None:
        """Fine where it is not there. Raises :exc:`StoreError`."""
        with disk_errors(self._path), self._lock:
            self._remove([digest])
            self._budget.drop(digest)

    def entries(self) -> list[Entry]:
        """What is held, oldest use first."""
        with self._lock:
            return self._budget.entries()

    def begin(self, digest: Digest, size: int) -> Arrival:
        """Begin to write; :meth:`publish` or :meth:`discard` ends it. Raises :exc:`TooLarge` or :exc:`StoreError`."""
        hexadecimal(digest)
        self._budget.check_size(size)
        with disk_errors(self._path):
            return Arrival(self._incoming, digest, size)

    def append(self, arrival: Arrival, piece: bytes) -> None:
        """Write `piece`; room is made for it alone, so that a size that is only claimed costs others nothing.

        Raises :exc:`TooLarge` or :exc:`StoreError`.
        """
        arrival.check(len(piece))
        with disk_errors(self._path):
            with self._lock:
                victims = self._budget.make_room(len(piece))
                try:
                    self._remove(victims)
                except OSError:
                    self._budget.give_back(len(piece))
                    raise
            arrival.append(piece)

    def publish(self, arrival: Arrival) -> None:
        """Verify what was written and give it its name. Raises :exc:`Corrupt` or :exc:`StoreError`."""
        name = hexadecimal(arrival.digest)
        with disk_errors(self._path):
            arrival.finish()
            with self._lock, self._shelf(name, create=True) as shelf:
                os.rename(arrival.name, name, src_dir_fd=self._incoming, dst_dir_fd=shelf)
                arrival.close(remove=False)
                victims = self._budget.keep(arrival.digest, arrival.size, time.time())
                arrival.written = 0  # it is accounted for as content from here on, whatever fails next
                self._remove(victims)
                os.fsync(shelf)

    def discard(self, arrival: Arrival) -> None:
        """Keep nothing of what was written. Never raises."""
        arrival.close(remove=True)
        with self._lock:
            self._budget.give_back(arrival.written)

    def _remove(self, victims: list[Digest]) -> None:
        for victim in victims:
            name = hexadecimal(victim)
            with suppress(FileNotFoundError), self._shelf(name) as shelf:
                os.unlink(name, dir_fd=shelf)

    @contextmanager
    def _shelf(self, name: str, *, create: bool = False) -> Iterator[int]:
        with (
            opened(self._objects, name[:2], create=create) as outer,
            opened(outer, name[2:4], create=create) as inner,
        ):
            yield inner

    def _count(self) -> None:
        found: list[Entry] = []
        for outer in pairs(self._objects):
            with opened(self._objects, outer) as shelf:
                for inner in pairs(shelf):
                    with opened(shelf, inner) as folder:
                        found += _content(folder, outer + inner)
        for entry in sorted(found, key=lambda entry: entry.used):
            self._budget.found(entry.digest, entry.size, entry.used)
        self._remove(self._budget.trim())


def _content(folder: int, prefix: str) -> Iterator[Entry]:
    with os.scandir(folder) as files:
        for file in files:
            if re.fullmatch(rf"{prefix}[0-9a-f]{{60}}", file.name) and file.is_file(follow_symlinks=False):
                status = file.stat(follow_symlinks=False)
                yield Entry(Digest(f"sha256:{file.name}"), status.st_size, status.st_mtime)
