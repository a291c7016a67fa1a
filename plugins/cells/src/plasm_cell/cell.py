"""A cell: behind its walls it serves the node's frames. One that compiles serves one, one that runs perhaps many."""

from __future__ import annotations

import errno
import mmap
import os
import time
from typing import TYPE_CHECKING, Any

from . import lockdown, wasi
from .engine import GaveUp, Limits, Refused, starve
from .frames import CellSocket, Closed, one_line, read_exactly, write_all
from .lockdown import MARGIN_BYTES, limit_cpu, limit_memory, take
from .verdicts import verdict

if TYPE_CHECKING:
    from .engine import Engine, LimitingEngine, Machine


_BEGUN = {"kind": "begun"}


def main(
    steps: lockdown.Steps,
    node: CellSocket,
    engine: Engine,
    machine: Machine | None,
    data_bytes: int,
) -> None:
    """What a process does right after it was forked; without a `machine` it compiles. Does not return.

    `steps` are those that :meth:`.lockdown.Door.steps` made for it and what else it does at first, `node` is the socket
    that it has after them, and `data_bytes` the size of what it was forked with.
    """
    try:
        take(steps)
        if machine is None:
            _compile(node, engine, data_bytes)
        else:
            serve(node, machine, data_bytes)
    except (Closed, BrokenPipeError, ConnectionResetError):
        pass
    except MemoryError:
        starve()
    except GaveUp as reason:
        node.send({"kind": "gave_up", "detail": one_line(str(reason))})
    except Exception as error:
        node.send({"kind": "failed", "detail": one_line(f"{type(error).__name__}: {error}")})
    # Not by returning: to let go of a socket that is open, the interpreter makes calls that no cell may make, and its
    # own farewell takes milliseconds and does nothing for anyone.
    os._exit(0)


def _compile(node: CellSocket, engine: Engine, data_bytes: int) -> None:
    job, _, (module, artifact) = node.receive()
    limit_memory(data_bytes + job["memory_bytes"], True)
    limit_cpu(job["seconds"], True)
    try:
        content = read_exactly(module, job["module_bytes"])
        if job["limiting"]:
            limiting: LimitingEngine = engine  # type: ignore[assignment]  # the node asks for it where it is one
            compiled = limiting.compile_limiting(content)
        else:
            compiled = engine.compile_module(content)
        write_all(artifact, compiled.artifact)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise GaveUp("its compiled form is larger than artifact_bytes allows") from None
    except Refused as refusal:
        node.send({"kind": "refused", "detail": one_line(str(refusal))})
    else:
        node.send({"kind": "compiled", "starts": compiled.starts})


def serve(node: CellSocket, machine: Machine, data_bytes: int) -> None:
    """Run the jobs that the node sends, until one is the last. Raises :exc:`Closed`, and what an engine raises."""
    programs: dict[str, tuple[Any, int]] = {}
    loaded_bytes = 0
    last = False
    while not last:
        job, body, descriptors = node.receive()
        last = job["last"]
        for digest in job["forget"]:
            loaded_bytes -= programs.pop(digest)[1]
        loaded_bytes += job["artifact_bytes"]
        room = job["memory_bytes"] + 2 * (job["output_bytes"] + job["file_bytes"] + loaded_bytes)
        if not limit_memory(data_bytes + room + MARGIN_BYTES, last):
            starve()
        if job["artifact_bytes"]:
            content = mapped(descriptors.pop(0), job["artifact_bytes"])
            programs[job["module"]] = machine.load(content, job["starts"]), job["artifact_bytes"]
            node.send(_BEGUN)
        given = mapped(descriptors.pop(0), job["given_bytes"]) if job["given_bytes"] else memoryview(body)
        limit_cpu(job["wall_seconds"], last)
        reply, pieces = run_once(machine, programs[job["module"]][0], job, given)
        node.send(reply, *pieces)


def mapped(descriptor: int, size: int) -> memoryview:
    """The content of a sealed memory file, which is closed."""
    try:
        # Not shared: before Linux 6.7 that is refused for a sealed file, even for reading.
        return memoryview(mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ))
    finally:
        os.close(descriptor)


def run_once(
    machine: Machine, program: Any, job: dict[str, Any], given: memoryview
) -> tuple[dict[str, Any], list[bytes | bytearray]]:
    """What the node needs for an outcome, and the body that goes with it: stdout, stderr, files."""
    cpu, wall = time.process_time(), time.perf_counter()
    seed, real = bytes.fromhex(job["seed"]), frozenset(job["capabilities"])
    end = job["stdin_bytes"]
    inputs: dict[str, bytes | memoryview] = {}
    stdin = given[:end]
    for path, size in job["inputs"]:
        inputs[path] = given[end : end + size]
        end += size
    layer = wasi.Wasi(
        args=[b"module.wasm", *map(_encoded, job["args"])],
        # By name, and not as they came: a job's digest is the same in whatever order it gave them.
        env=[name + b"=" + value for name, value in sorted((_encoded(n), _encoded(v)) for n, v in job["env"].items())],
        stdin=stdin,
        output_bytes=job["output_bytes"],
        host_calls=job["host_calls"],
        clock=wasi.RealClock() if "clock" in real else wasi.VirtualClock(seed),
        random=wasi.RealRandom() if "random" in real else wasi.SeededRandom(seed),
        inputs=inputs,
        file_bytes=job["file_bytes"],
    )
    limits = Limits(job["memory_bytes"], job["output_bytes"], job["wall_seconds"], job["fuel"], job["last"])
    ending = machine.run(program, layer, limits)
    reply = {"kind": "outcome", **verdict(ending, layer, job["output_bytes"])}
    files = {} if reply["verdict"] == "output_limit" else layer.files()
    reply["fuel"] = ending.fuel
    reply["peak_memory_bytes"] = ending.peak_memory_bytes
    reply["stdout_bytes"] = len(layer.stdout)
    reply["stderr_bytes"] = len(layer.stderr)
    reply["files"] = [(path, len(content)) for path, content in files.items()]
    reply["cpu_seconds"] = time.process_time() - cpu
    reply["wall_seconds"] = time.perf_counter() - wall
    return reply, [layer.stdout, layer.stderr, *files.values()]


def _encoded(text: str) -> bytes:
    """UTF-8; bytes that a command line smuggled in as surrogates come out as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
