"""The signer ``pkcs11`` with keys in SoftHSM's tokens."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, ObjectClass
from plasm_pkcs11.hooks import Pkcs11Options, check_module, open_pkcs11
from plasm_pkcs11.keys import raw_point
from plasm_pkcs11.modules import acquire, find_module, release
from plasm_pkcs11.signer import KeyInToken

from plasm.drivers import DriverUnavailable, Scope
from plasm.passphrases import NobodyToAsk
from plasm.ports import Signer, SignerError

from .conftest import PIN, SoftHsm

pytestmark = pytest.mark.anyio

URI = "pkcs11:token=release;object=root"


class Person:
    """Gives the answers that it was told to give, and writes down what it was asked."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, question: str) -> str:
        self.asked.append(question)
        return self._answers.pop(0)


def scope(ask: Callable[[str], Awaitable[str]] | None = None) -> Scope:
    return Scope(home=None, allows=lambda ip: False, log=logging.getLogger("test"), ask=ask)


def opened(uri: str = URI, create: str = "never", *, person: Person | None = None, module: str = "") -> Any:
    options = Pkcs11Options(uri=uri, create=create, module=module)  # type: ignore[arg-type]
    return open_pkcs11(scope(person or Person(PIN)), options)


async def make(uri: str = URI) -> bytes:
    """The public key of the new key `uri`."""
    async with opened(uri, "new") as signer:
        return signer.public_key


async def refusal(uri: str = URI, create: str = "never", *, person: Person | None = None, module: str = "") -> str:
    """The one line with which opening is refused."""
    with pytest.raises(SignerError) as caught:
        async with opened(uri, create, person=person, module=module):
            pass
    line = str(caught.value)
    assert line.isprintable()
    assert PIN not in line
    return line


def verify(signer: Signer, message: bytes = b"message") -> None:
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signer.sign(message), message)


@contextmanager
def other_program(label: str = "release") -> Iterator[Any]:
    """A session with the token, as somebody else's program has it."""
    module = acquire(find_module())
    try:
        with module.library.get_token(token_label=label).open(rw=True, user_pin=PIN) as session:
            yield session
    finally:
        release(module)


