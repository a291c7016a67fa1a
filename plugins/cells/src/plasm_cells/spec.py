"""What a plugin says of its engine, which the node itself never imports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """An engine and how to import it in a warm parent."""

    name: str
    version: str
    configuration: Mapping[str, str | int | bool] = field(default_factory=dict)
    """What changes results or trust in them; part of each cache key and receipt."""
    module: str
    """The name of a module that implements :class:`plasm_cell.engine.Engine`."""
    compiler: str = ""
    """The name of a module that `module` imports to compile, and not to run."""
    paths: tuple[Path, ...] = ()
    """Folders to import it and what it imports from; nothing else but the standard library is found."""
    interpreter: str = sys.executable
    """Python 3.10 or later."""
    counts_fuel: bool = True
    """Whether it can hold a run to an amount of fuel. Where not, a job with such a limit is refused."""
    limits_apart: bool = False
    """Whether :attr:`module` is a :class:`plasm_cell.engine.LimitingEngine`: jobs that limit fuel run other code."""
    compile_threads: bool = False
    """Whether its compiler cannot do without a thread. Cells that compile may then make some, and no process."""
