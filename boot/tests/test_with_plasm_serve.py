"""From a plain folder on one machine to verified files on another, by what ``plasm serve`` prints."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

READY_SECONDS = 60


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.mark.anyio
async def test_what_a_folder_holds_arrives_as_it_is(machine: Any, tmp_path: Path) -> None:
    contents = {"kernel": b"a kernel", "initramfs": os.urandom(5 * 2**20)}
    folder = tmp_path / "artifacts" / "stable" / "x86_64"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    command = [sys.executable, "-m", "plasm", "serve", "-a", str(tmp_path / "artifacts"), "-b", "127.0.0.1", "-p", "0"]
    environment = {**os.environ, "PLASM_HOME": str(tmp_path / "provider"), "PYTHONUNBUFFERED": "1"}
    async with await anyio.open_process(
        [*command, "--no-dht", "--no-mdns"], env=environment, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None
        try:
            with anyio.fail_after(READY_SECONDS):
                ready = b""
                while b"\n" not in ready:
                    ready += await server.stdout.receive()
            base_url = ready.decode().split()[1]
            await anyio.to_thread.run_sync(fetch_and_verify, machine, base_url, contents)
        finally:
            server.terminate()
        with anyio.fail_after(READY_SECONDS):
            await server.wait()


def fetch_and_verify(machine: Any, base_url: str, contents: dict[str, bytes]) -> None:
    manifest_url, root_url = f"{base_url}stable/x86_64/manifest.json", f"{base_url}metadata/1.root.json"
    with urllib.request.urlopen(root_url, timeout=10) as answer:
        fingerprint = hashlib.sha256(answer.read()).hexdigest()
    assert machine("phase-fetch", "--pin", root_url, "--fingerprint", fingerprint).returncode == 0
    done = machine("phase-fetch", manifest_url)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in machine.folder.iterdir()} == contents
    urllib.request.urlretrieve(manifest_url, machine.folder / "manifest.json")
    for name in contents:
        assert machine("phase-verify", "manifest.json", name).returncode == 0
    (machine.folder / "kernel").write_bytes(b"a kernal")
    assert machine("phase-verify", "manifest.json", "kernel").returncode == 1
