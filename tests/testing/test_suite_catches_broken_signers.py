"""Signers that break one promise each; SignerSuite must notice."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from plasm.testing import FakeSigner, SignerSuite

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One back end is enough: what is tried here is the suite."""
    return "trio"


class SignsAPrefix(FakeSigner):
    def sign(self, message):
        return super().sign(message[:64])


class SignsADigest(FakeSigner):
    def sign(self, message):
        return super().sign(hashlib.sha256(message).digest())


class ReturnsNoise(FakeSigner):
    def sign(self, message):
        return os.urandom(64)


class RemembersTheFirst(FakeSigner):
    first = b""

    def sign(self, message):
        self.first = self.first or super().sign(message)
        return self.first


class ReturnsTheMessageToo(FakeSigner):
    def sign(self, message):
        return super().sign(message) + message


class ChangesItsKey(FakeSigner):
    def sign(self, message):
        signature = super().sign(message)
        self.__init__(int.from_bytes(os.urandom(4), "big"))
        return signature


class ShowsAnothersKey(FakeSigner):
    @property
    def public_key(self):
        return FakeSigner(99).public_key


class ShowsAnEncodedKey(FakeSigner):
    @property
    def public_key(self):
        return bytes.fromhex("302a300506032b6570032100") + super().public_key


class MixesCallers(FakeSigner):
    def sign(self, message):
        self.message = message
        time.sleep(0.02)
        return super().sign(self.message)


class IsSlow(FakeSigner):
    def sign(self, message):
        time.sleep(0.1)
        return super().sign(message)


BROKEN = [
    (SignsAPrefix, "test_its_signature_is_of_the_whole_message_and_of_no_other", "whole message", {}),
    (SignsAPrefix, "test_its_signature_has_64_bytes_and_verifies", "does not verify", {"what": "a megabyte"}),
    (SignsADigest, "test_its_signature_has_64_bytes_and_verifies", "does not verify", {"what": "a line"}),
    (ReturnsNoise, "test_its_signature_has_64_bytes_and_verifies", "does not verify", {"what": "nothing"}),
    (ReturnsNoise, "test_signing_the_same_again_gives_the_same_signature", "deterministic", {}),
    (RemembersTheFirst, "test_its_signature_is_of_the_whole_message_and_of_no_other", "same signature", {}),
    (ReturnsTheMessageToo, "test_its_signature_has_64_bytes_and_verifies", "64 bytes", {"what": "one byte"}),
    (ChangesItsKey, "test_its_public_key_is_32_bytes_and_stays_the_same", "changed after signing", {}),
    (ShowsAnothersKey, "test_its_signature_has_64_bytes_and_verifies", "does not verify", {"what": "a line"}),
    (ShowsAnEncodedKey, "test_its_public_key_is_32_bytes_and_stays_the_same", "32 bytes", {}),
    (MixesCallers, "test_it_signs_from_several_threads_at_once", "its own message", {}),
    (IsSlow, "test_it_signs_in_milliseconds", "milliseconds", {}),
]


@pytest.mark.parametrize(("broken", "test", "promise", "arguments"), BROKEN)
async def test_a_signer_that_breaks_a_promise_fails(catches, makes, broken, test, promise, arguments) -> None:
    await catches(SignerSuite(), test, makes(broken), promise, **arguments)
