"""Generated programs, on which all engines must end alike; see :mod:`tests.engines.generated`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from plasm_wasmer.environment import packages
from plasm_wasmer.interpreter import find_interpreter

from plasm.drivers import DriverUnavailable
from plasm.testing import make_scope
from tests.engines.generated.search import Tally, look
from tests.engines.generated.voices import WASM3, WASMTIME, Kind, wasmer

_INSTALL_SECONDS = 300.0
_SAY_SECONDS = 60.0
_MOST_FOUND = 20
"""After so many differences it ends: they are one fault, or an engine that is useless."""

Say = Callable[[str], None]


@dataclass
class GeneratedFigures:
    """What came of generated programs."""

    first: int = 0
    """The seed of the first one."""
    seconds: float = 0
    engines: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return self.tally.programs > 0 and not self.failures

    def as_document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": self.passed,
            "first": self.first,
            "seconds": self.seconds,
            "engines": self.engines,
            "programs": self.tally.programs,
            "verdicts": dict(self.tally.verdicts.most_common()),
            "refused": dict(self.tally.refused),
            "failures": self.failures,
        }

    def as_lines(self) -> list[str]:
        """For people."""
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in self.tally.verdicts.most_common())
        refused = ", ".join(f"{name} {count}" for name, count in self.tally.refused.items()) or "none"
        return [
            f"generated programs: {self.tally.programs} from seed {self.first} in {self.seconds:.0f} s on "
            f"{', '.join(self.engines)}: {'passed' if self.passed else 'FAILED'}",
            f"  {verdicts}; refused: {refused}",
            *self.failures,
        ]


class GeneratedSoak:
    """One run over seeds from `first` on. `figures` are right at any moment."""

    def __init__(self, folder: Path, first: int, programs: int) -> None:
        self.figures = GeneratedFigures(first)
        self._folder = folder
        self._programs = programs
        self._over = False

    async def go(self, seconds: float, stop: anyio.Event, say: Say) -> None:
        """At least as many programs as were asked for, and until `seconds` have passed, or until `stop`."""
        began = time.monotonic()
        figures, least = self.figures, self._programs

        def going_on() -> bool:
            figures.seconds = time.monotonic() - began
            return not self._over and (figures.tally.programs < least or figures.seconds < seconds)

        def search(kinds: list[Kind]) -> None:
            for found in look(kinds, figures.first, 1 << 40, figures.tally, going_on):
                figures.failures += str(found).splitlines()
                self._over = self._over or len(figures.tally.found) >= _MOST_FOUND

        async def end_on_stop() -> None:
            await stop.wait()
            self._over = True

        async with _engines(self._folder, say) as kinds, anyio.create_task_group() as tasks:
            figures.engines = [kind.name for kind in kinds]
            tasks.start_soon(end_on_stop)
            tasks.start_soon(self._tell, say)
            await to_thread.run_sync(search, kinds)
            tasks.cancel_scope.cancel()

    async def _tell(self, say: Say) -> None:
        while True:
            await anyio.sleep(_SAY_SECONDS)
            tally = self.figures.tally
            say(
                f"{tally.programs} programs, the next seed is {self.figures.first + tally.programs}, "
                f"{len(tally.found)} differences"
            )


@asynccontextmanager
async def _engines(folder: Path, say: Say) -> AsyncIterator[list[Kind]]:
    """All that can run here."""
    try:
        interpreter = await to_thread.run_sync(find_interpreter)
    except DriverUnavailable as reason:
        say(f"without wasmer: {reason}")
        yield [WASMTIME, WASM3]
        return
    async with packages(folder, interpreter, _INSTALL_SECONDS, make_scope().log) as installed:
        yield [WASMTIME, WASM3, wasmer(interpreter, installed)]
