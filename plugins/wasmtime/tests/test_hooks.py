"""The plugin describes itself without loading the engine, and the node never loads it at all."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import msgspec
import pytest
from plasm_wasmtime import hooks
from plasm_wasmtime.options import WasmtimeOptions

from plasm.drivers import DriverUnavailable


def test_the_driver_is_offered_under_its_entry_point() -> None:
    (entry,) = importlib.metadata.entry_points(group="plasm", name="wasmtime")
    assert entry.load() is hooks
    (driver,) = hooks.plasm_runtimes()
    assert driver.name == "wasmtime"
    assert not driver.offers, "no profile bans it: without a home it writes nothing"
    assert driver.options is WasmtimeOptions


def test_the_node_never_loads_the_engine() -> None:
    program = (
        "import sys, anyio\n"
        "from plasm.testing import make_scope\n"
        "from plasm_wasmtime.hooks import check, open_wasmtime\n"
        "from plasm_wasmtime.options import WasmtimeOptions\n"
        "check()\n"
        "async def main():\n"
        "    async with open_wasmtime(make_scope(), WasmtimeOptions(spares=0)):\n"
        "        pass\n"
        "anyio.run(main)\n"
        "assert 'wasmtime' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_describing_loads_neither_engine_nor_runtime() -> None:
    program = (
        "import sys, plasm_wasmtime.hooks\n"
        "assert not {'wasmtime', 'plasm_wasmtime.runtime', 'anyio'} & set(sys.modules) - {'anyio'}\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_a_missing_engine_is_said_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DriverUnavailable) as refusal:
        hooks.check()
    assert "pip install" in refusal.value.mend


def test_another_system_is_told_so_before_anything_of_linux_is_imported() -> None:
    program = (
        "import fcntl, os, signal, sys\n"
        "from plasm.drivers import DriverUnavailable\n"
        "from plasm.testing import make_scope\n"
        "sys.platform = 'darwin'\n"
        "for name in [name for name in vars(fcntl) if name.startswith('F_SEAL')]:\n"
        "    delattr(fcntl, name)\n"
        "del os.memfd_create, os.pidfd_open, signal.pidfd_send_signal\n"
        "from plasm_wasmtime import hooks\n"
        "(driver,) = hooks.plasm_runtimes()\n"
        "for refused in (driver.check, lambda: driver.open(make_scope(), driver.options())):\n"
        "    try:\n"
        "        refused()\n"
        "    except DriverUnavailable as error:\n"
        "        assert 'Linux' in str(error) and error.mend\n"
        "    else:\n"
        "        raise AssertionError('it did not refuse')\n"
        "assert 'plasm_wasmtime.runtime' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.parametrize("wrong", [{"isolation": "none"}, {"slots": -1}, {"compile_seconds": 0}, {"unknown": 1}])
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, WasmtimeOptions)
