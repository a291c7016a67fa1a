"""Where a home keeps what it believes: the root that is pinned, and what was signed under it and seen."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plasm_trust.client import PINNED, pin
from plasm_trust.layout import HOME_TRUST
from plasm_trust.parsing import MAX_BYTES
from plasm_trust.whole_files import read_capped

from plasm.commands import Context, fail
from plasm.home import Home

_OTHERS: Final = "boot/roots"
_LOCK: Final = "lock"


@dataclass(frozen=True)
class TrustFolder:
    """A folder in which a root is pinned, and for a :class:`plasm_trust.client.TrustClient` to work in."""

    path: Path
    fingerprint: str
    """SHA-256 of the pinned root, in hexadecimal."""

    @property
    def providers(self) -> Path:
        """What is remembered of those who serve this root: see :class:`plasm_fetching.standing.Standing`."""
        return self.path / "providers.json"

    @contextmanager
    def lock(self, seconds: float) -> Iterator[None]:
        """Have the folder to oneself while the block runs; another program that has it is waited for that long.

        Raises :exc:`plasm.commands.CommandFailed`.
        """
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if not _locked_within(seconds, descriptor):
                fail(f"another program has been using {self.path} for {seconds:g} s", "end it and try again")
            yield
        finally:
            os.close(descriptor)


def pin_in_home(context: Context, root: bytes) -> TrustFolder:
    """Make `root` what the home believes in from now on.

    Raises :exc:`plasm_trust.refusal.TrustRefused` where another root is pinned or this is none, and
    :exc:`plasm.commands.CommandFailed` where the profile lets nothing be written.
    """
    folder = _home(context).folder(HOME_TRUST)
    if folder is None:
        fail("nothing may be written here, and so nothing pinned", "name the root with --root each time")
    return TrustFolder(folder, pin(folder, root))


def pinned_in_home(context: Context) -> TrustFolder | None:
    """What the home believes in; ``None`` where nothing is pinned.

    Raises :exc:`plasm.home.HomeError` where others could have pinned it, and :exc:`OSError` where it cannot be read.
    """
    home = _home(context)
    if home.path is None:
        return None
    if not (home.path / HOME_TRUST / PINNED).exists():
        return None
    # The folder is there, so that this makes none; it refuses one that others can write to.
    folder = home.folder(HOME_TRUST)
    assert folder is not None
    root = read_capped(folder / PINNED, MAX_BYTES["root"])
    return TrustFolder(folder, hashlib.sha256(root).hexdigest())


def kept_in_home(context: Context, fingerprint: str) -> Path | None:
    """The folder in which the home has kept what is signed under that root, if it has; nothing is made."""
    home = _home(context)
    pinned = pinned_in_home(context)
    if home.path is None or (pinned is not None and pinned.fingerprint == fingerprint):
        return pinned.path if pinned is not None else None
    name = f"{_OTHERS}/{fingerprint}"
    return home.folder(name) if (home.path / name).is_dir() else None


@contextmanager
def trust_in(context: Context, root: bytes) -> Iterator[TrustFolder]:
    """A folder for `root`: the home's own where that is the pinned one, else one that it has beside it.

    Where nothing may be written it is a temporary one. Raises as :func:`pin_in_home`.
    """
    fingerprint = hashlib.sha256(root).hexdigest()
    pinned = pinned_in_home(context)
    if pinned is not None and pinned.fingerprint == fingerprint:
        yield pinned
        return
    folder = _home(context).folder(f"{_OTHERS}/{fingerprint}")
    if folder is not None:
        pin(folder, root)
        yield TrustFolder(folder, fingerprint)
        return
    with tempfile.TemporaryDirectory(prefix="phase-trust-") as temporary:
        pin(Path(temporary), root)
        yield TrustFolder(Path(temporary), fingerprint)


def _home(context: Context) -> Home:
    """Without a path where the profile lets nothing be written."""
    return context.plan(()).home


def _locked_within(seconds: float, descriptor: int) -> bool:
    acquired = threading.Event()

    def wait() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        acquired.set()

    # flock() knows no deadline; a thread that waits in it does not keep the program from ending.
    threading.Thread(target=wait, daemon=True).start()
    return acquired.wait(seconds)
