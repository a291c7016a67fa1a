"""A runtime in which each module does what a script says, under the limits of its invocation."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from plasm.drivers import Driver, Options, Scope
from plasm.ports import Digest, Engine, Invocation, NotRunnable, Outcome, Runtime, Verdict
from plasm.testing.fakes.scripts import Ended, Script, ScriptedRun


class ScriptedRuntime:
    """Runs `scripts`: by the module itself or by its digest. A module without a script is :exc:`NotRunnable`.

    It keeps to the port, and holds its callers to it: preparing a module under another's digest is an
    :exc:`AssertionError`. A test reads `calls`, `prepares`, `cancelled` and `most_at_once`.
    """

    def __init__(
        self, scripts: Mapping[bytes | Digest, Script], *, slots: int = 2, keep: int = 64, name: str = "scripted"
    ) -> None:
        self._scripts = {
            Digest("sha256:" + hashlib.sha256(module).hexdigest()) if isinstance(module, bytes) else module: script
            for module, script in scripts.items()
        }
        self._slots = slots
        self._name = name
        self._keep = keep
        self._prepared: OrderedDict[Digest, Script] = OrderedDict()
        self._free = anyio.Semaphore(slots)
        self._running = 0
        self.calls: list[Invocation] = []
        self.prepares: list[Digest] = []
        self.cancelled = 0
        self.most_at_once = 0

    @property
    def engine(self) -> Engine:
        return Engine(name=self._name, version="1")

    @property
    def isolation(self) -> str:
        return "scripted"

    @property
    def slots(self) -> int:
        return self._slots

    async def prepare(self, digest: Digest, module: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        real = "sha256:" + hashlib.sha256(module).hexdigest()
        assert real == digest, f"the caller has not verified the module: {digest[:80]!r} is {real}"
        script = self._scripts.get(digest)
        if script is None:
            raise NotRunnable("no script is known for this module")
        self.prepares.append(digest)
        self._prepared[digest] = script
        self._prepared.move_to_end(digest)
        while len(self._prepared) > self._keep:
            self._prepared.popitem(last=False)

    def prepared(self, digest: Digest) -> bool:
        return digest in self._prepared

    async def run(self, invocation: Invocation) -> Outcome:
        script = self._prepared[invocation.module]
        async with self._free:
            self.calls.append(invocation)
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
            try:
                return await self._run(script, invocation)
            except anyio.get_cancelled_exc_class():
                self.cancelled += 1
                raise
            finally:
                self._running -= 1

    async def _run(self, script: Script, invocation: Invocation) -> Outcome:
        run = ScriptedRun(invocation)
        began = anyio.current_time()
        code: int | None = None
        verdict, detail, trap = Verdict.TIMED_OUT, "the wall time is used up", None
        with anyio.move_on_after(invocation.limits.wall_seconds):
            try:
                code = await script(run)
                verdict, detail = Verdict.EXITED, ""
            except Ended as ended:
                verdict, detail, trap = ended.verdict, ended.detail, ended.trap
        return run.outcome(verdict, code, detail, trap, wall_seconds=anyio.current_time() - began)


def scripted_driver(runtime: ScriptedRuntime, *, name: str = "scripted") -> Driver[Runtime]:
    """A driver that opens `runtime`, so that a test can count what it was asked."""

    @asynccontextmanager
    async def open_scripted(scope: Scope, options: Options) -> AsyncIterator[ScriptedRuntime]:
        yield runtime

    return Driver(name=name, open=open_scripted, summary="modules that do what a test says")


if TYPE_CHECKING:
    _: type[Runtime] = ScriptedRuntime
