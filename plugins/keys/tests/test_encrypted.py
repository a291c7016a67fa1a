"""The signer ``encrypted``: keys in age files that a passphrase opens."""

from __future__ import annotations

import base64
import logging
import os
import stat
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil
import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from plasm_keys import agefile, keyfile
from plasm_keys.hooks import EncryptedOptions, open_encrypted

from plasm.drivers import DriverUnavailable, Scope
from plasm.passphrases import NobodyToAsk
from plasm.ports import SignerError

pytestmark = pytest.mark.anyio

PASSPHRASE = "correct horse battery staple"

Lock = Callable[..., bytes]


class Person:
    """Gives the answers that it was told to give, and writes down what it was asked."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, question: str) -> str:
        self.asked.append(question)
        return self._answers.pop(0)


def scope(ask: Callable[[str], Awaitable[str]] | None = None, home: Path | None = None) -> Scope:
    return Scope(home=home, allows=lambda ip: False, log=logging.getLogger("test"), ask=ask)


def options(path: Path, create: str = "never") -> EncryptedOptions:
    return EncryptedOptions(uri=f"encrypted:{path}", create=create)  # type: ignore[arg-type]


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def locked(tmp_path: Path, key: Ed25519PrivateKey, lock_cheaply: Lock) -> Path:
    return write(tmp_path / "release.age", lock_cheaply(keyfile.pem_of(key)))


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes | bytearray) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


@dataclass
class Made:
    path: Path
    public_key: bytes
    asked: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A key made as users make one: scrypt at full strength takes seconds, so it is made once."""
    path = tmp_path_factory.mktemp("made") / "keys" / "release.age"
    person = Person(PASSPHRASE, PASSPHRASE)

    async def make() -> bytes:
        async with open_encrypted(scope(person), options(path, "new")) as signer:
            return signer.public_key

    old = os.umask(0)
    try:
        return Made(path, anyio.run(make), person.asked)
    finally:
        os.umask(old)


def test_a_new_key_is_readable_by_its_owner_alone_and_the_only_file_left(made: Made) -> None:
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    assert os.listdir(made.path.parent) == [made.path.name]


def test_the_passphrase_of_a_new_key_is_asked_for_twice(made: Made) -> None:
    first, second = made.asked
    assert str(made.path) in first
    assert second == f"{first}, again"


def test_a_new_key_is_an_age_file_whose_passphrase_opens_the_key_as_openssl_takes_it(made: Made) -> None:
    assert made.path.read_bytes().startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    pem = pyrage.passphrase.decrypt(made.path.read_bytes(), PASSPHRASE)
    public = keyfile.KeyInMemory(keyfile.parse_pem(pem, "it")).public_key
    assert public == made.public_key


async def test_a_key_that_another_program_locked_is_opened_by_one_question(
    locked: Path, key: Ed25519PrivateKey
) -> None:
    person = Person(PASSPHRASE)
    async with open_encrypted(scope(person), options(locked)) as signer:
        key.public_key().verify(signer.sign(b"message"), b"message")
    assert person.asked == [f"passphrase of {locked}"]


@pytest.mark.parametrize("marked", [False, True], ids=["", "byte order mark"])
async def test_an_armored_key_opens_too(
    marked: bool, tmp_path: Path, key: Ed25519PrivateKey, lock_cheaply: Lock
) -> None:
    lines = textwrap.wrap(base64.b64encode(lock_cheaply(keyfile.pem_of(key))).decode(), 64)
    armored = "\n".join(["-----BEGIN AGE ENCRYPTED FILE-----", *lines, "-----END AGE ENCRYPTED FILE-----", ""])
    path = write(tmp_path / "release.age", b"\xef\xbb\xbf" * marked + armored.encode())
    async with open_encrypted(scope(Person(PASSPHRASE)), options(path)) as signer:
        key.public_key().verify(signer.sign(b"message"), b"message")


