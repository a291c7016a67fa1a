"""Every command of docs/keys-and-rotation.md is run as it stands, each on the machine of its owner."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from plasm_fetching.http import Absent
from plasm_trust.client import TrustClient, pin
from plasm_trust.published import Published

TEXT = (Path(__file__).parents[3] / "docs/keys-and-rotation.md").read_text()
BLOCKS = re.findall(r"^```sh\n# (\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


class Machines:
    """A folder for each, in which its owner works; nothing in it is named by the others' commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stick = folder / "stick"
        self.stick.mkdir()
        (folder / "passphrase").write_text("correct horse battery staple\n")
        (folder / "pin").write_text("314159\n")
        for secret in ("passphrase", "pin"):
            (folder / secret).chmod(0o600)

    def run(self, owner: str, commands: str) -> str:
        own = self.folder / owner
        if not own.exists():
            (own / "tokens").mkdir(parents=True)
            (own / "softhsm2.conf").write_text(f"directories.tokendir = {own}/tokens\nlog.level = ERROR\n")
            (own / "vmlinuz").write_bytes(b"a kernel")
            (own / "initrd.img").write_bytes(b"files")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PLASM")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "STICK": str(self.stick),
            "PLASM_HOME": str(own / "home"),
            "PLASM_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "PLASM_PIN_FILE": str(self.folder / "pin"),
            "SOFTHSM2_CONF": str(own / "softhsm2.conf"),
        }
        done = subprocess.run(
            ["sh", "-e", "-c", commands],
            cwd=own,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == 0, f"{owner}: {commands}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def test_the_text_has_no_command_that_is_not_run() -> None:
    assert len(BLOCKS) == TEXT.count("```sh\n")
    assert {owner for owner, _ in BLOCKS} == {"Alice", "Bob", "Carol", "Dora"}


def test_three_people_publish_renew_rotate_and_revoke_and_clients_follow(machines: Machines) -> None:
    versions: list[dict[str, int]] = []
    published = machines.folder / "Alice/boot"
    client = machines.folder / "client"

    def read(url: str, max_bytes: int) -> bytes:
        try:
            return Published.load(published).metadata[url.rpartition("/")[2]]
        except KeyError:
            raise Absent(url) from None

    for owner, commands in (block for block in BLOCKS if block[0] != "Dora"):
        machines.run(owner, commands)
        if not (published / "metadata/timestamp.json").exists():
            continue
        now = dict(Published.load(published).versions)
        if not versions or now != versions[-1]:
            versions.append(now)
            pin(client, (published / "metadata/1.root.json").read_bytes())
            trust = TrustClient(client, read, now=lambda: datetime.now(UTC))
            trust.refresh("http://provider/")
            if now["stable"] > 1:
                assert trust.artifact("stable/x86_64/kernel").cmdline == "console=ttyS0"
    assert versions[0] == {"root": 1, "targets": 1, "stable": 1, "snapshot": 1, "timestamp": 1}
    last = versions[-1]
    assert (last["root"], last["targets"], last["stable"]) == (4, 4, 4)


@pytest.mark.skipif(shutil.which("softhsm2-util") is None, reason="softhsm2 is not installed")
def test_keys_in_a_token_sign_what_a_client_believes(machines: Machines) -> None:
    said = [machines.run(owner, commands) for owner, commands in BLOCKS if owner == "Dora"]
    assert "beta 2" in said[-1]
    published = Published.load(machines.folder / "Dora/hard")
    assert published.versions["stable"] == 2
    assert ("stable", "x86_64") in published.manifests
