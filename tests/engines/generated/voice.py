"""Runs programs on one engine in this process, with the code that a cell runs but without its walls.

``python voice.py ENGINE`` reads lines from its standard input, each the path of a batch and the number of its first
program, and writes a line of JSON for each program from there on. Standard library and ``plasm_cell`` only: it runs
under the interpreter of its engine.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import sys
from typing import Any

from plasm_cell import cell
from plasm_cell.engine import Compiled, Refused

_FUEL = 1 << 40


def main() -> None:
    """Does not return until its input ends."""
    engine = importlib.import_module(f"plasm_{sys.argv[1]}.engine")
    machine = engine.machine()
    for line in sys.stdin:
        order = json.loads(line)
        with open(order["path"], "rb") as file:
            programs = read_batch(file.read())
        for program in programs[order["first"] :]:
            print(json.dumps(run(engine, machine, program)), flush=True)
            # Runtimes hold memory that only the collector lets go of.
        gc.collect()


def read_batch(content: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """The job and the module of each program."""
    programs = []
    position = 0
    while position < len(content):
        end = content.index(b"\n", position)
        job = json.loads(content[position:end])
        position = end + 1 + job["module_bytes"]
        programs.append((job, content[end + 1 : position]))
    return programs


def run(engine: Any, machine: Any, program: tuple[dict[str, Any], bytes]) -> dict[str, Any]:
    """What came of it, for each way in which the engine compiles."""
    job, module = program
    found = {"": _run(machine, lambda: engine.compile_module(module), job)}
    if hasattr(engine, "compile_limiting"):
        found["limiting"] = _run(machine, lambda: engine.compile_limiting(module), {**job, "fuel": _FUEL})
    return found


def _run(machine: Any, compiling: Any, job: dict[str, Any]) -> dict[str, Any]:
    try:
        compiled: Compiled = compiling()
        loaded = machine.load(memoryview(compiled.artifact), compiled.starts)
        reply, outputs = cell.run_once(machine, loaded, job, memoryview(b""))
    except Refused as refusal:
        return {"refused": str(refusal)[:300]}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:300]}
    told = {name: reply.get(name) for name in ("verdict", "exit_code", "trap", "detail", "fuel", "files")}
    told["outputs"] = [[len(output), hashlib.sha256(output).hexdigest()] for output in outputs]
    if job.get("whole"):
        told["stdout"] = bytes(outputs[0]).hex()
    return told


if __name__ == "__main__":
    main()
