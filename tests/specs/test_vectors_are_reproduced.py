"""Running the generator gives the vectors that are checked in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_generator_writes_the_vectors_byte_for_byte(specs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(specs / "vectors" / "generate.py"), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in (specs / "vectors").glob("*.json")}
