"""What this distribution offers to Plasm."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from plasm.drivers import Driver, DriverUnavailable, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Runtime

from .options import WasmtimeOptions

PLASM_API = 1


def open_wasmtime(scope: Scope, options: WasmtimeOptions) -> AbstractAsyncContextManager[Runtime]:
    """Open the runtime; see :class:`plasm_wasmtime.runtime.Wasmtime`. Raises :exc:`DriverUnavailable`."""
    check()
    from .runtime import open_runtime

    return open_runtime(scope, options)


def check() -> None:
    """Raises :exc:`DriverUnavailable` where cells cannot be started here."""
    if sys.platform != "linux":
        raise DriverUnavailable("the runtime wasmtime needs Linux (pidfd, memfd)", "use a Linux machine or container")
    if importlib.util.find_spec("wasmtime") is None:
        raise DriverUnavailable("the engine wasmtime is not installed", "pip install 'wasmtime>=48,<51'")


@hookimpl
def plasm_runtimes() -> Sequence[Driver[Runtime]]:
    return (
        Driver(
            name="wasmtime",
            open=open_wasmtime,
            options=WasmtimeOptions,
            check=check,
            summary="WebAssembly by wasmtime's compiler, each job in a process of its own",
        ),
    )
