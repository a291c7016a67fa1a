"""The tree that a guest sees: inputs, ``/tmp``, ``/out`` and ``/dev``, all of it scratch, and its bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from .errors import BUSY, FBIG, INVAL, ISDIR, NAMETOOLONG, NOENT, NOSPC, NOTDIR, NOTEMPTY, Failure
from .inodes import Device, DeviceKind, Directory, File, Inode, Symlink

MOST_ENTRIES: Final = 16384
"""Names that there may be beyond those of the start."""
MOST_OUT_FILES: Final = 256
MOST_OUT_ENTRIES: Final = 1024
"""Names in ``/out``, directories and symbolic links included; it bounds what moving a directory there costs."""
LONGEST_OUT_PATH: Final = 200
"""Bytes of a path below ``/out``."""
DEEPEST_TARGET: Final = 512
"""Directories above the one into which a directory may be moved; it bounds the search for a loop."""
LARGEST_FILE: Final = (1 << 63) - 1
_ZEROS: Final = bytes(1 << 20)

DEVICES: Final[Mapping[bytes, DeviceKind]] = {
    b"null": DeviceKind.NULL,
    b"zero": DeviceKind.ZERO,
    b"random": DeviceKind.RANDOM,
    b"urandom": DeviceKind.RANDOM,
}
"""What stands in ``/dev``, in its order."""


class Volume:
    """Every change to the tree goes through here and is refused, whole, where a bound would not hold after it.

    Raises :exc:`~.errors.Failure`. `inputs` are paths without a leading slash; one that ends with a slash is a
    directory. One that is not relative and clean, or that stands in ``/tmp``, ``/out`` or below another one, is a
    :exc:`ValueError`, as is a directory with content.
    """

    def __init__(self, inputs: Mapping[str, bytes | memoryview], file_bytes: int, now: Callable[[], int]) -> None:
        self._now = now
        self._number = 0
        self.free_bytes = file_bytes
        self.lacked_bytes = False
        """Whether anything was refused for want of bytes."""
        self._free_entries = MOST_ENTRIES
        self._out_files = 0
        self._out_entries = 0
        self.root = Directory(self._next(), now())
        self.root.links = 1
        self.tmp = Directory(self._next(), now())
        self.out = Directory(self._next(), now())
        self.root.insert(b"tmp", self.tmp)
        self.root.insert(b"out", self.out)
        for path, content in sorted((path.encode(), content) for path, content in inputs.items()):
            self._mount(path, memoryview(content).toreadonly().cast("B"))
        self._add_devices()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _mount(self, path: bytes, content: memoryview) -> None:
        *above, name = path.removesuffix(b"/").split(b"/")
        directory = self.root
        for component in (*above, name):
            if component in (b"", b".", b"..") or b"\0" in component:
                raise ValueError("an input's path is relative and has no empty, . and .. components")
        for component in above:
            found = directory.get(component)
            if found is None:
                found = Directory(self._next(), self._now())
                directory.insert(component, found)
            if not isinstance(found, Directory) or found in (self.tmp, self.out):
                raise ValueError("an input stands in /tmp or /out or below another one")
            directory = found
        if directory.get(name) is not None:
            raise ValueError("two inputs, or an input and a directory, have one path")
        if not path.endswith(b"/"):
            directory.insert(name, File(self._next(), self._now(), content))
        elif len(content):
            raise ValueError("an input whose path ends with a slash has content")
        else:
            directory.insert(name, Directory(self._next(), self._now()))

    def _add_devices(self) -> None:
        """Put the devices where no input stands."""
        directory = self.root.get(b"dev")
        if directory is None:
            directory = Directory(self._next(), self._now())
            self.root.insert(b"dev", directory)
        if not isinstance(directory, Directory):
            return
        for name, kind in DEVICES.items():
            if directory.get(name) is None:
                directory.insert(name, Device(self._next(), self._now(), kind))

    # --- what is in /out ----------------------------------------------------------------------------------------------

    def _below_out(self, directory: Directory) -> int | None:
        """How many bytes stand before the names of `directory` in paths below ``/out``; ``None`` if it is not there."""
        length = 0
        while directory is not self.out:
            if directory is directory.parent or length > LONGEST_OUT_PATH:
                return None
            length += len(directory.name) + 1
            directory = directory.parent
        return length

    def _measure(self, inode: Inode) -> tuple[int, int, int]:
        """Files and entries that come with `inode`, itself included, and the longest path below it.

        It stops counting where they are too many for ``/out`` anyway.
        """
        files, entries, longest = 0, 0, 0
        waiting: list[tuple[Inode, int]] = [(inode, 0)]
        while waiting and entries <= MOST_OUT_ENTRIES:
            found, length = waiting.pop()
            entries += 1
            files += isinstance(found, File)
            longest = max(longest, length)
            if isinstance(found, Directory):
                if len(found.entries) > MOST_OUT_ENTRIES:
                    return files, MOST_OUT_ENTRIES + 1, longest
                waiting += ((below, length + 1 + len(name)) for name, (below, _) in found.entries.items())
        return files, entries, longest

    def files(self) -> list[tuple[bytes, File]]:
        """The regular files in ``/out``, by path."""
        found: list[tuple[bytes, File]] = []
        waiting = [(b"", self.out)]
        while waiting:
            prefix, directory = waiting.pop()
            for name, (inode, _) in directory.entries.items():
                if isinstance(inode, File):
                    found.append((prefix + name, inode))
                elif isinstance(inode, Directory):
                    waiting.append((prefix + name + b"/", inode))
        return sorted(found, key=lambda item: item[0])

    # --- entries ------------------------------------------------------------------------------------------------------

    def make_directory(self, parent: Directory, name: bytes) -> Directory:
        directory = Directory(self._number + 1, self._now())
        self.link(parent, name, directory)
        self._number += 1
        return directory

    def make_file(self, parent: Directory, name: bytes) -> File:
        file = File(self._number + 1, self._now())
        self.link(parent, name, file)
        self._number += 1
        return file

    def make_symlink(self, parent: Directory, name: bytes, target: bytes) -> None:
        symlink = Symlink(self._number + 1, self._now(), target)
        if len(target) > self.free_bytes:
            self._check_parent(parent)
            raise self._no_room()
        self.link(parent, name, symlink)
        self.free_bytes -= len(target)
        self._number += 1

    def link(self, parent: Directory, name: bytes, inode: Inode) -> None:
        """A further name for `inode`; there is none like it in `parent`."""
        self._check_parent(parent)
        if not self._free_entries:
            raise Failure(NOSPC)
        prefix = self._below_out(parent)
        if prefix is not None:
            self._admit(prefix + len(name), isinstance(inode, File), 1)
        self._free_entries -= 1
        parent.insert(name, inode)
        self._touch(parent, inode)

    def unlink(self, parent: Directory, name: bytes) -> None:
        """Remove a name. A directory must be empty."""
        self._check_parent(parent)
        inode = parent.entries[name][0]
        if inode is self.out:
            raise Failure(BUSY)
        if isinstance(inode, Directory) and inode.entries:
            raise Failure(NOTEMPTY)
        if self._below_out(parent) is not None:
            self._out_entries -= 1
            self._out_files -= isinstance(inode, File)
        self._free_entries += 1
        parent.remove(name)
        self._touch(parent, inode)
        self.release(inode)

    def rename(self, old: Directory, old_name: bytes, new: Directory, new_name: bytes) -> None:
        """Give the inode at one place the other place, over what stands there, as POSIX ``rename`` does."""
        self._check_parent(old)
        self._check_parent(new)
        inode = old.entries[old_name][0]
        target = new.get(new_name)
        if inode is target:
            return
        if self.out in (inode, target):
            raise Failure(BUSY)
        if isinstance(inode, Directory):
            self._check_loop(inode, new)
            if target is not None and not isinstance(target, Directory):
                raise Failure(NOTDIR)
        elif isinstance(target, Directory):
            raise Failure(ISDIR)
        if isinstance(target, Directory) and target.entries:
            raise Failure(NOTEMPTY)
        before, after = self._below_out(old), self._below_out(new)
        if before is not None or after is not None:
            files, entries, longest = self._measure(inode)
            replaced = int(target is not None and after is not None)
            files_after = -(isinstance(target, File) and after is not None)
            entries_after = -replaced
            if before is not None:
                files_after -= files
                entries_after -= entries
            if after is not None:
                self._admit(after + len(new_name) + longest, files_after + files, entries_after + entries)
            else:
                self._out_files += files_after
                self._out_entries += entries_after
        if target is not None:
            self._free_entries += 1
            new.remove(new_name)
            target.ctim = self._now()
            self.release(target)
        old.remove(old_name)
        new.insert(new_name, inode)
        self._touch(old, inode)
        self._touch(new, inode)

    def _admit(self, path_bytes: int, files: int, entries: int) -> None:
        """Count a change of ``/out`` by so many files and entries, the longest path being so long."""
        if path_bytes > LONGEST_OUT_PATH:
            raise Failure(NAMETOOLONG)
        if self._out_entries + entries > MOST_OUT_ENTRIES or self._out_files + files > MOST_OUT_FILES:
            raise Failure(NOSPC)
        self._out_entries += entries
        self._out_files += files

    def _check_parent(self, parent: Directory) -> None:
        if not parent.links:
            raise Failure(NOENT)

    def _check_loop(self, inode: Directory, above: Directory) -> None:
        for _ in range(DEEPEST_TARGET):
            if above is inode:
                raise Failure(INVAL)
            if above is above.parent:
                return
            above = above.parent
        raise Failure(NAMETOOLONG)

    def _touch(self, parent: Directory, inode: Inode) -> None:
        parent.mtim = parent.ctim = inode.ctim = self._now()

    # --- contents -----------------------------------------------------------------------------------------------------

    def release(self, inode: Inode) -> None:
        """Take back the bytes of what has neither names nor descriptors any more."""
        if inode.links or inode.opens:
            return
        if isinstance(inode, File):
            self.free_bytes += self._taken(inode)
            inode.data = bytearray()
        elif isinstance(inode, Symlink):
            self.free_bytes += len(inode.target)

    def _no_room(self) -> Failure:
        self.lacked_bytes = True
        return Failure(NOSPC)

    @staticmethod
    def _taken(file: File) -> int:
        """Bytes that the file has of those that are counted: an input takes none until it is written to."""
        return len(file.data) if isinstance(file.data, bytearray) else 0

    def make_own(self, file: File, size: int | None = None) -> bytearray:
        """The bytes of a file that is about to be written to: an input is copied, `size` bytes of it at most."""
        data = file.data
        if isinstance(data, bytearray):
            return data
        kept = data if size is None else data[:size]
        if len(kept) > self.free_bytes:
            raise self._no_room()
        file.data = copy = bytearray(kept)
        self.free_bytes -= len(copy)
        return copy

    def resize(self, file: File, size: int) -> None:
        """Cut or fill with zeros."""
        if size > LARGEST_FILE:
            raise Failure(FBIG)
        if size - self._taken(file) > self.free_bytes:
            raise self._no_room()
        data = self.make_own(file, size)
        growth = size - len(data)
        if growth < 0:
            del data[size:]
        elif growth:
            _pad(data, growth)
        self.free_bytes -= growth
        file.mtim = file.ctim = self._now()

    def write(self, file: File, offset: int, piece: memoryview) -> int:
        """Put as much of `piece` at `offset` as there is room for: how much."""
        data = file.data
        end = len(data)
        if not isinstance(data, bytearray):
            if end > self.free_bytes or offset >= self.free_bytes:
                raise self._no_room()
            data = self.make_own(file)
        room = end + self.free_bytes - offset
        if room < len(piece):
            if room <= 0:
                raise self._no_room()
            piece = piece[:room]
        if offset > end:
            _pad(data, offset - end)
        if offset >= end:
            data += piece
        else:
            data[offset : offset + len(piece)] = piece
        self.free_bytes -= len(data) - end
        file.mtim = file.ctim = self._now()
        return len(piece)


def _pad(data: bytearray, count: int) -> None:
    # In pieces: zeros as many as the file grows by would take its memory twice.
    while count > 0:
        data += _ZEROS[:count]
        count -= len(_ZEROS)
