"""Every command in ``docs/fetching.md`` does what the text says, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "fetching.md"
FINGERPRINT = re.compile(r"\b[0-9a-f]{64}\b")
PLACES = re.compile(r"http://192\.0\.2\.[78]:8080/")


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


def run(machine: Any, block: str) -> str:
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=machine.folder,
        env={**os.environ, "PLASM_HOME": str(machine.home), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the document's commands use curl")
@pytest.mark.anyio
async def test_every_command_does_what_the_text_says(
    machine: Any, honest: Any, published: Any, announced: Any, contents: dict[str, bytes]
) -> None:
    machine.home.mkdir(mode=0o700)
    (machine.home / "config.toml").write_text('[discovery.mdns]\ninterfaces = ["lo"]\n')
    shutil.copy(published.publisher.root, machine.folder / "root.json")
    shutil.copytree(published.today / "metadata", machine.folder / "metadata")
    (machine.folder / "stable.pub").write_text(published.publisher.signer("channel").public_key.hex())
    said = []
    async with announced("stable", honest.port, dht=False):
        for block in blocks():
            block = PLACES.sub(honest.base_url, FINGERPRINT.sub(published.publisher.fingerprint, block))
            said.append(await anyio.to_thread.run_sync(partial(run, machine, block)))
    assert len(said) >= 10
    boot = {path.name: path.read_bytes() for path in (machine.folder / "boot").iterdir()}
    assert boot == {**contents, "vmlinuz": contents["kernel"]}
    assert sum(text.count(": verified: stable/x86_64/kernel") for text in said) == 4
    assert any(re.search(r"^MANIFEST_URL=http://.*/stable/x86_64/manifest.json$", text, re.MULTILINE) for text in said)


def test_what_is_told_when_something_is_wrong_is_what_the_programs_say() -> None:
    """Each phrase of the table stands in the sources."""
    root = DOCUMENT.parents[1]
    folders = [root / "boot/src", root / "plugins/trust/src", root / "plugins/fetching/src"]
    sources = " ".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for folder in folders for path in folder.rglob("*.py")
    )
    table = DOCUMENT.read_text().partition("| it says |")[2]
    for phrases in re.findall(r"^\| (.+?) \|", table.partition("|---|")[2], re.MULTILINE):
        for phrase in filter(None, (each.strip(" ,;") for each in re.split(r"…|; ", phrases))):
            assert phrase in sources, phrase
