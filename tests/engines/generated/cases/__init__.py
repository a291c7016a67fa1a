"""Small programs about which engines once differed, each with what the difference was."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import wasmtime

from tests.engines.generated.modules import Encoded
from tests.engines.generated.programs import Program

CASES: Final = sorted(path.name for path in Path(__file__).parent.glob("*.wat"))


def read_case(name: str) -> Program:
    """The program of that name, under the limits that it states."""
    text = (Path(__file__).parent / name).read_text()
    limits = (line.removeprefix(";; limit ").split("=") for line in text.splitlines() if line.startswith(";; limit "))
    return Program(0, Encoded(content=bytes(wasmtime.wat2wasm(text))), **{limit: int(value) for limit, value in limits})
