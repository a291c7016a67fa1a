"""A node runs a module that client and node know only by its digest, from a provider on the network."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from plasm.host import architecture
from tests.e2e.processes import ROOT, Cli, clean_environment, running_node

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


def test_a_node_finds_who_serves_it_with_nothing_configured(tmp_path: Path):
    folder = tmp_path / "artifacts" / "stable" / architecture()
    folder.mkdir(parents=True)
    module = (ROOT / "examples" / "hello.wasm").read_bytes()
    (folder / "hello.wasm").write_bytes(module)
    serve = ["serve", "--artifacts", str(tmp_path / "artifacts"), "--bind", "127.0.0.1", "--port", "0", "--no-dht"]
    provider = subprocess.Popen(
        [sys.executable, "-m", "plasm", *serve],
        stdout=subprocess.PIPE,
        env=clean_environment(tmp_path / "provider"),
    )
    try:
        assert provider.stdout is not None
        assert provider.stdout.readline().startswith(b"ready ")
        with running_node(tmp_path / "node", options=("--plugins", "mdns,wasmtime,fs,http")) as node:
            digest = f"sha256:{hashlib.sha256(module).hexdigest()}"
            done = Cli(tmp_path / "client")("submit", "--peer", node.address, digest, stdin=b"found")
    finally:
        provider.kill()
        provider.communicate()
    assert (done.returncode, done.stdout) == (0, b"dnuof"), done.stderr


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
    assert line.partition(": ")[2].partition("cannot be opened: ")[2] == (
        "no provider is named, and no discovery is open;"
        ' write providers = ["http://HOST:PORT/"] into the table [store.http]'
    )
