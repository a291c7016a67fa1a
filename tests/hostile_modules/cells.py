"""Cells from the production launcher, code in them that has escaped its engine, and what it would like to reach."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyseccomp  # type: ignore[import-untyped]
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from plasm_cells import guards
from plasm_cells.options import CellOptions
from plasm_cells.runtime import CellRuntime, open_runtime
from plasm_cells.spec import EngineSpec

from plasm.ports import Digest, Invocation, Limits, Outcome, Verdict
from plasm.testing import make_scope
from tests.hostile_modules.leftovers import Household, nothing_left

ROOT = Path(__file__).parents[2]
SECRET = b"the node's own"
SYSTEM_CALLS = (Path(__file__).parent / "escaped" / "calls.txt").read_text().split()


@dataclass
class Targets:
    """Each would be within reach but for the cell's walls."""

    key: Path
    public: Path
    """A folder that everybody may write."""
    memory: ctypes.Array[ctypes.c_char]
    listeners: tuple[socket.socket, ...]

    @property
    def home(self) -> Path:
        return self.key.parent

    @property
    def order(self) -> dict[str, Any]:
        inet, unix, abstract = (listener.getsockname() for listener in self.listeners)
        groups = Path("/sys/fs/cgroup/memory")
        return {
            "node": os.getpid(),
            "key": str(self.key),
            "cache": str(self.home / "compiled"),
            "public": str(self.public),
            "group": str(groups if groups.exists() else groups.parent),
            "address": ctypes.addressof(self.memory),
            "port": inet[1],
            "unix": unix,
            "abstract": abstract[1:].decode(),
            # The lowest two of a compile cell after its socket are its module and what it makes of it.
            "artifact": 5,
        }

    def check_untouched(self) -> None:
        assert self.key.read_bytes() == SECRET
        assert self.key.stat().st_mode & 0o777 == 0o600
        assert self.memory.raw == bytes(64)
        for listener in self.listeners:
            with pytest.raises(BlockingIOError):
                listener.accept()


@contextmanager
def targets_in(folder: Path) -> Iterator[Targets]:
    # Not below pytest's own folder, which nobody but its owner may enter.
    public = Path(tempfile.mkdtemp(prefix="plasm-public-", dir="/tmp"))
    public.chmod(0o777)
    key = folder / "identity.key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    listeners = tuple(socket.socket(family) for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX))
    try:
        listeners[0].bind(("127.0.0.1", 0))
        listeners[1].bind(str(public / "socket"))
        (public / "socket").chmod(0o777)
        listeners[2].bind(f"\0{public.name}")
        for listener in listeners:
            listener.listen()
            listener.setblocking(False)
        yield Targets(key, public, ctypes.create_string_buffer(64), listeners)
    finally:
        for listener in listeners:
            listener.close()
        shutil.rmtree(public)


class Cells:
    """A runtime that lasts for many attempts, each of which is followed by a look at all that it could have done."""

    def __init__(self, portal: BlockingPortal, runtime: CellRuntime, targets: Targets, processes: int) -> None:
        self._portal = portal
        self._runtime = runtime
        self._targets = targets
        # Compiled anew, so that both warm parents are there.
        self._nonce = secrets.token_hex(4)
        self._run("nothing", "run", 20.0, {"trusted": True})
        self._household = Household((targets.home, targets.public), lambda: runtime.pids, processes)

    def attempt(self, name: str, *, where: str = "run", wall_seconds: float = 20.0, **given: Any) -> Outcome:
        """Make the attempt, check that it reached nothing, left nothing and that the next job is a healthy one.

        Where it was made while compiling it raises what :meth:`plasm.ports.Runtime.prepare` does.
        """
        try:
            return self._run(name, where, wall_seconds, given)
        finally:
            self._targets.check_untouched()
            honest = self._run("nothing", "run", 20.0, {"trusted": True})
            assert (honest.verdict, honest.stdout) == (Verdict.EXITED, b"done: nothing")
            self._household.check()

    def _run(self, name: str, where: str, wall_seconds: float, given: dict[str, Any]) -> Outcome:
        numbers = {call: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, call) for call in SYSTEM_CALLS}
        order = {**self._targets.order, "attempt": name, "where": where, "calls": numbers, "nonce": self._nonce}
        module = b"\0asm\1\0\0\0" + json.dumps(order, sort_keys=True).encode()
        digest = Digest("sha256:" + hashlib.sha256(module).hexdigest())
        self._portal.call(self._runtime.prepare, digest, module)
        limits = Limits(wall_seconds=wall_seconds, memory_bytes=64 << 20, output_bytes=1 << 20, file_bytes=1 << 20)
        started = time.perf_counter()
        outcome = self._portal.call(self._runtime.run, Invocation(module=digest, limits=limits, **given))
        assert time.perf_counter() - started < wall_seconds + 1
        return outcome


@contextmanager
def opened(targets: Targets, *, seccomp: bool = True, **options: Any) -> Iterator[Cells]:
    """Cells behind all walls of this machine, or all but seccomp, which would hide whether the others hold."""

    def probe(user: str) -> guards.Machine:
        found = guards.probe(user)
        return found if seccomp else replace(found, seccomp=False)

    spec = EngineSpec(name="escaped", version="0", module="tests.hostile_modules.escaped.engine", paths=(ROOT,))
    given = CellOptions(**{"slots": 1, "allow_weaker": True, **options})
    scope = make_scope(home=targets.home)
    # Two warm parents, one cell that stands ready and perhaps one that is kept.
    processes = 3 + (given.isolation == "reused")
    with (
        nothing_left(targets.home, targets.public),
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_runtime(scope, given, spec, probe)) as runtime,
    ):
        yield Cells(portal, runtime, targets, processes)
