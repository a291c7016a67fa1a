"""The defects of py-libp2p that would stop a release, each shown to be handled with real sockets."""

from __future__ import annotations

import errno
import socket
from typing import Any

import anyio
import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.peer.id import ID
from libp2p.security.noise.messages import NoiseHandshakePayload, make_handshake_payload_sig
from libp2p.security.noise.patterns import PatternXX
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from plasm_libp2p.wire import WireConnection

from plasm.identity import peer_id
from plasm.ports import DialFailed, Stream, StreamBroken, TransportError

pytestmark = pytest.mark.anyio


def delimited(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode() + b"\n"


async def read_delimited(stream: trio.SocketStream) -> str:
    data = b""
    while not data.endswith(b"\n"):
        piece = await stream.receive_some(1)
        if not piece:
            return "closed"
        data += piece
    return data[1:-1].decode()


async def wire_to(address: str) -> WireConnection:
    stream = await trio.open_tcp_stream("127.0.0.1", int(address.split("/")[4]))
    return WireConnection(socket.socket(fileno=stream.socket.detach()), initiator=True)


@pytest.mark.parametrize("security", ["/plaintext/2.0.0", "/secio/1.0.0", "/tls/1.0.0"])
async def test_whoever_wants_to_be_believed_without_proof_is_refused(net: Any, security: str) -> None:
    async with net.echoing() as server, net.transport(()) as honest:
        stream = await trio.open_tcp_stream("127.0.0.1", net.port(server.addresses[0]))
        async with stream:
            await stream.send_all(delimited("/multistream/1.0.0") + delimited(security))
            with anyio.fail_after(5):
                assert await read_delimited(stream) == "/multistream/1.0.0"
                assert await read_delimited(stream) == "na"
        await net.answers(honest, server)


async def test_only_noise_and_only_yamux_are_offered(net: Any) -> None:
    async with net.transport() as server:
        upgrader = server.swarm.upgrader
        assert list(upgrader.security_multistream.transports) == [NOISE]
        assert list(upgrader.muxer_multistream.transports) == ["/yamux/1.0.0"]


async def test_a_handshake_that_shows_a_key_without_its_signature_is_refused(net: Any) -> None:
    victim, thief = create_new_key_pair(b"v" * 32), create_new_key_pair(b"t" * 32)

    class Stolen(PatternXX):
        def make_handshake_payload(self, extensions: Any = None) -> NoiseHandshakePayload:
            static = self.noise_static_key.get_public_key()
            return NoiseHandshakePayload(victim.public_key, make_handshake_payload_sig(thief.private_key, static))

    async with net.echoing() as server, net.transport(()) as honest:
        wire = await wire_to(server.addresses[0])
        await wire.write(delimited("/multistream/1.0.0") + delimited("/noise"))
        with anyio.fail_after(5):
            answer = delimited("/multistream/1.0.0") + delimited("/noise")
            while len(wire.received) < len(answer):
                await wire.fill()
            del wire.received[: len(answer)]
            static = create_x25519_key_pair().private_key
            pattern = Stolen(ID.from_pubkey(thief.public_key), thief.private_key, static)
            await pattern.handshake_outbound(wire, server.host.get_id())
            # Our side is content; theirs is not, and says so by closing.
            with pytest.raises(Exception, match=r"closed|broke"):
                while True:
                    await wire.fill()
                    wire.received.clear()
        wire.abort()
        assert ID.from_pubkey(victim.public_key) not in server.swarm.connections
        await net.answers(honest, server)


async def test_a_dialer_is_not_fooled_by_a_handshake_without_the_victims_key(net: Any) -> None:
    victim = create_new_key_pair(b"v" * 32)

    class Impostor(NoiseTransport):
        def get_pattern(self) -> PatternXX:
            class Stolen(PatternXX):
                def make_handshake_payload(self, extensions: Any = None) -> NoiseHandshakePayload:
                    static = self.noise_static_key.get_public_key()
                    return NoiseHandshakePayload(
                        victim.public_key, make_handshake_payload_sig(self.libp2p_privkey, static)
                    )

            return Stolen(self.local_peer, self.libp2p_privkey, self.noise_privkey)

    async with net.echoing() as impostor, net.transport(()) as client:
        handlers = impostor.swarm.upgrader.security_multistream.transports
        handlers[NOISE] = Impostor(create_new_key_pair(), create_x25519_key_pair().private_key)
        name = peer_id(victim.public_key.to_bytes())
        pretended = impostor.addresses[0].rpartition("/p2p/")[0] + f"/p2p/{name}"
        with pytest.raises(DialFailed), anyio.fail_after(10):
            await client.open_stream(name, [pretended], net.ECHO)


async def test_a_peer_that_is_not_who_the_address_names_is_refused(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        other = peer_id(net.signer().public_key)
        address = server.addresses[0].rpartition("/p2p/")[0] + f"/p2p/{other}"
        with pytest.raises(DialFailed):
            await client.open_stream(other, [address], net.ECHO)
        await net.answers(client, server)


async def test_an_honest_peer_is_served_after_three_hundred_connections_one_after_another(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        for _ in range(300):
            connection = await client.swarm.dial(server.host.get_id(), server.addresses)
            connection.shut()
        async with net.transport(()) as honest:
            await net.answers(honest, server)
            await net.eventually(lambda: server.swarm.get_total_connections() == 1)


async def test_a_handler_that_raises_costs_its_stream_alone(net: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(stream: Stream) -> None:
        await stream.receive()
        raise RuntimeError("a bug")

    async with net.echoing() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/fails/1", fails)
        kept = await client.open_stream(server.peer, server.addresses, net.ECHO)
        for _ in range(3):
            stream = await client.open_stream(server.peer, (), "/phase/fails/1")
            await stream.send(b"x")
            with pytest.raises(StreamBroken), anyio.fail_after(5):
                await stream.receive()
        await kept.send(b"still here")
        assert await kept.receive() == b"still here"
        tasks.cancel_scope.cancel()
    assert sum("/phase/fails/1" in record.getMessage() for record in caplog.records) == 3


async def test_a_handler_of_the_library_that_raises_does_not_end_the_node(net: Any) -> None:
    async def fails(stream: Any) -> None:
        raise RuntimeError("a bug")

    async with net.echoing() as server, net.transport(()) as client:
        server.host.set_stream_handler("/not/ours/1", fails)
        with pytest.raises((DialFailed, StreamBroken)), anyio.fail_after(5):
            stream = await client.open_stream(server.peer, server.addresses, "/not/ours/1")
            await stream.receive()
        await net.answers(client, server)


async def test_a_port_is_free_again_once_its_node_is_closed(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        port = net.port(server.addresses[0])
        await net.answers(client, server)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
    for _ in range(2):
        async with net.echoing(listen=(f"/ip4/127.0.0.1/tcp/{port}",)) as again, net.transport(()) as client:
            assert net.port(again.addresses[0]) == port
            await net.answers(client, again)


async def test_two_nodes_never_share_a_port_in_silence(net: Any) -> None:
    async with net.transport() as server:
        port = net.port(server.addresses[0])
        with pytest.raises(TransportError, match="cannot listen"):
            async with net.transport((f"/ip4/127.0.0.1/tcp/{port}",)):
                pass


async def test_a_seed_never_leaves_its_signer(net: Any) -> None:
    signer = net.signer()
    async with net.echoing(signer=signer) as server, net.transport(()) as client:
        await net.answers(client, server)
        with pytest.raises(NotImplementedError):
            server.host.get_private_key().to_bytes()
        assert any(message.startswith(b"noise-libp2p-static-key:") for message in signer.signed)
        assert server.peer == peer_id(signer.public_key)
