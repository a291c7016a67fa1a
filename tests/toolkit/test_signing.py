"""Opening signers by URI, and where their passphrases and PINs come from."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
import pytest

from plasm.drivers import Driver, DriverUnavailable, Options, Scope
from plasm.errors import PlasmError
from plasm.passphrases import NobodyToAsk, obtain_secret, secret_in_file
from plasm.ports import Signer, SignerError
from plasm.registry import Registry
from plasm.signing import create_signer, open_signer, scheme_of
from plasm.testing import make_scope
from tests.toolkit.conftest import Plugins, driver

pytestmark = pytest.mark.anyio


class VaultOptions(Options, frozen=True, kw_only=True):
    uri: str = ""
    create: Literal["never", "missing", "new"] = "never"

    def __post_init__(self) -> None:
        if self.uri.endswith("!"):
            raise ValueError("uri: expected no exclamation mark")


class Vault:
    """Keeps the keys that it was asked to make, and what it was opened with."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.scopes: list[Scope] = []
        self.events: list[str] = []

    @asynccontextmanager
    async def open(self, scope: Scope, options: VaultOptions) -> AsyncIterator[object]:
        self.scopes.append(scope)
        # As drivers do that have something to do while they are open: what they raise comes in groups.
        async with anyio.create_task_group():
            there = options.uri in self.keys
            if there and options.create == "new":
                raise SignerError("there is a key already")
            if not there and options.create == "never":
                raise SignerError("there is no key")
            self.keys.add(options.uri)
            self.events.append("open")
            try:
                yield self
            finally:
                self.events.append("close")


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def registry(plugins: Plugins, vault: Vault) -> Registry:
    @asynccontextmanager
    async def unavailable(scope: Scope, options: Options) -> AsyncIterator[Signer]:
        raise DriverUnavailable("it has no slot", "plug it in")
        yield

    @asynccontextmanager
    async def without_its_library(scope: Scope, options: Options) -> AsyncIterator[Signer]:
        raise ImportError("No module named 'card'")
        yield

    plugins.add(
        "plasm-vault",
        {
            "signer": [
                Driver(name="vault", open=vault.open, options=VaultOptions),
                Driver(name="file", open=vault.open, options=VaultOptions),
                Driver(name="card", open=unavailable, options=VaultOptions),
                Driver(name="torn", open=without_its_library, options=VaultOptions),
                Driver(name="needy", open=vault.open, options=VaultOptions, needs=frozenset({"store"})),
                driver("nameless"),
            ]
        },
    )
    plugins.add_missing("plasm-broken", "no_such_module")
    return plugins.registry()


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("file:/keys/a", "file"),
        ("encrypted:/keys/a", "encrypted"),
        ("pkcs11:token=a;object=b", "pkcs11"),
        ("/keys/a", "file"),
        ("a.key", "file"),
        ("./a:b", "file"),
        ("keys/a:b", "file"),
    ],
)
def test_the_scheme_names_the_signer_and_a_path_is_a_file(uri: str, scheme: str) -> None:
    assert scheme_of(uri) == scheme


@pytest.mark.parametrize("uri", ["", ":", ":/keys", "FILE:/keys", "a b:c", "a\nb", "a\0", "x" * 5000])
def test_what_is_no_uri_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(PlasmError) as caught:
        scheme_of(uri)
    assert str(caught.value).isprintable()


async def test_the_driver_gets_the_whole_uri(registry: Registry, vault: Vault) -> None:
    async with open_signer("vault:/one?two#three", registry=registry, create=True):
        assert vault.keys == {"vault:/one?two#three"}
    async with open_signer("/a/path", registry=registry, create=True):
        assert "/a/path" in vault.keys


async def test_a_key_is_made_only_where_that_is_asked_for(registry: Registry) -> None:
    with pytest.raises(SignerError, match="no key"):
        async with open_signer("vault:a", registry=registry):
            pass
    for _ in range(2):
        async with open_signer("vault:a", registry=registry, create=True):
            pass
    with pytest.raises(SignerError, match="already"):
        async with create_signer("vault:a", registry=registry):
            pass
    async with create_signer("vault:b", registry=registry), open_signer("vault:b", registry=registry):
        pass


