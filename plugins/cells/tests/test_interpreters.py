"""What runs inside a cell needs Python 3.10 or later and its standard library."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parents[1] / "src" / "plasm_cell"


def _python_3_10() -> str | None:
    found = [*map(str, Path.home().glob(".pyenv/versions/3.10.*/bin/python3.10")), shutil.which("python3.10")]
    # Not a shim, which is a script that asks the environment.
    return next((path for path in found if path and Path(path).read_bytes().startswith(b"\x7fELF")), None)


def test_every_module_is_imported_without_any_other_distribution() -> None:
    names = [".".join(path.relative_to(SOURCES.parent).with_suffix("").parts) for path in SOURCES.rglob("*.py")]
    program = f"import sys; sys.path.insert(0, {str(SOURCES.parent)!r})\nimport importlib\n" + "".join(
        f"importlib.import_module({name!r})\n" for name in names if not name.endswith("__init__")
    )
    for interpreter in filter(None, (sys.executable, _python_3_10())):
        subprocess.run([interpreter, "-I", "-S", "-c", program], check=True, timeout=60)


@pytest.mark.anyio
@pytest.mark.skipif(_python_3_10() is None, reason="there is no Python 3.10 here")
async def test_cells_of_another_interpreter_work_behind_the_same_walls(bench: Any) -> None:
    spec = bench.spec(interpreter=_python_3_10())
    async with bench.open(slots=1, spec=spec) as runtime:
        outcome = await bench.run(runtime, "import sys; layer.stdout += b'%d.%d' % sys.version_info[:2]")
        assert outcome.stdout == b"3.10"
        await bench.check_honest(runtime, stdin=bytes(100_000))
