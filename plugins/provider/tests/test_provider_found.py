"""A provider is found by who looks for it, on the link and in the DHT, and is gone when it has ended."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from zeroconf import ServiceBrowser, ServiceStateChange, Zeroconf

from .conftest import KERNEL, PATIENCE
from .machines import READY_SECONDS, Machine

SERVICE = "_phase-image._tcp.local."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    (folder / "nightly" / "x86_64").mkdir(parents=True)
    (folder / "nightly" / "x86_64" / "kernel").write_bytes(KERNEL)
    return folder


def test_it_is_announced_by_dns_sd_with_what_is_needed_and_takes_that_back(tmp_path, folder) -> None:
    added, removed = threading.Event(), threading.Event()
    texts: dict[str, dict[bytes, bytes | None]] = {}
    wanted: list[str] = []

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Removed and name in texts:
            removed.set()
        elif state_change is not ServiceStateChange.Removed:
            info = zeroconf.get_service_info(service_type, name, timeout=3000)
            if info is not None and info.properties.get(b"channel") == b"nightly":
                texts[name] = dict(info.properties)
                wanted.append(str(info.port))
                added.set()

    machine = Machine(tmp_path / "machine")
    zeroconf = Zeroconf(interfaces=["127.0.0.1"])
    try:
        browser = ServiceBrowser(zeroconf, SERVICE, handlers=[changed])
        command = ["serve", "--artifacts", folder, "--no-dht", "--channel", "nightly", "--arch", "x86_64"]
        with machine.provides(*command, advertises=True) as provider:
            assert added.wait(READY_SECONDS)
            code, said = provider.stop()
        assert code == 0
        assert "mDNS: running" in said
        assert removed.wait(PATIENCE)
        browser.cancel()
    finally:
        zeroconf.close()
    (text,) = texts.values()
    port = provider.url.rstrip("/").rpartition(":")[2]
    assert (text[b"channel"], text[b"arch"], text[b"http_port"]) == (b"nightly", b"x86_64", port.encode())
    assert text[b"version"] == b"1"
    assert set(wanted) == {port}


def test_it_is_found_in_the_dht_by_who_asks_a_peer(tmp_path, folder) -> None:
    machine, looking = Machine(tmp_path / "machine"), Machine(tmp_path / "looking")
    command = ["serve", "--artifacts", folder, "--no-mdns", "--channel", "nightly", "--arch", "x86_64", "--json"]
    with machine.provides(*command, "--listen", "/ip4/127.0.0.1/tcp/0", advertises=True) as provider:
        said = json.loads(provider.first_line)
        (address,) = said["p2p"]
        found = looking(
            *("phase-discover", "--plugins", "dht", "--channel", "nightly", "--arch", "x86_64"),
            *("--bootstrap", address, "--timeout", 30, "--format", "json"),
        )
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["manifest_url"] == f"{said['urls'][0]}nightly/x86_64/manifest.json"
    assert document["key"] == "/phase/nightly/x86_64/manifest"
    assert address.endswith(document["peer_id"])
