from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PIN = "314159"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class SoftHsm:
    """SoftHSM with tokens of its own, in a folder that goes with the test."""

    folder: Path

    def add_token(self, label: str = "release") -> str:
        """Make a token with the user PIN `PIN`; its serial number."""
        before = set(self._tokens())
        _softhsm("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "so-secret")
        (folder,) = set(self._tokens()) - before
        # SoftHSM names the folder by a UUID, and the token by the end of it.
        return folder.name.replace("-", "")[16:]

    def delete_token(self, label: str) -> None:
        _softhsm("--delete-token", "--token", label)

    def _tokens(self) -> list[Path]:
        return list((self.folder / "tokens").iterdir())


def _softhsm(*arguments: str) -> None:
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    if shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2-util is not installed: apt-get install softhsm2")
    for name in ("PLASM_PIN_FILE", "PLASM_PKCS11_MODULE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "softhsm"
    (folder / "tokens").mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
    return SoftHsm(folder)
