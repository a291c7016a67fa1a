"""A node runs a module that client and node know only by its digest, from a provider on the network."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.processes import ROOT, Cli, running_node

from .conftest import Provider

SELECTION = ("--plugins", "wasmtime,fs,http")


def test_a_node_runs_a_module_from_a_provider_and_keeps_it(provider: Provider, tmp_path: Path):
    module = (ROOT / "examples" / "hello.wasm").read_bytes()
    digest = provider.put(module)
    home = tmp_path / "node"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text(f"[store.http]\nproviders = [{json.dumps(provider.url)}]\n")
    client = Cli(tmp_path / "client")

    with running_node(home, options=SELECTION) as node:
        done = client("submit", "--peer", node.address, digest, stdin=b"over the network")
        assert (done.returncode, done.stdout) == (0, b"krowten eht revo"), done.stderr
        asked = list(provider.requests)
        # Once whether it is there, once for it.
        assert asked == [f"/sha256/{digest.removeprefix('sha256:')}"] * 2

        unknown = client("submit", "--peer", node.address, "sha256:" + "0" * 64)
        assert unknown.returncode != 0
        assert unknown.stdout == b""

    provider.stop()
    with running_node(home, options=SELECTION) as node:
        again = client("submit", "--peer", node.address, digest, stdin=b"without it")
        assert (again.returncode, again.stdout) == (0, b"ti tuohtiw"), again.stderr


def test_run_takes_a_module_from_a_provider(provider: Provider, tmp_path: Path):
    digest = provider.put((ROOT / "examples" / "hello.wasm").read_bytes())
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text(f"[store.http]\nproviders = [{json.dumps(provider.url)}]\n")
    done = Cli(home)("--plugins", "fs,http", "run", digest, stdin=b"here")
    assert (done.returncode, done.stdout) == (0, b"ereh"), done.stderr


def test_a_node_without_a_provider_says_how_to_name_one(tmp_path: Path):
    done = Cli(tmp_path / "home")("--plugins", "fs,http", "run", "sha256:" + "0" * 64)
    assert done.returncode == 125
    (line,) = done.stderr.decode().splitlines()
    assert "store:http" in line
    assert line.endswith('no provider is named; write providers = ["http://HOST:PORT/"] into the table [store.http]')