def secret_file(path: Path, secret: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(f"{secret}\n")
    return path


async def test_a_key_is_made_and_opened_again(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    made = await make()
    async with opened() as signer:
        assert signer.public_key == made
        verify(signer)


async def test_a_new_key_cannot_leave_its_token(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    await make()
    with other_program() as session:
        (private,) = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        assert private[Attribute.SENSITIVE]
        assert private[Attribute.ALWAYS_SENSITIVE]
        assert private[Attribute.NEVER_EXTRACTABLE]
        with pytest.raises(pkcs11.AttributeSensitive):
            private[Attribute.VALUE]


async def test_a_missing_key_stays_missing_and_the_command_that_makes_it_is_named(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    assert (await refusal()).endswith(f"plasm key generate '{URI}'")
    with other_program() as session:
        assert list(session.get_objects({})) == []


async def test_a_key_that_is_there_is_never_made_anew(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    made = await make()
    assert "already" in await refusal(create="new")
    async with opened(create="missing") as signer:
        assert signer.public_key == made


async def test_a_new_key_needs_a_name(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    assert "object=KEY" in await refusal("pkcs11:token=release;id=%01", "missing")


async def test_a_wrong_pin_is_tried_once(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    await make()
    person = Person("000000", PIN)
    assert "PIN is wrong" in await refusal(person=person)
    assert person.asked == ["PIN of the token 'release'"]


async def test_after_a_wrong_pin_none_is_taken_from_a_file_until_a_right_one_was_given_by_hand(
    softhsm: SoftHsm, tmp_path: Path
) -> None:
    softhsm.add_token()
    await make()
    wrong, right = secret_file(tmp_path / "wrong", "000000"), secret_file(tmp_path / "right", PIN)
    assert "PIN is wrong" in await refusal(f"{URI}?pin-source=file:{wrong}")
    line = await refusal(f"{URI}?pin-source=file:{right}")
    assert line.endswith(f"give it by hand: plasm key show '{URI}'")
    async with opened():
        pass
    async with opened(f"{URI}?pin-source=file:{right}", person=Person()) as signer:
        verify(signer)


async def test_the_pin_is_taken_from_the_file_that_the_environment_names(
    softhsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    softhsm.add_token()
    monkeypatch.setenv("PLASM_PIN_FILE", str(secret_file(tmp_path / "pin", PIN)))
    async with opened(create="new", person=Person()) as signer:
        verify(signer)


async def test_where_nobody_can_be_asked_the_variable_that_helps_is_named(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    with pytest.raises(NobodyToAsk, match="PLASM_PIN_FILE"):
        async with open_pkcs11(scope(), Pkcs11Options(uri=URI)):
            pass


async def test_a_token_that_is_not_there_is_told_with_those_that_are(softhsm: SoftHsm) -> None:
    softhsm.add_token("another")
    person = Person()
    assert "there: 'another'" in await refusal(person=person)
    assert person.asked == []


async def test_of_two_tokens_with_one_name_the_serial_number_says_which(softhsm: SoftHsm) -> None:
    first, second = softhsm.add_token(), softhsm.add_token()
    assert "2 tokens fit" in await refusal(create="new")
    made = {serial: await make(f"{URI};serial={serial}") for serial in (first, second)}
    for serial, public_key in made.items():
        async with opened(f"{URI};serial={serial}") as signer:
            assert signer.public_key == public_key


async def test_of_two_keys_with_one_name_the_id_says_which(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    made = {key_id: await make(f"{URI};id={key_id}") for key_id in ("%01", "%02")}
    assert "has 2 keys 'root'" in await refusal()
    for key_id, public_key in made.items():
        async with opened(f"pkcs11:token=release;id={key_id}") as signer:
            assert signer.public_key == public_key
            verify(signer)


async def test_a_key_of_another_kind_is_refused(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    with other_program() as session:
        session.generate_keypair(pkcs11.KeyType.RSA, 1024, label="root", store=True)
    assert "not an Ed25519 key" in await refusal()


async def test_a_key_without_its_public_key_is_refused(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    await make()
    with other_program() as session:
        for public in list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY})):
            public.destroy()
    assert "no public key" in await refusal()


async def test_another_keys_public_key_is_never_taken_for_its_own(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    made = await make(f"{URI};id=%01")
    await make("pkcs11:token=release;object=other;id=%02")
    with other_program() as session:
        (public,) = list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: "other"}))
        public[Attribute.ID] = b"\1"
    async with opened(f"{URI};id=%01") as signer:
        assert signer.public_key == made


async def test_a_key_that_may_leave_its_token_is_told(softhsm: SoftHsm, caplog: pytest.LogCaptureFixture) -> None:
    softhsm.add_token()
    with other_program() as session:
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: bytes.fromhex("06032b6570")}, local=True
        )
        template = {Attribute.EXTRACTABLE: True}
        parameters.generate_keypair(id=b"\1", label="root", store=True, private_template=template)
    async with opened() as signer:
        verify(signer)
    assert "may let the key 'root' out" in caplog.text


async def test_a_token_that_is_gone_is_told_in_one_line_and_closed_in_order(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    async with opened(create="new") as signer:
        await anyio.to_thread.run_sync(softhsm.delete_token, "release")
        with pytest.raises(SignerError, match="gone") as caught:
            signer.sign(b"message")
        assert str(caught.value).isprintable()
    assert "no token fits" in await refusal()


async def test_signers_on_one_token_share_its_login_until_the_last_is_closed(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    await make()
    nobody = Person()
    async with opened() as first:
        async with opened("pkcs11:token=release;object=other", "new", person=nobody) as second:
            verify(first)
            verify(second)
        verify(first)
    assert nobody.asked == []
    person = Person(PIN)
    async with opened(person=person):
        assert len(person.asked) == 1


async def test_a_closed_signer_signs_nothing(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    async with opened(create="new") as first, opened() as second:
        pass
    for signer in (first, second):
        with pytest.raises(SignerError, match="closed"):
            signer.sign(b"message")


async def test_two_signers_on_one_token_sign_from_many_threads(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    async with opened(create="new") as first, opened() as second, anyio.create_task_group() as group:
        for number in range(16):
            group.start_soon(anyio.to_thread.run_sync, verify, (first, second)[number % 2], b"%d" % number)


async def test_cancelling_while_the_pin_is_asked_for_leaves_nothing_open(softhsm: SoftHsm) -> None:
    softhsm.add_token()
    made = await make()
    asked = anyio.Event()

    async def ask(question: str) -> str:
        asked.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def open_it() -> None:
        async with open_pkcs11(scope(ask), Pkcs11Options(uri=URI)):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(open_it)
        await asked.wait()
        group.cancel_scope.cancel()
    async with opened() as signer:
        assert signer.public_key == made


async def test_no_secret_is_shown_or_logged(softhsm: SoftHsm, caplog: pytest.LogCaptureFixture) -> None:
    softhsm.add_token()
    caplog.set_level(logging.DEBUG)
    async with opened(create="new") as signer:
        said = f"{signer!r} {vars(signer)!r} {caplog.text}"
    assert isinstance(signer, KeyInToken)
    assert PIN not in said


async def test_without_a_uri_there_is_no_key() -> None:
    with pytest.raises(DriverUnavailable) as caught:
        async with open_pkcs11(scope(), Pkcs11Options()):
            pass
    assert "pkcs11:token=TOKEN;object=KEY" in caught.value.mend


@pytest.mark.parametrize("way", ["uri", "option", "environment"])
async def test_the_module_is_named_by_the_uri_an_option_or_the_environment(
    softhsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    missing = str(tmp_path / "missing.so")
    named = {"uri": "", "option": "", "environment": "", way: missing}
    monkeypatch.setenv("PLASM_PKCS11_MODULE", named["environment"])
    uri = f"{URI}?module-path={named['uri']}" if named["uri"] else URI
    with pytest.raises(DriverUnavailable, match=r"missing\.so"):
        async with opened(uri, module=named["option"]):
            pass


def test_the_check_passes_where_a_module_can_be_loaded(softhsm: SoftHsm) -> None:
    check_module()


def test_a_file_that_is_no_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.so").write_bytes(b"\x7fELF, not really")
    monkeypatch.setenv("PLASM_PKCS11_MODULE", str(tmp_path / "module.so"))
    with pytest.raises(DriverUnavailable, match=r"module\.so cannot be used"):
        check_module()


def test_a_module_that_others_can_change_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.so").touch()
    (tmp_path / "module.so").chmod(0o666)
    monkeypatch.setenv("PLASM_PKCS11_MODULE", str(tmp_path / "module.so"))
    with pytest.raises(DriverUnavailable, match="changed by other users") as caught:
        check_module()
    assert "chmod go-w" in caught.value.mend


@pytest.mark.parametrize("named", ["module.so", "/nonexistent/module.so", "/"])
def test_a_module_that_is_not_there_is_told_with_what_helps(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("PLASM_PKCS11_MODULE", named)
    with pytest.raises(DriverUnavailable) as caught:
        check_module()
    assert caught.value.mend


def test_without_any_module_the_package_that_brings_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLASM_PKCS11_MODULE", raising=False)
    monkeypatch.setattr("plasm_pkcs11.modules.SOFTHSM", ())
    with pytest.raises(DriverUnavailable) as caught:
        check_module()
    assert "apt-get install softhsm2" in caught.value.mend


def test_a_module_that_is_not_configured_is_told(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", str(softhsm.folder / "missing.conf"))
    with pytest.raises(DriverUnavailable) as caught:
        check_module()
    assert "SOFTHSM2_CONF" in caught.value.mend
    monkeypatch.setenv("SOFTHSM2_CONF", str(softhsm.folder / "softhsm2.conf"))
    check_module()


@pytest.mark.parametrize("wrapping", [b"", b"\x04\x20", b"\x03\x21\x00"])
def test_a_public_key_is_read_however_the_token_wraps_it(wrapping: bytes) -> None:
    point = bytes(range(32))
    assert raw_point(wrapping + point) == point


@pytest.mark.parametrize("encoded", [b"", bytes(31), bytes(33), bytes(34), b"\x04\x39" + bytes(57)])
def test_what_is_no_ed25519_public_key_is_not_taken_for_one(encoded: bytes) -> None:
    assert raw_point(encoded) is None


def test_the_command_makes_and_shows_a_key(softhsm: SoftHsm, tmp_path: Path) -> None:
    softhsm.add_token()
    environ = {
        **os.environ,
        "PLASM_HOME": str(tmp_path / "home"),
        "PLASM_PIN_FILE": str(secret_file(tmp_path / "pin", PIN)),
    }

    def plasm(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "plasm", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    made = plasm("key", "generate", URI)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("12D3Koo")
    assert plasm("key", "show", URI).stdout == made.stdout
    again = plasm("key", "generate", URI)
    assert again.returncode == 125
    assert "already" in again.stderr
