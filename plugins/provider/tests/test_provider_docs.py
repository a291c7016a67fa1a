"""Every command of the provider's documents does what they say."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .conftest import KERNEL
from .machines import Machine, Running

DOCS = Path(__file__).parents[3] / "docs"
PLACE = "http://192.0.2.7:8080"
DOCUMENTS = ("provider-quickstart.md", "provider-api.md", "troubleshooting.md")


def blocks(document: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", (DOCS / document).read_text(), re.MULTILINE | re.DOTALL)


class Reader:
    """Does what a document says, in a folder of its own; what serves goes on serving."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.client = Machine(folder / "client")
        self.provider: Running | None = None
        self.served: list[str] = []

    def do(self, block: str) -> str:
        words = block.split()
        if words[:2] in (["plasm", "serve"], ["plasm", "mirror"]):
            self._serve(words[1:])
            return ""
        block = self._placed(block)
        programs = Path(sys.executable).parent
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            cwd=self.folder,
            env={**os.environ, "PLASM_HOME": str(self.client.home), "PATH": path},
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout

    def _serve(self, words: list[str]) -> None:
        command, *rest = self._placed(" ".join(words)).split()
        paths = [str(self.folder / word) if (self.folder / word).is_dir() else word for word in rest]
        # A mirror believes in what this reader has pinned; a provider has a home of its own.
        machine = self.client if command == "mirror" else Machine(self.folder / f"provider{len(self.served)}")
        self.served.append(command)
        found = command == "serve"
        running = self._stack.enter_context(
            machine.provides(command, *paths, *(["--no-dht"] if found else []), advertises=found)
        )
        self.provider = self.provider if command == "mirror" else running

    def _placed(self, block: str) -> str:
        if self.provider is None:
            return block
        root = hashlib.sha256(self.provider.get("metadata/1.root.json")).hexdigest()
        block = block.replace(PLACE, self.provider.url.rstrip("/")).replace("HEX", root)
        return block.replace("phase-discover", "phase-discover --profile local --arch x86_64")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with ExitStack() as stack:
        for name in ("vmlinuz", "initrd.img"):
            (tmp_path / name).write_bytes(KERNEL)
        yield Reader(tmp_path, stack)


NEEDS_CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="the documents' commands use curl")


@NEEDS_CURL
def test_the_quickstart_leads_from_a_folder_to_a_mirror(reader: Reader) -> None:
    said = []
    for block in blocks("provider-quickstart.md"):
        if block.startswith("plasm serve --repository"):
            # Its clients pin another root: that of the first provider is what this reader believes in.
            reader.client = Machine(reader.folder / "another")
        if block.startswith("plasm mirror"):
            reader.do(f"phase-fetch --pin {PLACE}/metadata/1.root.json --fingerprint HEX")
        said.append(reader.do(block))
    assert reader.served == ["serve", "serve", "mirror"]
    assert (reader.folder / "boot" / "kernel").read_bytes() == KERNEL
    assert any(text.startswith("healthy\n") for text in said)


@NEEDS_CURL
@pytest.mark.parametrize("document", ["provider-api.md", "troubleshooting.md"])
def test_the_commands_of_the_other_documents_work(reader: Reader, document: str) -> None:
    for block in blocks("provider-quickstart.md"):
        if block.startswith(("mkdir", "plasm serve --artifacts", "plasm repo init")):
            reader.do(block)
    for block in blocks(document):
        reader.do(block)
    if document == "provider-api.md":
        assert (reader.folder / "kernel").read_bytes() == KERNEL
        assert (reader.folder / "first").read_bytes() == KERNEL[:1024]


def test_what_the_troubleshooting_quotes_is_said_somewhere() -> None:
    root = DOCS.parent
    folders = [root / "plasm", *(root / "plugins" / name / "src" for name in ("provider", "trust"))]
    sources = " ".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for folder in folders for path in folder.rglob("*.py")
    )
    quoted = {"DHT: not running, mDNS: not running", "… cannot be read: No such file or directory"}
    rows = re.findall(r"^\| (.+?) \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    for phrase in (row for row in rows if row not in quoted and row != "it says" and not row.startswith("---")):
        for part in filter(None, (each.strip() for each in re.split("…", phrase))):
            assert part.removeprefix("NOT served, being changed") in sources, part


def test_every_path_of_the_api_stands_in_its_text() -> None:
    import json

    text = (DOCS / "provider-api.md").read_text()
    for path in json.loads((DOCS / "openapi.json").read_text())["paths"]:
        first = path.split("/")[1]
        assert f"`/{first}" in text or f"/{first.strip('{}').upper()}" in text, path
