"""The folder with the engine's packages for Python 3.10: made once, by pip from the index that is configured."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TextIO

import anyio
from anyio import to_thread

from plasm.drivers import DriverUnavailable

VERSION: Final = "1.1.0"
REQUIREMENTS: Final = (
    f"wasmer=={VERSION} --hash=sha256:ab1ae980021e5ec0bf0c6cdd3b979b1d15a5f3eb2b8a32da8dcb1156e4a1e484\n"
    f"wasmer_compiler_cranelift=={VERSION}"
    " --hash=sha256:405546ee864ac158a4107f374dfbb1c8d6cfb189829bdcd13050143a4bd98f28\n"
)
"""The wheels for CPython 3.10 on x86-64. What an index has under these names for other interpreters is a stub."""
_IMPORTED: Final = "import sys; sys.path.insert(0, sys.argv[1]); import wasmer, wasmer_compiler_cranelift"
_PAUSE_SECONDS: Final = 0.2
_BUILDING: Final = "building-"
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - each use makes a folder of its own below it
_MEND: Final = "check that pip reaches its index (PIP_INDEX_URL, PIP_PROXY), and start again"


@asynccontextmanager
async def packages(home: Path | None, interpreter: str, seconds: float, log: logging.Logger) -> AsyncIterator[Path]:
    """The folder to import the engine from with `interpreter`, for as long as the block goes on.

    In `home` it is made once and stays. Without a home it is made in memory and removed. Raises
    :exc:`DriverUnavailable`.
    """
    if home is not None:
        yield await _kept(home, interpreter, seconds, log)
        return
    if not os.access(_MEMORY, os.W_OK | os.X_OK):
        raise DriverUnavailable(
            "the engine wasmer needs a folder for its packages, and this profile writes none",
            "use a profile with a home",
        )
    folder = Path(tempfile.mkdtemp(prefix="plasm-wasmer-", dir=_MEMORY))
    try:
        with _deadline(seconds):
            made = await _build(folder, interpreter, log, lasting=False)
        yield made
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raises :exc:`DriverUnavailable` where the block takes longer than `seconds`."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise DriverUnavailable(f"the engine wasmer was not installed within {seconds:g} s", _MEND) from None


async def _kept(home: Path, interpreter: str, seconds: float, log: logging.Logger) -> Path:
    name = hashlib.sha256(REQUIREMENTS.encode()).hexdigest()[:16]
    final = home / f"packages-{name}"
    if final.is_dir():
        return final
    with _deadline(seconds):
        async with _only_one(home):
            if not final.is_dir():
                await to_thread.run_sync(_sweep, home)
                folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=home))
                try:
                    built = await _build(folder, interpreter, log, lasting=True)
                    built.rename(final)
                finally:
                    with anyio.CancelScope(shield=True):
                        await to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
    return final


@asynccontextmanager
async def _only_one(home: Path) -> AsyncIterator[None]:
    """Holds the lock of `home` against other processes; it goes with the process that holds it."""
    with _open_lock(home) as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await anyio.sleep(_PAUSE_SECONDS)
            else:
                break
        yield


def _open_lock(home: Path) -> TextIO:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open(home / "installing.lock", "w")


def _sweep(home: Path) -> None:
    """Remove what an interrupted installation left; nobody else installs now."""
    for left in home.glob(f"{_BUILDING}*"):
        shutil.rmtree(left, ignore_errors=True)


async def _build(folder: Path, interpreter: str, log: logging.Logger, *, lasting: bool) -> Path:
    """A folder in `folder` with the packages. Raises :exc:`DriverUnavailable`."""
    tools, found = folder / "tools", folder / "packages"
    requirements = folder / "requirements.txt"
    log.info("wasmer: making an environment for %s, once", interpreter)
    try:
        requirements.write_text(REQUIREMENTS)
    except OSError as error:
        raise DriverUnavailable(f"the engine wasmer cannot be installed: {error.strerror}", "make room") from None
    await _run([interpreter, "-I", "-m", "venv", str(tools)], folder, "no environment could be made")
    log.info("wasmer: installing the engine %s", VERSION)
    install = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    if not lasting:
        install.append("--no-cache-dir")
    python = str(tools / "bin" / "python")
    await _run(
        [python, "-I", "-m", "pip", "install", "--quiet", *install, "--target", str(found), "-r", str(requirements)],
        folder,
        "the engine wasmer could not be installed",
    )
    await _run([interpreter, "-I", "-S", "-c", _IMPORTED, str(found)], folder, "the engine wasmer does not load")
    log.info("wasmer: the engine is ready")
    return found


async def _run(command: list[str], folder: Path, failure: str) -> None:
    """Run `command`; it ends with the task. Raises :exc:`DriverUnavailable` with the end of what it said."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    try:
        done = await anyio.run_process(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=False, env=environment
        )
    except OSError as error:
        raise DriverUnavailable(f"{failure}: {error.strerror}", _MEND) from None
    if done.returncode:
        lines = [line for line in done.stdout[-4096:].decode(errors="replace").splitlines() if line.strip()]
        said = ascii(lines[-1][:200]) if lines else f"exit code {done.returncode}"
        raise DriverUnavailable(f"{failure}: {said}", _MEND)
