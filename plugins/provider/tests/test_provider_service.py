"""The provider inside a node: ``plasm --plugins provider start``."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from plasm_provider.hooks import ProviderOptions, open_provider

from plasm.drivers import DriverUnavailable
from plasm.errors import PlasmError
from plasm.ports import Signer
from plasm.testing import FakeSigner, make_scope

from .conftest import KERNEL
from .machines import READY_SECONDS, Machine


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_node_hosts_it_beside_its_jobs_and_ends_it_with_itself(tmp_path: Path, port: int) -> None:
    folder = tmp_path / "artifacts" / "stable" / "x86_64"
    folder.mkdir(parents=True)
    (folder / "kernel").write_bytes(KERNEL)
    machine = Machine(tmp_path / "machine")
    machine.home.mkdir(mode=0o700)
    settings = {"artifacts": str(tmp_path / "artifacts"), "bind": "127.0.0.1", "port": port, "arch": "x86_64"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (machine.home / "config.toml").write_text("\n".join(["[service.provider]", *lines]) + "\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "plasm", "--plugins", "provider", "start", "--listen", "/ip4/127.0.0.1/tcp/0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=machine.environment,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready /ip4/127.0.0.1/")
        url = f"http://127.0.0.1:{port}/"
        for _ in range(200):
            status = machine("provider", "status", "--addr", url)
            if status.returncode == 0:
                break
        with urlopen(f"{url}stable/x86_64/kernel", timeout=20) as answer:
            assert answer.read() == KERNEL
        process.terminate()
        _, said = process.communicate(timeout=READY_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "service:provider" in said
    assert machine("provider", "status", "--addr", url).returncode == 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repository": "a", "mirror": True}, "exclude each other"),
        ({"repository": "a", "arch": "pdp11"}, "pdp11"),
        ({"repository": "a", "bind": "everywhere"}, "everywhere"),
    ],
)
async def test_options_that_cannot_be_are_refused(options: dict[str, object], said: str, tmp_path: Path) -> None:
    scope = make_scope(home=tmp_path, provided={Signer: FakeSigner(1)})
    with pytest.raises(DriverUnavailable, match=said):
        async with open_provider(scope, ProviderOptions(**options)):  # type: ignore[arg-type]
            pytest.fail("it was opened")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_mirror_without_a_root_says_which_option_names_one(tmp_path: Path) -> None:
    scope = make_scope(home=tmp_path, provided={Signer: FakeSigner(1)})
    options = ProviderOptions(mirror=True, mirror_from=("http://127.0.0.1:9/",), bind="127.0.0.1", port=0)
    with pytest.raises(PlasmError) as refused:
        async with open_provider(scope, options):
            pytest.fail("it was opened")
    assert refused.value.message == "no root of trust is pinned in this home"
    assert "[service.provider]" in refused.value.mend