async def test_the_signer_is_closed_when_the_block_ends_and_what_it_raises_comes_out(
    registry: Registry, vault: Vault
) -> None:
    with pytest.raises(ImportError, match="of the block"):
        async with open_signer("vault:a", registry=registry, create=True):
            raise ImportError("of the block")
    assert vault.events == ["open", "close"]


async def test_the_driver_gets_no_home_and_no_addresses(registry: Registry, vault: Vault) -> None:
    async with open_signer("vault:a", registry=registry, create=True):
        (scope,) = vault.scopes
        assert scope.home is None
        assert (scope.listen, scope.bootstrap) == ((), ())


async def test_the_prompt_is_asked_what_the_driver_asks(registry: Registry, vault: Vault) -> None:
    async with open_signer("vault:a", registry=registry, create=True, prompt=lambda question: f"{question}? 1234"):
        (scope,) = vault.scopes
        assert scope.ask is not None
        assert await scope.ask("PIN") == "PIN? 1234"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("vualt:a", ["no signer vualt is installed", "vault", "did you mean vault?"]),
        ("nameless:a", ["no keys that a URI could name"]),
        ("needy:a", ["no keys that a URI could name"]),
        ("card:a", ["signer:card", "no slot", "plug it in"]),
        ("torn:a", ["signer:torn", "No module named 'card'", "plasm-vault 1.0 anew"]),
        ("broken:a", ["signer:broken cannot be used", "plasm-broken"]),
        ("vault:a!", ["signer:vault", "no exclamation mark"]),
    ],
)
async def test_a_signer_that_cannot_be_had_is_told_with_what_helps(
    registry: Registry, uri: str, words: list[str]
) -> None:
    with pytest.raises(PlasmError) as caught:
        async with open_signer(uri, registry=registry):
            pass
    line = str(caught.value)
    assert all(word in line for word in words), line


async def test_what_is_installed_is_looked_for_where_no_registry_is_given(tmp_path: Path) -> None:
    uri = (tmp_path / "release.key").as_uri()
    async with open_signer(uri, create=True) as made:
        pass
    async with open_signer(uri) as signer:
        assert signer.public_key == made.public_key


def secret_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"secret", b"secret\n", b"secret\r\n", b"secret\nmore", b"\xef\xbb\xbfsecret\r\n"])
def test_a_secret_is_the_first_line_of_its_file(tmp_path: Path, content: bytes) -> None:
    assert secret_in_file(secret_file(tmp_path / "secret", content)) == "secret"


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"secret", 0o644, "chmod 600"),
        (b"secret", 0o620, "chmod 600"),
        (b"", 0o600, "empty"),
        (b"\nsecret", 0o600, "empty"),
        (b"s" * 1025, 0o600, "longer than 1024"),
        (b"secret\xff", 0o600, "not UTF-8"),
        ("sss\n".encode("utf-16"), 0o600, "UTF-16"),
        (b"\xef\xbb\xbf" + b"s" * 1025, 0o600, "longer than 1024"),
    ],
)
def test_a_file_that_holds_no_secret_or_shows_it_is_refused_and_not_quoted(
    tmp_path: Path, content: bytes, mode: int, reason: str
) -> None:
    with pytest.raises(SignerError, match=reason) as caught:
        secret_in_file(secret_file(tmp_path / "file", content, mode))
    assert str(caught.value).isprintable()
    assert "sss" not in str(caught.value)


def test_a_secret_may_be_shared_with_a_group(tmp_path: Path) -> None:
    assert secret_in_file(secret_file(tmp_path / "secret", b"secret", 0o440)) == "secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_secret_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path / "secret", b"secret")
    os.chown(path, 12345, -1)
    with pytest.raises(SignerError, match="another user"):
        secret_in_file(path)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "missing"):
        with pytest.raises(SignerError, match=str(path)):
            secret_in_file(path)


