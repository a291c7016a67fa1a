"""Programs that nobody wrote for us read mounted inputs, write into ``/out``, and give the same bytes everywhere."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.processes import Cli, RunningNode
from tests.programs.conftest import PROGRAMS

pytestmark = pytest.mark.timeout(900)

REFUSED = 126
FAILED = 125
ORDERS = [
    ("2024-01-03", "Ada", "keyboard", 2, 49.5),
    ("2024-01-03", "Grace", "monitor", 1, 189.0),
    ("2024-01-04", "Ada", "cable", 5, 3.2),
    ("2024-01-05", "Edsger", "keyboard", 1, 49.5),
    ("2024-01-08", "Grace", "cable", 12, 3.2),
    ("2024-01-08", "Barbara", "monitor", 2, 189.0),
    ("2024-01-09", "Edsger", "stand, adjustable", 1, 34.95),
]
REPORT = (
    b"customer,orders,total\r\nBarbara,1,378.00\r\nGrace,2,227.40\r\nAda,2,115.00\r\nEdsger,2,84.45\r\n"
    b'item,sold\r\ncable,17\r\nkeyboard,3\r\nmonitor,3\r\n"stand, adjustable",1\r\n'
)
TOTALS = {"Ada": "115.00", "Barbara": "378.00", "Edsger": "84.45", "Grace": "227.40"}


@dataclass(frozen=True)
class Case:
    """One way to run a program."""

    program: str
    options: Sequence[str | Path]
    arguments: Sequence[str]
    stdout: bytes
    files: Mapping[str, Callable[[bytes], bool]]


def given(path: str, file: str) -> tuple[str, str]:
    return "--input", f"{path}={PROGRAMS / file}"


def is_report(content: bytes) -> bool:
    return content == REPORT


def is_totals(content: bytes) -> bool:
    return bool(json.loads(content) == TOTALS)


def is_totals_in_cents(content: bytes) -> bool:
    return bool(json.loads(content) == {name: round(float(total) * 100) for name, total in TOTALS.items()})


def is_database(content: bytes) -> bool:
    with sqlite3.connect(":memory:") as database:
        database.deserialize(content)
        return database.execute("select * from orders").fetchall() == ORDERS


BESIDE = """
import os, py_compile, secrets
print(py_compile.compile("/lib/report.py", doraise=True))
os.replace("/lib/report.py", "/lib/moved.py")
print(sorted(os.listdir("/lib")))
with open(os.devnull, "r+b", buffering=0) as null, open("/dev/urandom", "rb") as random:
    null.write(b"dropped")
    print(len(null.read(9)), random.read(9) != random.read(9), os.path.exists("/tmp"))
"""

CASES = {
    "sqlite makes a database": Case(
        "sqlite", given("orders.sql", "sqlite/orders.sql"), (":memory:", "/orders.sql"), b"", {"orders.db": is_database}
    ),
    "sqlite queries it": Case(
        "sqlite",
        ("--stdin", PROGRAMS / "sqlite" / "report.sql"),
        ("--csv", "/out/report.csv", "/data/orders.db"),
        b"",
        {"report.csv": is_report},
    ),
    "sqlite changes it": Case(
        "sqlite",
        ("--stdin", Path(__file__).with_name("update.sql")),
        ("/data/orders.db",),
        b"Ada|2|9\n",
        {},
    ),
    "quickjs": Case(
        "quickjs",
        (*given("report.js", "quickjs/report.js"), *given("data", "data")),
        ("--std", "/report.js", "/data/orders.csv"),
        b"5 columns, 4 customers\n",
        {"summary/totals.json": is_totals_in_cents},
    ),
    "cpython": Case(
        "cpython",
        (*given("report.py", "cpython/report.py"), *given("data", "data")),
        ("/report.py", "/data/orders.csv"),
        b"6e69ffc37c6ef61f5ba8fdc01860b94229e455bc75016856aa2b9539cae53832 totals.json\nPython 3.12.0: 4 customers\n",
        {"summary/totals.json": is_totals},
    ),
    "cpython beside its inputs": Case(
        "cpython",
        given("lib/report.py", "cpython/report.py"),
        ("-c", BESIDE),
        b"/lib/__pycache__/report.cpython-312.pyc\n['__pycache__', 'moved.py']\n0 True True\n",
        {},
    ),
}
LOCALLY = ("--plugins", "wasmtime", "run")
OTHER_RUNTIMES = ("wasmer", "wasm3")


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first of the cases makes, by another SQLite."""
    path = tmp_path_factory.mktemp("database") / "orders.db"
    with sqlite3.connect(path) as made:
        made.execute("create table orders (day text, customer text, item text, count integer, price real)")
        made.executemany("insert into orders values (?, ?, ?, ?, ?)", ORDERS)
    made.close()
    return path


class Refused(Exception):
    """The runtime does not take the module; the message says why."""


@pytest.fixture
def result(module: Callable[[str], Path], database: Path, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """What a case left: its files by their paths, checked against what they must hold."""

    def get(cli: Cli, name: str, *command: str | Path) -> dict[str, bytes]:
        case = CASES[name]
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        inputs = ("--input", f"data/orders.db={database}") if name in ("sqlite queries it", "sqlite changes it") else ()
        done = cli(
            *command,
            *("--timeout", "300", "--out", out),
            *(*case.options, *inputs, module(case.program), *case.arguments),
            timeout=600,
        )
        if done.returncode in (FAILED, REFUSED):
            raise Refused(done.stderr.decode())
        assert (done.returncode, done.stdout) == (0, case.stdout), done.stderr
        files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert set(files) == set(case.files)
        assert all(right(files[path]) for path, right in case.files.items()), files
        return files

    return get


@pytest.mark.parametrize("name", CASES)
def test_a_program_gives_the_same_bytes_in_two_runs(
    local: Cli, result: Callable[..., dict[str, bytes]], name: str
) -> None:
    assert result(local, name, *LOCALLY) == result(local, name, *LOCALLY)


@pytest.mark.parametrize("name", CASES)
def test_a_program_gives_the_same_bytes_on_another_node(
    local: Cli,
    worker: RunningNode,
    sender: Cli,
    result: Callable[..., dict[str, bytes]],
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    receipt = tmp_path_factory.mktemp("receipt") / "receipt.json"
    remote = result(sender, name, "submit", "--peer", worker.address, "--receipt", receipt)
    assert remote == result(local, name, *LOCALLY)
    assert sender("verify", receipt, "--node", worker.peer).returncode == 0


@pytest.mark.parametrize("runtime", OTHER_RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_another_engine_gives_the_same_bytes_or_refuses_with_a_reason(
    local: Cli, result: Callable[..., dict[str, bytes]], runtimes: dict[str, str], runtime: str, name: str
) -> None:
    problem = runtimes.get(runtime, "not installed")
    if problem:
        pytest.skip(f"{runtime}: {problem}")
    try:
        other = result(local, name, "--plugins", runtime, "run")
    except Refused as refused:
        reasons = [line for line in str(refused).splitlines() if line.startswith("plasm: ")]
        assert len(reasons) == 1
        pytest.skip(f"{runtime} refuses {CASES[name].program}: {reasons[0]}")
    assert other == result(local, name, *LOCALLY)
