"""``phase-discover``: over real mDNS and a real DHT on loopback, and with ways of looking that do not work."""

from __future__ import annotations

import json
import secrets
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

CONFIG = """
[discovery.mdns]
interfaces = ["{interface}"]
"""

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture
def channel() -> str:
    """One that no other test, and no other run of the tests on this machine, uses."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def place(machine: Any) -> Any:
    """A machine whose mDNS is on loopback alone."""
    machine.home.mkdir(mode=0o700)
    (machine.home / "config.toml").write_text(CONFIG.format(interface="lo"))
    return machine


async def run(machine: Any, *arguments: str | Path, program: str = "phase-discover", patch: str = "") -> Any:
    return await anyio.to_thread.run_sync(partial(machine, program, *arguments, patch=patch))


@pytest.fixture
def image(tmp_path: Path, serve: Any, channel: str, make_publisher: Any) -> tuple[Any, Any]:
    """A publisher of the test's channel, and a provider of what it has published."""
    from datetime import UTC, datetime

    publisher = make_publisher(tmp_path / "repository", 40, datetime.now(UTC), channel)
    publisher.publish({f"{channel}/x86_64/kernel": b"a kernel"})
    return publisher, serve(publisher.folder)


async def test_a_provider_is_found_by_mdns_and_by_the_dht_and_counted_once(
    place: Any, image: tuple[Any, Any], channel: str, announced: Any
) -> None:
    url = f"{image[1].base_url}{channel}/x86_64/manifest.json"
    async with announced(channel, image[1].port) as address:
        done = await run(place, "-c", channel, "-b", address, "-f", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["key"] == f"/phase/{channel}/x86_64/manifest"
    assert said["manifest_url"] == url
    assert said["peer_id"] == address.rpartition("/")[2]
    assert said["provider_count"] == 1


async def test_what_is_found_can_be_fetched_and_nothing_else_need_be_named(
    place: Any, image: tuple[Any, Any], channel: str, announced: Any
) -> None:
    publisher, provider = image
    async with announced(channel, provider.port, dht=False):
        done = await run(place, "--discover", "-c", channel, "--root", publisher.root, "--json", program="phase-fetch")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["providers"] == [provider.base_url]
    assert (place.folder / "kernel").read_bytes() == b"a kernel"


async def test_the_dht_alone_finds_it_too_and_the_result_is_one_line_for_a_shell(
    place: Any, image: tuple[Any, Any], channel: str, announced: Any
) -> None:
    async with announced(channel, image[1].port, mdns=False) as address:
        done = await run(place, "--plugins", "dht", "-c", channel, "-b", address, "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"MANIFEST_URL={image[1].base_url}{channel}/x86_64/manifest.json\n"


async def test_a_node_that_has_the_home_is_not_in_the_way_and_no_key_is_left(
    place: Any, image: tuple[Any, Any], channel: str, announced: Any
) -> None:
    from plasm.home import Home

    with Home(place.home).lock():
        before = sorted(place.home.rglob("*"))
        async with announced(channel, image[1].port, dht=False):
            done = await run(place, "--ephemeral", "-c", channel)
        assert done.returncode == 0, done.stderr
        assert sorted(place.home.rglob("*")) == before


@pytest.mark.parametrize(
    ("mdns", "patch"),
    [(False, ""), (True, "import sys; sys.modules['libp2p.host.basic_host'] = None")],
    ids=["no mDNS", "no libp2p"],
)
async def test_one_way_of_looking_that_does_not_work_here_does_not_keep_from_the_other(
    place: Any, image: tuple[Any, Any], channel: str, announced: Any, mdns: bool, patch: str
) -> None:
    if not mdns:
        (place.home / "config.toml").write_text(CONFIG.format(interface="none0"))
    async with announced(channel, image[1].port, mdns=mdns, dht=not mdns) as address:
        done = await run(place, "-c", channel, "-b", address, patch=patch)
    assert done.returncode == 0, done.stderr
    assert "cannot be opened" in done.stderr


async def test_where_there_is_nobody_it_says_where_it_looked_and_exits_1(place: Any, channel: str) -> None:
    done = await run(place, "-c", channel, "-t", "0.2", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)["error"]
    assert (said["code"], "mdns and dht" in said["message"], "-b ADDR" in said["mend"]) == (1, True, True)


@pytest.mark.parametrize(
    "arguments",
    [["-t", "0"], ["-c", "../stable"], ["-a", "riscv"], ["-b", "127.0.0.1:4001"], ["-f", "xml"]],
    ids=" ".join,
)
def test_wrong_usage(same_process: Any, arguments: list[str]) -> None:
    assert same_process("phase-discover", *arguments).returncode == 2
