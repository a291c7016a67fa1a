"""Noise, with py-libp2p's handshake and a transport phase of our own.

Source: the libp2p Noise specification (XX, 25519, ChaChaPoly, SHA-256; two-byte big-endian lengths). After the
handshake py-libp2p spends two socket reads, three checkpoints and several copies on a message; :class:`NoiseSession`
decrypts all complete messages of a buffer in one go.
"""

from __future__ import annotations

import re
from typing import Any, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.crypto.keys import KeyPair, PrivateKey, PublicKey
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.io.exceptions import ConnectionClosedError, IOException
from libp2p.peer.id import ID
from libp2p.security.exceptions import HandshakeFailure
from libp2p.security.noise.exceptions import NoiseFailure, PeerIDMismatchesPubkey
from libp2p.security.noise.transport import Transport
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from plasm.identity import InvalidIdentity, parse_peer_id
from plasm.ports import PeerId
from plasm_libp2p.wire import WireConnection

_ANSWERED = re.compile(r"remote_peer_id_from_pubkey=([1-9A-HJ-NP-Za-km-z]{1,64})")
LARGEST_PLAINTEXT = 65535 - 16
SMALLEST_PLAINTEXT = 12
"""The head of a Yamux frame: less is the rest of something larger, or sent to keep this side busy."""
MOST_AT_ONCE = 256
"""Messages that are decrypted before others may run."""
_SMALLEST_MESSAGE = 2 + SMALLEST_PLAINTEXT + 16


class NoiseSession(ISecureConn):
    """The transport phase: plaintext in ``received``, and writes that never block."""

    def __init__(self, wire: WireConnection, handshake: SecureSession, peer: PeerId) -> None:
        # The handshake's reader is the only holder of the keys that it agreed on.
        state = cast(Any, handshake.conn).noise_state.noise_protocol
        self._encrypt = ChaCha20Poly1305(state.cipher_state_encrypt.k).encrypt
        self._decrypt = ChaCha20Poly1305(state.cipher_state_decrypt.k).decrypt
        self._sent: int = state.cipher_state_encrypt.n
        self._taken: int = state.cipher_state_decrypt.n
        self._handshake = handshake
        self.wire = wire
        self.peer = peer
        self.is_initiator = wire.is_initiator
        self.received = bytearray()
        self.undersized = 0
        """Messages with less in them than :data:`SMALLEST_PLAINTEXT`, until whoever reads has charged them."""

    async def fill(self) -> None:
        """Wait for one more message at least, and append what is in it. Raises :exc:`ConnectionClosedError`."""
        sealed = self.wire.received
        while len(sealed) < 2 or len(sealed) < 2 + (sealed[0] << 8 | sealed[1]):
            await self.wire.fill()
        start, end, count = 0, len(sealed), 0
        try:
            with memoryview(sealed) as view:
                while end - start >= 2 and count < MOST_AT_ONCE:
                    stop = start + 2 + (view[start] << 8 | view[start + 1])
                    if stop > end:
                        break
                    nonce = b"\0\0\0\0" + self._taken.to_bytes(8, "little")
                    self.received += self._decrypt(nonce, view[start + 2 : stop], None)
                    self._taken += 1
                    self.undersized += stop - start < _SMALLEST_MESSAGE
                    start = stop
                    count += 1
        except (InvalidTag, ValueError):
            raise ConnectionClosedError("a message was not from this peer", transport="tcp") from None
        del sealed[:start]

    def send_nowait(self, data: bytes) -> None:
        """Encrypt and send. Raises :exc:`ConnectionClosedError`."""
        if len(data) <= LARGEST_PLAINTEXT:
            self.wire.send_nowait(self._seal(data))
        else:
            chunks = range(0, len(data), LARGEST_PLAINTEXT)
            self.wire.send_nowait(b"".join(self._seal(data[at : at + LARGEST_PLAINTEXT]) for at in chunks))

    def _seal(self, data: bytes) -> bytes:
        sealed = self._encrypt(b"\0\0\0\0" + self._sent.to_bytes(8, "little"), data, None)
        self._sent += 1
        return len(sealed).to_bytes(2, "big") + sealed

    async def read(self, n: int | None = None) -> bytes:
        while not self.received:
            await self.fill()
        data = bytes(self.received[:n])
        del self.received[:n]
        return data

    async def write(self, data: bytes) -> None:
        self.send_nowait(data)
        await self.wire.flush()

    async def close(self) -> None:
        self.wire.abort()

    def get_local_peer(self) -> ID:
        return self._handshake.get_local_peer()

    def get_local_private_key(self) -> PrivateKey:
        return self._handshake.get_local_private_key()

    def get_remote_peer(self) -> ID:
        return self._handshake.get_remote_peer()

    def get_remote_public_key(self) -> PublicKey:
        return self._handshake.get_remote_public_key()

    def get_remote_address(self) -> tuple[str, int]:
        return self.wire.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self.wire.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


class WrongPeer(HandshakeFailure):
    """Another peer than was dialed has proven that it is there."""

    def __init__(self, answered: str) -> None:
        super().__init__(f"{answered} answered")
        self.answered = answered


class NoiseSecurity(Transport):
    """The only security that is offered, and only between Ed25519 keys.

    ``new_host()`` of py-libp2p also takes ``/plaintext/2.0.0``, in which a peer is who it says it is.
    """

    def __init__(self, pair: KeyPair) -> None:
        # Noise's static key is made anew for every node and signed with the node's identity.
        super().__init__(pair, noise_privkey=create_x25519_key_pair().private_key)

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        try:
            return self._session(conn, await super().secure_inbound(conn))
        except (NoiseFailure, IOException, ValueError) as error:
            raise HandshakeFailure("the Noise handshake failed") from error

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        try:
            session = self._session(conn, await super().secure_outbound(conn, peer_id))
        except PeerIDMismatchesPubkey as error:
            # Before this side has said who it is. Who is there stands in the message alone.
            found = _ANSWERED.search(str(error))
            raise WrongPeer(found[1] if found else "another peer") from error
        except (NoiseFailure, IOException, ValueError) as error:
            raise HandshakeFailure("the Noise handshake failed") from error
        if session.get_remote_peer() != peer_id:
            raise WrongPeer(session.peer)
        return session

    def _session(self, conn: IRawConnection, handshake: ISecureConn) -> NoiseSession:
        if not isinstance(conn, WireConnection) or not isinstance(handshake, SecureSession):
            raise HandshakeFailure("not a connection of this transport")
        try:
            peer = parse_peer_id(handshake.get_remote_peer().to_base58())
        except InvalidIdentity as error:
            raise HandshakeFailure("the peer's key is not Ed25519") from error
        conn.proven()
        return NoiseSession(conn, handshake, peer)
