"""The entry of a child process: ``python -m plasm_wasmtime.cell SOCKET PARENT ROLE``, started by the node alone."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

from . import hardening
from .frames import CellSocket, Closed

if TYPE_CHECKING:
    from .engine import Program


def main(descriptor: int, parent: int, role: str) -> None:
    """Serve frames until the node closes the socket. `role` is ``compile``, ``once`` or ``reused``."""
    hardening.enter(parent)
    connection = CellSocket(descriptor)
    try:
        if role == "compile":
            _compile(connection)
        else:
            _run(connection, once=role == "once")
    except (Closed, BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:
        os._exit(1)
    except Exception as error:
        connection.send({"kind": "failed", "detail": _shown(f"{type(error).__name__}: {error}")})


def _compile(connection: CellSocket) -> None:
    from .compiling import Refused, compile_module

    connection.send({"kind": "ready", "cpu_seconds": _cpu_seconds()})
    job, _, (module, artifact) = connection.receive()
    hardening.limit_files(job["artifact_bytes"])
    hardening.limit_memory(job["memory_bytes"])
    hardening.limit_cpu(job["seconds"])
    try:
        result = compile_module(module, artifact)
    except Refused as refusal:
        connection.send({"kind": "refused", "detail": _shown(str(refusal))})
    else:
        connection.send({"kind": "compiled", **result})


def _run(connection: CellSocket, *, once: bool) -> None:
    from .engine import Machine

    hardening.limit_files(0)
    machine = Machine()
    programs: dict[str, Program] = {}
    gc.collect()
    gc.freeze()
    connection.send({"kind": "ready", "cpu_seconds": _cpu_seconds()})
    while True:
        job, stdin, descriptors = connection.receive()
        for digest in job["forget"]:
            del programs[digest]
        if descriptors:
            programs[job["module"]] = _load(machine, job, descriptors)
            connection.send({"kind": "begun"})
        reply, stdout, stderr = machine.run(programs[job["module"]], job, stdin)
        connection.send({"kind": "outcome", **reply}, stdout, stderr)
        if once:
            # The interpreter's own farewell takes milliseconds and does nothing for anyone.
            os._exit(0)


def _load(machine: Any, job: dict[str, Any], descriptors: list[int]) -> Program:
    try:
        program: Program = machine.load(descriptors[0], job["starts"])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return program


def _shown(text: str) -> str:
    return text[:400].encode("utf-8", "backslashreplace").decode()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return max(used.ru_utime + used.ru_stime, time.process_time())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
