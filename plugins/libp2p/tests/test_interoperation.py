"""Our Noise session and Yamux talk with py-libp2p's own, in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.kad_dht import provider_store
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr
from plasm_libp2p.kademlia import KAD
from plasm_libp2p.lookup import record_key

from plasm.ports import CapabilityTopic, PeerId

pytestmark = pytest.mark.anyio
SIZES = [1, 1000, 70_000, 700_000]


@asynccontextmanager
async def stock_host() -> AsyncIterator[Any]:
    """A host as py-libp2p makes it, with Noise and its own Yamux."""
    pair = create_new_key_pair()
    noise = NoiseTransport(pair, noise_privkey=create_x25519_key_pair().private_key)
    host = new_host(key_pair=pair, sec_opt={NOISE: noise})
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        try:
            yield host
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await host.close()


async def stock_echo(stream: INetStream) -> None:
    try:
        while data := await stream.read(65536):
            await stream.write(data)
    except StreamEOF:
        await stream.close()


@pytest.mark.parametrize("size", SIZES)
async def test_we_dial_py_libp2p(net: Any, size: int) -> None:
    async with stock_host() as host, net.transport(()) as client:
        host.set_stream_handler(net.ECHO, stock_echo)
        peer = PeerId(host.get_id().to_base58())
        with anyio.fail_after(20):
            stream = await client.open_stream(peer, [str(address) for address in host.get_addrs()], net.ECHO)
            received = b""
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stream.send, b"z" * size)
                while len(received) < size:
                    received += await stream.receive(2**20)
            await stream.send_eof()
            assert await stream.receive() == b""
            assert received == b"z" * size


@pytest.mark.parametrize("size", SIZES)
async def test_py_libp2p_dials_us(net: Any, size: int) -> None:
    async with stock_host() as host, net.echoing() as server:
        with anyio.fail_after(20):
            await host.connect(info_from_p2p_addr(Multiaddr(server.addresses[0])))
            stream = await host.new_stream(server.host.get_id(), [net.ECHO])
            received = b""
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stream.write, b"z" * size)
                while len(received) < size:
                    received += await stream.read(65536)
            assert received == b"z" * size
            await stream.close()


async def test_py_libp2p_finds_providers_through_our_node(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its name of the protocol is a constant.
    monkeypatch.setattr(provider_store, "PROTOCOL_ID", KAD)
    key = record_key("/phase/capability/x86_64/wasmtime")
    async with stock_host() as host, net.node() as (server, _), net.node(bootstrap=server.addresses) as (one, dht):
        stock = KadDHT(host, DHTMode.SERVER)
        async with background_trio_service(stock), anyio.create_task_group() as tasks:

            async def advertise(*, task_status: Any) -> None:
                topic = CapabilityTopic("x86_64", "wasmtime")
                await dht.advertise(topic, lambda: one.addresses, {}, task_status=task_status)

            await tasks.start(advertise)
            await host.connect(info_from_p2p_addr(Multiaddr(server.addresses[0])))
            await stock.add_peer(server.host.get_id())
            with anyio.fail_after(10):
                while not (found := await stock.provider_store.find_providers(key)):  # noqa: ASYNC110
                    await anyio.sleep(0.1)
            assert {info.peer_id for info in found} == {one.host.get_id()}
            tasks.cancel_scope.cancel()
