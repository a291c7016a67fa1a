"""The plugin under ``examples/``, installed beside plasm into an environment that has nothing else of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "third_party_store"
DEADLINE = 100
CONFORMS = """
import pytest
from plasm.home import Home
from plasm.node import open_plan
from plasm.plan import make_plan
from plasm.registry import load_registry
from plasm.testing import StoreSuite
from contextlib import asynccontextmanager


@asynccontextmanager
async def opened(home):
    plan = make_plan(load_registry(), ports={"store"}, cli=["sqlite"], home=Home(home))
    async with open_plan(plan) as ports:
        [(name, store)] = ports.stores
        assert name == "sqlite"
        assert type(store).__module__ == "plasm_sqlite.store"
        yield store


class TestSqlite(StoreSuite):
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request):
        return request.param

    @pytest.fixture
    def make(self, tmp_path):
        return lambda: opened(tmp_path / "home")

    async def corrupt(self, store, digest, content):
        await store.query("UPDATE held SET content = ? WHERE digest = ?", content, digest)
        return True
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "UV_",
        "PIP_",
        "SSL_",
        "HTTP",
        "NO_PROXY",
        "http",
        "no_proxy",
        "TMPDIR",
        "XDG_CACHE",
    )
    environ = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environ, "PLASM_HOME": str(cwd / "home"), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def succeed(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with wheels of plasm and of the example, and pytest."""
    folder = tmp_path_factory.mktemp("third-party")
    wheels, python = folder / "wheels", folder / "venv" / "bin" / "python"
    uv = shutil.which("uv")
    if uv:
        for source in (ROOT, EXAMPLE):
            succeed(uv, "build", "--quiet", "--wheel", "--out-dir", wheels, source, cwd=folder)
        succeed(uv, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
        install: tuple[str | Path, ...] = (uv, "pip", "install", "--quiet", "--python", python)
    else:
        succeed(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
        for source in (ROOT, EXAMPLE):
            succeed(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, source, cwd=folder)
        install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    succeed(*install, *sorted(wheels.glob("*.whl")), "pytest", cwd=folder)
    return folder


def in_environment(environment: Path, *command: str) -> str:
    return succeed(environment / "venv" / "bin" / command[0], *command[1:], cwd=environment)


def test_it_is_listed_with_its_distribution(environment: Path) -> None:
    listed = json.loads(in_environment(environment, "plasm", "plugins", "--json"))["drivers"]
    assert [
        {key: row[key] for key in ("port", "name", "distribution", "version")}
        for row in listed
        if row["name"] == "sqlite"
    ] == [{"port": "store", "name": "sqlite", "distribution": "plasm-sqlite", "version": "0.1.0"}]
    assert {row["distribution"] for row in listed} == {"plasm-sqlite"}, "nothing else is installed here"


def test_nothing_keeps_it_from_being_opened_and_it_brings_no_check(environment: Path) -> None:
    listed = json.loads(in_environment(environment, "plasm", "plugins", "--check", "--json"))
    assert [row["ok"] for row in listed["drivers"] if row["name"] == "sqlite"] == [None]
    assert listed["broken"] == []


def test_listing_it_does_not_import_it(environment: Path) -> None:
    loaded = in_environment(
        environment,
        "python",
        "-c",
        "import sys; from plasm.registry import load_registry; load_registry(); print(*sys.modules)",
    )
    assert "plasm_sqlite.hooks" in loaded.split()
    assert "plasm_sqlite.store" not in loaded.split()


def test_selected_by_name_it_keeps_every_promise_of_a_store(environment: Path) -> None:
    suite = environment / "test_sqlite.py"
    suite.write_text(CONFORMS)
    told = in_environment(environment, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", suite.name)
    assert " passed" in told
    assert "skipped" not in told
    assert "failed" not in told


def test_the_fakes_can_be_imported_without_pytest(environment: Path) -> None:
    told = in_environment(
        environment,
        "python",
        "-c",
        "import sys; sys.modules['pytest'] = None; import plasm.testing as t; print(t.MemoryNetwork, t.make_scope())",
    )
    assert "MemoryNetwork" in told


def test_it_has_fewer_than_60_lines() -> None:
    lines = [line for file in EXAMPLE.glob("src/**/*.py") for line in file.read_text().splitlines() if line.strip()]
    assert len(lines) < 60
