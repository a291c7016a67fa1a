"""Files out of packages of registries, pinned, by their ordinary clients; and a cache for what is made of them."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

CLIENT_SECONDS = 600
"""What a registry's client gets: a wheel of 100 MB takes minutes on a slow line."""


class Unreachable(Exception):
    """A client is missing or its registry did not answer; the message is what the client said."""


class Altered(Exception):
    """What came is not what was pinned."""


def cache_folder() -> Path:
    """``PLASM_PROGRAMS_CACHE``, or ``plasm-programs`` in the user's cache folder."""
    named = os.environ.get("PLASM_PROGRAMS_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plasm-programs"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(name: str, made_of: Iterable[str], make: Callable[[Path], bytes]) -> Path:
    """The file `name` in the cache, made by ``make(EMPTY_FOLDER)`` unless the same things were made into one before.

    `made_of` is all that its content follows from. Several processes may ask at once: one makes it, the others wait.
    Raises :exc:`Unreachable` and :exc:`Altered`.
    """
    key = sha256("\0".join(made_of).encode())[:16]
    folder = cache_folder() / key
    target = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=folder) as made_in:
                content = make(Path(made_in))
                unfinished = Path(made_in, "unfinished")
                unfinished.write_bytes(content)
                unfinished.replace(target)
    return target


def from_pypi(requirement: str, hashes: Iterable[str], folder: Path) -> None:
    """Unpack a wheel (``NAME==VERSION``, the SHA-256 of its files) into `folder`, without what it depends on."""
    pins = folder.parent / f"{folder.name}.txt"
    pins.write_text(requirement + "".join(f" --hash=sha256:{each}" for each in hashes) + "\n")
    uv = shutil.which("uv")
    if uv:
        client = [uv, "pip", "install", "--quiet", "--python", sys.executable]
    elif importlib.util.find_spec("pip"):
        client = [sys.executable, "-m", "pip", "install", "--quiet"]
    else:
        client = [shutil.which("pip") or _missing("uv or pip"), "install", "--quiet"]
    options = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(folder), "-r", str(pins))
    call([*client, *options], folder.parent)


def from_npm(package: str, pinned: str, names: Iterable[str], folder: Path) -> None:
    """Put the files `names` of ``NAME@VERSION``, whose archive has the SHA-256 `pinned`, into `folder`; run nothing."""
    npm = shutil.which("npm") or _missing("npm")
    call([npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), package], folder)
    (archive,) = folder.glob("*.tgz")
    check(package, archive.read_bytes(), pinned)
    with tarfile.open(archive) as members:
        for name in names:
            content = members.extractfile(f"package/{name}")
            if content is None:
                raise Altered(f"{package} has no file {name}")
            (folder / Path(name).name).write_bytes(content.read())


def check(what: str, content: bytes, pinned: str) -> bytes:
    """`content`, whose SHA-256 must be `pinned`. Raises :exc:`Altered`."""
    if sha256(content) != pinned:
        raise Altered(f"{what} has the SHA-256 {sha256(content)} and not {pinned}")
    return content


def call(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a client or a compiler in `folder`. Raises :exc:`Unreachable`."""
    try:
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise Unreachable(f"{Path(command[0]).name} ended with {error.returncode}: {error.stderr[-2000:]}") from None
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{Path(command[0]).name} did not end within {CLIENT_SECONDS} s") from None


def _missing(client: str) -> str:
    raise Unreachable(f"there is no {client} on PATH")
