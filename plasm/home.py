"""The home: the folder of keys, journal, store, caches and the control socket, and its lock."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from plasm import diskspace
from plasm.errors import PlasmError

_LOCK = "lock"


class HomeError(PlasmError):
    """The home cannot be used as it is."""


class HomeBusy(HomeError):
    """Another process has the home. `pid` names it, where it can be told."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"{holder} is using the home {path}", "stop it, or choose another --home")
        self.pid = pid


class NoHome(HomeError):
    """The user has no home folder, and nothing else says where the home is."""

    def __init__(self) -> None:
        super().__init__(
            f"there is no home folder for user {os.geteuid()}",
            "name a folder in PLASM_HOME or --home, or choose --profile private, which writes nothing",
        )


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """``PLASM_HOME``, else the platform's folder for a user's data (``~/.local/share/plasm``).

    The system service sets ``PLASM_HOME=/var/lib/plasm``. Raises :exc:`NoHome` for a user without a home folder, such
    as one of a container that ``/etc/passwd`` does not know.
    """
    named = (os.environ if environ is None else environ).get("PLASM_HOME")
    if named:
        return Path(named).absolute()
    import platformdirs

    try:
        folder = Path(platformdirs.user_data_dir("plasm", appauthor=False))
    except RuntimeError:
        raise NoHome from None
    # Where no home folder is known, "~" may be left as it stands.
    if not folder.is_absolute():
        raise NoHome
    return folder


@dataclass(frozen=True)
class Home:
    """The home at `path`, or no home at all: with ``None``, nothing may be written."""

    path: Path | None

    def folder(self, name: str = "") -> Path | None:
        """The folder `name` (``"keys"``, ``"cache/wasmtime"``) of the home, or the home itself, made 0700 if missing.

        ``None`` where nothing may be written. Raises :exc:`HomeError` where it, or a folder on the way to it, is a
        symbolic link, belongs to someone else or can be written by others.
        """
        parts = PurePosixPath(name).parts
        if any(part in ("..", "/") for part in parts):
            raise ValueError(f"{name!r} is not the name of a folder in the home")
        if self.path is None:
            return None
        folder = self.path
        _own_folder(folder, parents=True)
        for part in parts:
            folder = folder / part
            _own_folder(folder)
        return folder

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Have the home to oneself while the block runs; without a home there is nothing to share.

        Raises :exc:`HomeBusy` at once where another process, or another lock of this one, has it, and
        :exc:`HomeError` where the home cannot be used.
        """
        folder = self.folder()
        if folder is None:
            yield
            return
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _cannot_use(folder / _LOCK, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeBusy(folder, _read_pid(descriptor)) from None
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            except OSError as error:
                raise _cannot_use(folder / _LOCK, error) from error
            try:
                yield
            finally:
                # Not left to close(): a child that was forked meanwhile shares the lock through its copy.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


def _own_folder(folder: Path, *, parents: bool = False) -> None:
    try:
        if parents:
            folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not exist_ok: that follows a symbolic link.
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno != errno.EROFS or not folder.is_dir():
                raise
        facts = folder.lstat()
    except OSError as error:
        raise _cannot_use(folder, error) from error
    if stat.S_ISLNK(facts.st_mode):
        raise HomeError(f"{folder} is a symbolic link", "name the folder that it points to in PLASM_HOME or --home")
    if not stat.S_ISDIR(facts.st_mode):
        raise HomeError(
            f"{folder} is not a folder", "name another in PLASM_HOME or --home, or --profile private to write nothing"
        )
    if facts.st_uid != os.geteuid():
        raise HomeError(
            f"{folder} belongs to user {facts.st_uid}, and Plasm runs as user {os.geteuid()}",
            "run it as that user, or choose another --home",
        )
    if stat.S_IMODE(facts.st_mode) & 0o022:
        raise HomeError(f"{folder} can be written by others", f"chmod 700 {folder}")


def _cannot_use(path: Path, error: OSError) -> HomeError:
    if diskspace.is_full(error, path.parent):
        return HomeError(diskspace.full(path.parent), diskspace.MEND)
    return HomeError(
        f"cannot use {path}: {error.strerror or error}", "choose another --home, or --profile private to write nothing"
    )


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 16, 0).strip()
    return int(text) if text.isdigit() and len(text) < 12 else None
