"""Good and bad plugins as distributions in another process, seen through the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.toolkit.conftest import Shell

GOOD = """
    from contextlib import asynccontextmanager
    from plasm.drivers import Driver
    from plasm.hookspecs import hookimpl

    class Key:
        public_key = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

    @asynccontextmanager
    async def open_key(scope, options):
        yield Key()

    @hookimpl
    def {hook}():
        return (
            Driver(name="{name}", open=open_key, summary="a key", {facts}),
        )
"""

LATER = "install a later version of the distribution plasm-bad than 0.7, or tell its authors"
BAD = {
    "broken": ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second", LATER),
    "not-importable": (
        "import nowhere_at_all",
        "No module named 'nowhere_at_all'",
        "install the distribution plasm-bad 0.7 anew",
    ),
    "not-python": ("def (", "SyntaxError", LATER),
    "misspelt": (
        GOOD.format(hook="plasm_signer", name="bad", facts=""),
        "no hook plasm_signer; perhaps plasm_signers is meant",
        LATER,
    ),
    "too-new": ("PLASM_API = 99", "written for version 99", "install a later plasm than "),
    "exits": ("raise SystemExit(0)", "SystemExit", LATER),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_plugin_that_is_selected_is_one_line_with_the_distribution_and_the_mend(shell: Shell, kind: str) -> None:
    hooks, reason, mend = BAD[kind]
    shell.install("plasm-bad", hooks, version="0.7")
    done = shell.run("--plugins", "bad", "init")
    assert done.returncode == 125
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "plasm-bad 0.7 is broken" in done.stderr
    assert reason in done.stderr
    assert mend in done.stderr
    assert not shell.home.exists()


def test_verbose_shows_where_a_plugin_broke(shell: Shell) -> None:
    shell.install("plasm-bad", "raise RuntimeError('at import')")
    done = shell.run("-v", "--plugins", "bad", "init")
    assert "Traceback" in done.stderr
    assert 'plasm_bad.py", line 1' in done.stderr


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_plugin_that_is_not_selected_stops_nothing(shell: Shell, kind: str) -> None:
    shell.install("plasm-bad", BAD[kind][0])
    shell.install("plasm-card", GOOD.format(hook="plasm_signers", name="card", facts=""))
    done = shell.run("--plugins", "card", "init")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_environment_selects_plugins_too(shell: Shell) -> None:
    shell.install("plasm-card", GOOD.format(hook="plasm_signers", name="card", facts=""))
    assert "made identity" in shell.run("init", PLASM_PLUGINS="card").stdout
    assert "no driver cart is installed" in shell.run("init", PLASM_PLUGINS="cart").stderr


def test_a_duplicate_is_refused_where_it_is_selected(shell: Shell) -> None:
    for name in ("plasm-card", "plasm-other"):
        shell.install(name, GOOD.format(hook="plasm_signers", name="card", facts=""))
    done = shell.run("--plugins", "card", "init")
    assert done.returncode == 125
    assert "signer:card is offered by plasm-card 1.0 and by plasm-other 1.0" in done.stderr
    assert done.stderr.count("\n") == 1


def row(shell: Shell, name: str, *arguments: str) -> tuple[dict[str, object], int]:
    done = shell.run("plugins", "--json", *arguments)
    assert done.stderr == ""
    return next(each for each in json.loads(done.stdout)["drivers"] if each["name"] == name), done.returncode


def test_plugins_lists_each_driver_with_its_distribution(shell: Shell) -> None:
    facts = "offers=frozenset({'card'}), needs=frozenset({'store'}), backends=frozenset({'trio'})"
    shell.install("plasm-card", GOOD.format(hook="plasm_signers", name="card", facts=facts), version="4.2")
    found, code = row(shell, "card")
    assert code == 0
    assert found == {
        "port": "signer",
        "name": "card",
        "distribution": "plasm-card",
        "version": "4.2",
        "summary": "a key",
        "offers": ["card"],
        "needs": ["store"],
        "backends": ["trio"],
    }
    table = shell.run("plugins").stdout
    assert any(line.split()[:4] == ["signer", "card", "plasm-card", "4.2"] for line in table.splitlines())


def test_check_says_what_is_broken_and_what_would_mend_it(shell: Shell) -> None:
    shell.install("plasm-bad", BAD["broken"][0], version="0.7")
    assert shell.run("plugins", "--json").returncode == 0
    done = shell.run("plugins", "--check", "--json")
    (broken,) = json.loads(done.stdout)["broken"]
    assert done.returncode == 1
    assert broken == {
        "entry_point": "bad",
        "distribution": "plasm-bad",
        "version": "0.7",
        "problem": "RuntimeError: first second",
        "mend": LATER,
    }


def test_a_missing_driver_that_a_broken_plugin_may_offer_says_what_is_broken(shell: Shell) -> None:
    shell.install("plasm-bad", BAD["broken"][0], version="0.7")
    done = shell.run("--plugins", "tape", "init")
    assert "no driver tape is installed" in done.stderr
    assert f"plasm-bad 0.7 is broken: RuntimeError: first second, and perhaps offers it; {LATER}" in done.stderr


def test_listing_imports_no_engine_and_no_network_library(shell: Shell) -> None:
    loaded = shell.run("plugins", code="print(*sys.modules, file=sys.stderr)").stderr.split()
    assert "plasm.registry" in loaded
    libraries = {"libp2p", "trio", "asyncio", "zeroconf", "wasmtime", "cryptography", "sqlite3", "ssl"}
    # What an environment imports at every start, as coverage's does, is not the command's doing.
    bare = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, check=True)
    assert not libraries & {name.partition(".")[0] for name in {*loaded} - {*bare.stdout.decode().split()}}