async def ask_twice(*answers: str) -> str:
    left = list(answers)

    async def ask(question: str) -> str:
        return left.pop(0)

    scope = Scope(home=None, allows=lambda ip: False, log=make_scope().log, ask=ask)
    return await obtain_secret(scope, "PIN", variable="PLASM_TEST_SECRET", twice=True)


async def test_a_new_secret_must_be_given_twice() -> None:
    assert await ask_twice("1234", "1234") == "1234"
    with pytest.raises(SignerError, match="differ"):
        await ask_twice("1234", "1243")


@pytest.mark.parametrize("answer", ["", "s" * 1025, "\udcff"])
async def test_an_answer_that_is_no_secret_is_refused_and_not_quoted(answer: str) -> None:
    with pytest.raises(SignerError) as caught:
        await ask_twice(answer)
    assert str(caught.value).isprintable()
    assert "sss" not in str(caught.value)


async def test_a_file_in_the_environment_comes_before_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASM_TEST_SECRET", str(secret_file(tmp_path / "secret", b"from the file")))
    assert await ask_twice() == "from the file"


async def test_where_nobody_can_be_asked_that_is_said() -> None:
    with pytest.raises(NobodyToAsk, match=r"the PIN is needed, .*PLASM_TEST_SECRET"):
        await obtain_secret(make_scope(), "PIN", variable="PLASM_TEST_SECRET")


ASKING = """
import os, sys, anyio
from plasm.passphrases import ask_on_terminal

os.open(sys.argv[2], os.O_RDWR)  # of a process that leads its session, the first terminal is the controlling one
try:
    print("answer:", anyio.run(ask_on_terminal, "PIN of \\x1b[2J", backend=sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted")
"""


class Terminal:
    """A terminal at which a program asks; its standard output is elsewhere."""

    def __init__(self, process: subprocess.Popen[str], main: int) -> None:
        self._process = process
        self._main = main

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._main)[3] & termios.ECHO)

    def read_until(self, end: str) -> str:
        shown = b""
        while not shown.endswith(end.encode()):
            ready, _, _ = select.select([self._main], [], [], 30)
            assert ready, f"the terminal shows {shown!r}"
            shown += os.read(self._main, 1024)
        return shown.decode()

    def type(self, text: bytes) -> None:
        os.write(self._main, text)

    def output(self) -> str:
        """What the program wrote to its standard output until it ended."""
        return self._process.communicate(timeout=30)[0]


@pytest.fixture
def terminal(anyio_backend: str) -> Iterator[Terminal]:
    main, side = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", ASKING, anyio_backend, os.ttyname(side)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield Terminal(process, main)
            finally:
                process.kill()
    finally:
        os.close(main)
        os.close(side)


def test_what_is_typed_at_the_terminal_is_not_shown(terminal: Terminal) -> None:
    assert terminal.echoes
    question = terminal.read_until(": ")
    assert question == r"PIN of \x1b[2J: "
    assert not terminal.echoes
    terminal.type(b"1234\n")
    assert terminal.read_until("\n").strip() == ""
    assert terminal.output() == "answer: 1234\n"
    assert terminal.echoes


def test_ctrl_c_ends_the_question_and_the_terminal_shows_again_what_is_typed(terminal: Terminal) -> None:
    terminal.read_until(": ")
    terminal.type(b"12\x03")
    assert terminal.output() == "interrupted\n"
    assert terminal.echoes


async def test_without_a_terminal_nobody_is_asked() -> None:
    asking = "import anyio; from plasm.passphrases import ask_on_terminal; anyio.run(ask_on_terminal, 'PIN')"
    ended = await anyio.run_process(
        [sys.executable, "-c", asking], start_new_session=True, stdin=subprocess.DEVNULL, check=False
    )
    assert b"NobodyToAsk: there is no terminal to ask at" in ended.stderr
