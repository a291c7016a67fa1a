"""What every signer must do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio.to_thread
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plasm.identity import parse_peer_id, peer_id
from plasm.ports import Signer
from plasm.testing.suites.background import together

MakeSigner = Callable[[], AbstractAsyncContextManager[Signer]]

_MESSAGES = {
    "nothing": b"",
    "one byte": b"\0",
    "a line": b"Hello, World\n",
    "more than one block of SHA-512": bytes(range(256)) * 2,
    "a megabyte": b"plasm" * 200_000,
}


def _verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


class SignerSuite:
    """`make()` returns the async context manager of a signer, ready to sign."""

    pytestmark = pytest.mark.anyio

    async def test_its_public_key_is_32_bytes_and_stays_the_same(self, make: MakeSigner) -> None:
        async with make() as signer:
            first = signer.public_key
            assert isinstance(first, bytes), "public_key is bytes"
            assert len(first) == 32, f"public_key has 32 bytes; this one has {len(first)}"
            signer.sign(b"something")
            assert signer.public_key == first, "one signer is one key: public_key changed after signing"

    async def test_its_public_key_names_a_peer(self, make: MakeSigner) -> None:
        async with make() as signer:
            name = peer_id(signer.public_key)
            assert parse_peer_id(name) == name, "public_key is an Ed25519 key, which a peer ID can name"

    @pytest.mark.parametrize("what", sorted(_MESSAGES))
    async def test_its_signature_has_64_bytes_and_verifies(self, make: MakeSigner, what: str) -> None:
        message = _MESSAGES[what]
        async with make() as signer:
            signature = signer.sign(message)
            assert isinstance(signature, bytes), "sign returns bytes"
            assert len(signature) == 64, f"a signature has 64 bytes; that of {what} has {len(signature)}"
            assert _verifies(signer.public_key, signature, message), (
                f"sign returns the Ed25519 signature (RFC 8032) of the message; that of {what} does not verify"
            )

    async def test_its_signature_is_of_the_whole_message_and_of_no_other(self, make: MakeSigner) -> None:
        message = bytes(range(256)) * 8
        others = {
            "its last bit turned": message[:-1] + bytes([message[-1] ^ 1]),
            "its first bit turned": bytes([message[0] ^ 1]) + message[1:],
            "a byte more": message + b"\0",
            "a byte less": message[:-1],
            "half of it": message[: len(message) // 2],
            "nothing": b"",
        }
        async with make() as signer:
            signature = signer.sign(message)
            for how, other in others.items():
                assert not _verifies(signer.public_key, signature, other), (
                    f"a signature is of one message: that of a message verifies for the one with {how}"
                )
                assert signer.sign(other) != signature, (
                    f"the signature covers the whole message: the one with {how} got the same signature"
                )

    async def test_signing_the_same_again_gives_the_same_signature(self, make: MakeSigner) -> None:
        async with make() as signer:
            signatures = {signer.sign(b"again") for _ in range(3)}
            assert len(signatures) == 1, "Ed25519 signatures are deterministic (RFC 8032, 5.1.6)"

    async def test_signatures_do_not_verify_under_another_key(self, make: MakeSigner) -> None:
        message = b"whose?"
        async with make() as signer:
            other = bytearray(signer.public_key)
            other[0] ^= 1
            signature = signer.sign(message)
            assert not _verifies(bytes(other), signature, message), "a signature verifies under its own key alone"

    async def test_it_signs_from_several_threads_at_once(self, make: MakeSigner) -> None:
        async with make() as signer:
            signed: dict[bytes, bytes] = {}

            async def sign(message: bytes) -> None:
                signed[message] = await anyio.to_thread.run_sync(signer.sign, message)

            async with together() as group:
                for number in range(8):
                    group.start_soon(sign, b"message %d" % number)
            for message, signature in signed.items():
                assert _verifies(signer.public_key, signature, message), (
                    f"each caller gets the signature of its own message; {message!r} got another"
                )

    async def test_it_signs_in_milliseconds(self, make: MakeSigner) -> None:
        async with make() as signer:
            signer.sign(b"warm")
            took = []
            for _ in range(11):
                before = time.perf_counter()
                signer.sign(b"x" * 4096)
                took.append(time.perf_counter() - before)
            median = statistics.median(took)
            assert median < 0.05, f"sign takes milliseconds at most, for it is not async; here {median * 1000:.0f} ms"