async def test_the_passphrase_is_taken_from_the_file_that_the_environment_names(
    locked: Path, key: Ed25519PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASM_PASSPHRASE_FILE", str(write(tmp_path / "passphrase", f"{PASSPHRASE}\n".encode())))
    person = Person()
    async with open_encrypted(scope(person), options(locked)) as signer:
        key.public_key().verify(signer.sign(b"message"), b"message")
    assert person.asked == []


async def test_where_nobody_can_be_asked_the_variable_that_helps_is_named(locked: Path) -> None:
    with pytest.raises(NobodyToAsk, match="PLASM_PASSPHRASE_FILE"):
        async with open_encrypted(scope(), options(locked)):
            pass


async def refusal(path: Path, ask: Person, create: str = "never") -> str:
    """The one line with which opening `path` is refused."""
    with pytest.raises(SignerError) as caught:
        async with open_encrypted(scope(ask), options(path, create)):
            pass
    line = str(caught.value)
    assert "\n" not in line
    assert PASSPHRASE not in line
    return line


async def test_a_wrong_passphrase_is_tried_once_and_refused(locked: Path) -> None:
    person = Person("guess", PASSPHRASE)
    assert "passphrase does not open" in await refusal(locked, person)
    assert len(person.asked) == 1


@pytest.mark.parametrize("part", ["salt", "body", "mac", "payload"])
async def test_a_file_that_was_changed_is_refused(locked: Path, part: str) -> None:
    data = bytearray(read(locked))
    stanza, body, mac = data.index(b"-> scrypt "), data.index(b"\n", data.index(b"-> ")) + 1, data.index(b"--- ")
    offset = {"salt": stanza + 10, "body": body, "mac": mac + 4, "payload": len(data) - 1}[part]
    data[offset] = ord("A") if data[offset] != ord("A") else ord("B")
    write(locked, data)
    assert "the file was changed" in await refusal(locked, Person(PASSPHRASE))


async def test_a_file_that_was_cut_short_is_refused(locked: Path) -> None:
    write(locked, read(locked)[:-1])
    assert "the file was changed" in await refusal(locked, Person(PASSPHRASE))


async def test_a_huge_file_is_refused_before_anybody_is_asked(locked: Path) -> None:
    os.truncate(locked, 2**40)
    person = Person(PASSPHRASE)
    assert "too large" in await refusal(locked, person)
    assert person.asked == []


async def test_too_much_work_is_refused_before_anybody_is_asked(tmp_path: Path, lock_cheaply: Lock) -> None:
    path = write(tmp_path / "release.age", lock_cheaply(b"", factor=23))
    person = Person(PASSPHRASE)
    assert "work factor of 23" in await refusal(path, person)
    assert person.asked == []


async def test_what_is_locked_to_a_recipient_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    recipient = pyrage.x25519.Identity.generate().to_public()
    path = write(tmp_path / "release.age", pyrage.encrypt(b"secret", [recipient]))
    person = Person(PASSPHRASE)
    assert "not an age file with a passphrase" in await refusal(path, person)
    assert person.asked == []


async def test_what_is_locked_and_is_no_key_is_refused_without_being_shown(tmp_path: Path, lock_cheaply: Lock) -> None:
    path = write(tmp_path / "release.age", lock_cheaply(b"a precious secret"))
    assert "precious" not in await refusal(path, Person(PASSPHRASE))


async def test_a_key_that_others_may_read_is_refused(locked: Path) -> None:
    os.chmod(locked, 0o644)
    assert "chmod 600" in await refusal(locked, Person(PASSPHRASE))


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda rest: b"age-encryption.org/v1\n-> scrypt " + rest))
def test_arbitrary_bytes_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(keyfile.KeyRefused) as caught:
        agefile.check_header(data, "it")
    assert "\n" not in str(caught.value)


async def test_a_missing_key_stays_missing_and_the_command_that_makes_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "the release key.age"
    with pytest.raises(keyfile.KeyMissing) as caught:
        async with open_encrypted(scope(Person()), options(path)):
            pass
    assert str(caught.value).endswith(f"plasm key generate 'encrypted:{path}'")
    assert os.listdir(tmp_path) == []


async def test_nothing_is_made_where_the_two_answers_differ(tmp_path: Path) -> None:
    assert "differ" in await refusal(tmp_path / "new.age", Person("one", "another"), "missing")
    assert os.listdir(tmp_path) == []


async def test_nothing_is_made_with_an_empty_passphrase(tmp_path: Path) -> None:
    assert "empty" in await refusal(tmp_path / "new.age", Person("", ""), "new")
    assert os.listdir(tmp_path) == []


async def test_a_key_that_is_there_is_never_made_anew(locked: Path, key: Ed25519PrivateKey) -> None:
    before = read(locked)
    assert "already" in await refusal(locked, Person(PASSPHRASE, PASSPHRASE), "new")
    assert read(locked) == before
    async with open_encrypted(scope(Person(PASSPHRASE)), options(locked, "missing")) as signer:
        key.public_key().verify(signer.sign(b"message"), b"message")


async def test_without_a_uri_the_key_is_in_the_home_and_without_a_home_there_is_none(
    tmp_path: Path, key: Ed25519PrivateKey, lock_cheaply: Lock
) -> None:
    write(tmp_path / "identity.age", lock_cheaply(keyfile.pem_of(key)))
    async with open_encrypted(scope(Person(PASSPHRASE), tmp_path), EncryptedOptions()) as signer:
        key.public_key().verify(signer.sign(b"message"), b"message")
    with pytest.raises(DriverUnavailable):
        async with open_encrypted(scope(Person(PASSPHRASE)), EncryptedOptions()):
            pass


async def test_cancelling_leaves_no_process_at_work(tmp_path: Path, lock_cheaply: Lock) -> None:
    path = write(tmp_path / "release.age", lock_cheaply(b"", factor=20))
    here = psutil.Process()

    async def open_it() -> None:
        async with open_encrypted(scope(Person(PASSPHRASE)), options(path)):
            pass

    before = set(here.children())

    def at_work() -> set[psutil.Process]:
        return {each for each in set(here.children()) - before if each.memory_info().rss > 64 * 2**20}

    async with anyio.create_task_group() as group:
        group.start_soon(open_it)
        while not (started := at_work()):  # noqa: ASYNC110 (no event tells)
            await anyio.sleep(0.005)
        group.cancel_scope.cancel()
    assert not any(each.is_running() for each in started)


async def test_no_secret_is_shown_or_logged(
    locked: Path, key: Ed25519PrivateKey, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    chosen = options(locked)
    async with open_encrypted(scope(Person(PASSPHRASE)), chosen) as signer:
        said = f"{signer!r} {signer} {chosen!r} {caplog.text} {capfd.readouterr()}"
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    assert not any(secret in said for secret in (PASSPHRASE, seed.hex(), repr(seed)))
