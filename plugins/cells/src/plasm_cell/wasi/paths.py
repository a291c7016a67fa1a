"""From a path to what stands there, and never out of the directory that it starts in."""

from __future__ import annotations

from typing import Final, NamedTuple

from .errors import ILSEQ, INVAL, LOOP, NAMETOOLONG, NOENT, NOTDIR, PERM, Failure
from .inodes import Directory, Inode, Symlink

LONGEST_PATH: Final = 1024
"""Bytes."""
LONGEST_NAME: Final = 255
MOST_SYMLINKS: Final = 40
"""Followed for one path."""
LONGEST_EXPANSION: Final = 4096
"""Bytes of a path together with all symbolic links that were followed for it."""

_HERE: Final = b"."
_ABOVE: Final = b".."


class Place(NamedTuple):
    """Where a path leads: a name in a directory, and what has it. ``.`` and ``..`` come as they were written."""

    parent: Directory
    name: bytes
    inode: Inode | None
    slash: bool
    """The path ended with a slash: only a directory will do."""

    @property
    def dots(self) -> bool:
        return self.name in (_HERE, _ABOVE)


def check(path: bytes) -> bytes:
    """The same bytes, if they can be a path or a symbolic link's target. Raises :exc:`~.errors.Failure`."""
    if not path:
        raise Failure(NOENT)
    if b"\0" in path:
        raise Failure(INVAL)
    try:
        path.decode()
    except UnicodeDecodeError:
        raise Failure(ILSEQ) from None
    return path


def locate(base: Directory, path: bytes, *, follow: bool) -> Place:
    """The place that `path` names from `base`; with `follow`, the one that a symbolic link there points to.

    Raises :exc:`~.errors.Failure`.
    """
    if path.startswith(b"/"):
        raise Failure(PERM)
    slash = path.endswith(b"/")
    pending = _components(path)
    above = [base]
    links, expanded = 0, len(path)
    while pending:
        name = pending.pop()
        directory = above[-1]
        if name == _ABOVE:
            above.pop()
            if not above:
                raise Failure(PERM)
        if name in (_HERE, _ABOVE):
            if not pending:
                return Place(above[-1], name, above[-1], slash)
            continue
        if len(name) > LONGEST_NAME:
            raise Failure(NAMETOOLONG)
        inode = directory.get(name)
        if isinstance(inode, Symlink) and (pending or follow):
            links += 1
            expanded += len(inode.target)
            if links > MOST_SYMLINKS:
                raise Failure(LOOP)
            if expanded > LONGEST_EXPANSION:
                raise Failure(NAMETOOLONG)
            if inode.target.startswith(b"/"):
                raise Failure(PERM)
            slash = slash or (not pending and inode.target.endswith(b"/"))
            pending += _components(inode.target)
            continue
        if not pending:
            return Place(directory, name, inode, slash)
        if inode is None:
            raise Failure(NOENT)
        if not isinstance(inode, Directory):
            raise Failure(NOTDIR)
        above.append(inode)
    raise Failure(NOENT)


def look_up(base: Directory, path: bytes, *, follow: bool) -> Inode:
    """What stands at `path`; before a slash a symbolic link is followed anyway. Raises :exc:`~.errors.Failure`."""
    place = locate(base, path, follow=follow or path.endswith(b"/"))
    if place.inode is None:
        raise Failure(NOENT)
    if place.slash and not isinstance(place.inode, Directory):
        raise Failure(NOTDIR)
    return place.inode


def _components(path: bytes) -> list[bytes]:
    """The last one first."""
    return [name for name in reversed(path.split(b"/")) if name]
