"""What ``--input PATH=FILE`` names: a file, or a folder with all that is in it, read without being led out of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from plasm.cli.files import InputUnusable

_MOST_LINKS: Final = 40
"""Followed for one path, as on Linux (path_resolution(7))."""
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LEAVE_OUT: Final = "leave it out of the folder"


@dataclass(frozen=True)
class Found:
    """What is at `path` below the folder; `descriptor` is of a file, open for reading until the next is asked for.

    An empty folder has none.
    """

    path: str
    descriptor: int | None


def walk(folder: str) -> Iterator[Found]:
    """The files and empty folders below `folder`, by their names.

    A symbolic link that stays inside of the folder is followed; any other, and what is neither a file nor a folder,
    raises :exc:`InputUnusable`. Whatever others change meanwhile, nothing outside of the folder is opened.
    """
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(folder, error) from None
    try:
        yield from _Tree(folder, root).below((), os.dup(root), ())
    finally:
        os.close(root)


class _Tree:
    def __init__(self, shown: str, root: int) -> None:
        self._shown = shown
        self._root = root
        self._whole = os.path.realpath(shown)

    def below(self, path: tuple[str, ...], folder: int, inside: tuple[tuple[int, int], ...]) -> Iterator[Found]:
        """What is below `path`, whose `folder` is closed afterwards; `inside` are the folders that it is in."""
        try:
            here = _identity(folder)
            if here in inside:
                raise InputUnusable(f"{self._name(path)} is a link to a folder that it is in", _LEAVE_OUT)
            names = sorted(os.listdir(folder))
            if not names:
                yield Found("/".join(path), None)
            for name in names:
                inner = (*path, name)
                opened = self._open(path, folder, name)
                kind = os.fstat(opened).st_mode
                if stat.S_ISDIR(kind):
                    yield from self.below(inner, opened, (*inside, here))
                    continue
                try:
                    if not stat.S_ISREG(kind):
                        raise InputUnusable(f"{self._name(inner)} is neither a file nor a folder", _LEAVE_OUT)
                    yield Found("/".join(inner), opened)
                finally:
                    os.close(opened)
        except OSError as error:
            raise _unreadable(self._name(path), error) from None
        finally:
            os.close(folder)

    def _open(self, path: tuple[str, ...], folder: int, name: str) -> int:
        try:
            return os.open(name, _FLAGS, dir_fd=folder)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise _unusual(self._name((*path, name)), error) from None
        return self._follow((*path, name))

    def _follow(self, link: tuple[str, ...]) -> int:
        """A descriptor of what the link leads to: every step of the way is opened from the folder on, by its name."""
        pending = list(reversed(link))
        links = 0
        with ExitStack() as opened:
            above = [self._root]
            while True:
                name = pending.pop()
                if name in ("", "."):
                    name = "."
                elif name == "..":
                    if len(above) == 1:
                        raise InputUnusable(f"{self._name(link)} is a link that leads out of the folder", _LEAVE_OUT)
                    above.pop()
                    name = "."
                try:
                    descriptor = os.open(name, _FLAGS, dir_fd=above[-1])
                except OSError as error:
                    if error.errno != errno.ELOOP:
                        raise _unusual(self._name(link), error, "is a link to what is not there") from None
                    links += 1
                    if links > _MOST_LINKS:
                        raise InputUnusable(f"{self._name(link)} is a link that leads nowhere", _LEAVE_OUT) from None
                    target = os.readlink(name, dir_fd=above[-1])
                    if target.startswith("/"):
                        if not f"{target}/".startswith(f"{self._whole}/"):
                            raise InputUnusable(
                                f"{self._name(link)} is a link that leads out of the folder", _LEAVE_OUT
                            ) from None
                        above[1:] = []
                        target = target.removeprefix(self._whole)
                    pending += reversed(target.split("/"))
                    continue
                if not pending:
                    return descriptor
                opened.callback(os.close, descriptor)
                if name != ".":
                    above.append(descriptor)

    def _name(self, path: Sequence[str]) -> str:
        return "/".join((self._shown, *path))


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _unusual(name: str, error: OSError, missing: str = "is gone") -> InputUnusable:
    match error.errno:
        case errno.ENXIO:
            return InputUnusable(f"{name} is neither a file nor a folder", _LEAVE_OUT)
        case errno.ENOENT | errno.ENOTDIR:
            return InputUnusable(f"{name} {missing}", _LEAVE_OUT)
    return _unreadable(name, error)


def _unreadable(name: str, error: OSError) -> InputUnusable:
    return InputUnusable(f"{name} cannot be read: {error.strerror or error}")
