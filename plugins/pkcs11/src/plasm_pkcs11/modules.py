"""PKCS#11 modules: the libraries of tokens, each loaded once in a process and called by one thread at a time.

The standard (PKCS #11 v3.0, sections 5.4 and 5.6) keeps the initialization of a module, and the logins to its tokens,
for the whole process, so what is open is kept for the whole process here too: signers on one token share one session,
which is closed with the last of them, and a module is finalized with its last user. python-pkcs11 initializes modules
for a single thread, so every call into one is made under its lock.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pkcs11

from plasm.drivers import DriverUnavailable
from plasm.errors import one_line, printable

MODULE_VARIABLE: Final = "PLASM_PKCS11_MODULE"
"""The environment variable that names the module."""

SOFTHSM: Final = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
)
"""Where Debian, Fedora and a build of one's own have SoftHSM."""


@dataclass
class Module:
    """A loaded module. Its members are used under `lock`."""

    path: Path
    library: Any
    lock: threading.Lock = field(default_factory=threading.Lock)
    sessions: dict[int, Any] = field(default_factory=dict)
    """Of tokens that are logged in, by slot."""
    session_users: dict[int, int] = field(default_factory=dict)
    users: int = 0


_modules: dict[Path, Module] = {}
_modules_lock = threading.Lock()


def find_module(*named: Path | None) -> Path:
    """The first of `named`, else what ``PLASM_PKCS11_MODULE`` names, else SoftHSM's module, if it is there.

    Raises :exc:`DriverUnavailable` where it cannot be trusted: code that others can change would see the PIN.
    """
    from_environment = os.environ.get(MODULE_VARIABLE, "")
    chosen = next(
        (path for path in (*named, Path(from_environment) if from_environment else None) if path is not None), None
    )
    if chosen is None:
        chosen = next((path for path in SOFTHSM if path.exists()), None)
    if chosen is None:
        raise DriverUnavailable(
            "there is no PKCS#11 module", f"apt-get install softhsm2, or name another in {MODULE_VARIABLE}"
        )
    name = printable(str(chosen))
    if not chosen.is_absolute():
        raise DriverUnavailable(f"the PKCS#11 module {name} is no absolute path", "write it from / on")
    try:
        # One file under two names is one module, initialized once.
        path = chosen.resolve(strict=True)
        status = path.stat()
    except (OSError, RuntimeError) as error:
        raise DriverUnavailable(
            f"there is no PKCS#11 module {name}", f"name another in {MODULE_VARIABLE}, or apt-get install softhsm2"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise DriverUnavailable(f"the PKCS#11 module {name} is not a file", f"name another in {MODULE_VARIABLE}")
    if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o022:
        raise DriverUnavailable(f"the PKCS#11 module {name} can be changed by other users", f"chmod go-w {name}")
    return path


def acquire(path: Path) -> Module:
    """The module at `path`, initialized; each is given back by :func:`release`. Raises :exc:`DriverUnavailable`."""
    with _modules_lock:
        module = _modules.get(path)
        if module is None:
            try:
                module = Module(path, pkcs11.lib(str(path)))
            except pkcs11.PKCS11Error as error:
                reason = one_line(str(error)) or type(error).__name__
                raise DriverUnavailable(
                    f"the PKCS#11 module {path} cannot be used: {reason}",
                    "see that it is configured (SoftHSM: SOFTHSM2_CONF, and its folder of tokens must be yours)",
                ) from error
            _modules[path] = module
        module.users += 1
        return module


def release(module: Module) -> None:
    """Give `module` back. The last one finalizes it, which closes whatever is open and logs out."""
    with _modules_lock:
        module.users -= 1
        if module.users:
            return
        del _modules[module.path]
        with module.lock:
            try:
                module.library.finalize()
            except pkcs11.PKCS11Error:
                # A token that was pulled out cannot be closed; there is nothing left to do about it.
                return
