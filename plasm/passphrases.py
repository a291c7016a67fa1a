"""Passphrases and PINs: from a file that was named, or from a person at the terminal; never from an argument."""

from __future__ import annotations

import os
import stat
import termios
from codecs import BOM_UTF8
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from plasm.drivers import Scope
from plasm.errors import printable
from plasm.files import NotText, text_of
from plasm.ports import SignerError

LONGEST_SECRET: Final = 1024
"""Bytes of a passphrase or PIN in UTF-8, at most."""

_ANSWER_SECONDS = 300.0
_TERMINAL = "/dev/tty"
_OPEN_TO_OTHERS = 0o027
"""A group may read it: so do services that are given a secret see it."""


class NobodyToAsk(SignerError):
    """A secret is needed, and no person can be asked for it."""


async def obtain_secret(scope: Scope, question: str, *, variable: str, twice: bool = False) -> str:
    """The passphrase or PIN that `question` names ("passphrase of release.age").

    It is the first line of the file that the environment variable `variable` names, else what a person answers to
    ``scope.ask``; with `twice` a person must say the same again. Raises :exc:`NobodyToAsk`, or
    :exc:`SignerError` where the file cannot be used or the two answers differ.
    """
    named = os.environ.get(variable, "")
    if named:
        return await anyio.to_thread.run_sync(secret_in_file, Path(named))
    try:
        if scope.ask is None:
            raise NobodyToAsk("nobody can be asked here")
        answer = _checked(await scope.ask(question), question)
        if twice and await scope.ask(f"{question}, again") != answer:
            raise SignerError(f"the two answers differ, and nothing was made; give the {printable(question)} anew")
    except NobodyToAsk as error:
        mend = f"name a file that holds it in {variable}"
        raise NobodyToAsk(f"the {printable(question)} is needed, and {error}; {mend}") from None
    return answer


def secret_in_file(path: Path) -> str:
    """The first line of the file at `path`, without its line break.

    The file must be a regular one, of ours or root's, that nobody else may write and not everyone may read. Raises
    :exc:`SignerError`.
    """
    name = printable(str(path))
    try:
        # O_NONBLOCK: opening a FIFO that somebody put there must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_file(os.fstat(descriptor), name)
            line = os.read(descriptor, len(BOM_UTF8) + LONGEST_SECRET + 2).partition(b"\n")[0]
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SignerError(f"cannot read the secret in {name}: {reason}") from None
    try:
        text = text_of(line.rstrip(b"\r"))
    except NotText as error:
        raise SignerError(f"the secret in {name} cannot be read: {error}") from None
    return _checked(text, f"secret in {name}")


def _check_file(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SignerError(f"{name} is not a regular file; name one that holds the secret")
    if status.st_uid not in (os.geteuid(), 0):
        raise SignerError(f"{name} belongs to another user; chown {os.geteuid()} {name}")
    if stat.S_IMODE(status.st_mode) & _OPEN_TO_OTHERS:
        raise SignerError(f"{name} is open to other users; chmod 600 {name}")


async def ask_on_terminal(question: str) -> str:
    """What a person types at the controlling terminal, which does not show it.

    Ends at once when cancelled, and the terminal then shows again what is typed. Raises :exc:`NobodyToAsk` where there
    is no terminal, and :exc:`SignerError` where nobody answers within five minutes.
    """
    try:
        terminal = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise NobodyToAsk("there is no terminal to ask at") from None
    try:
        with anyio.fail_after(_ANSWER_SECONDS):
            return await _read_silently(terminal, question)
    except TimeoutError:
        raise SignerError(f"nobody gave the {printable(question)} within {_ANSWER_SECONDS:.0f} seconds") from None
    except termios.error as error:
        raise SignerError(f"cannot ask for the {printable(question)} on the terminal: {error.args[-1]}") from None
    finally:
        os.close(terminal)


async def _read_silently(terminal: int, question: str) -> str:
    shown = termios.tcgetattr(terminal)
    silent = [*shown]
    silent[3] = (shown[3] & ~termios.ECHO) | termios.ICANON
    # TCSAFLUSH: what was typed before the question is no answer to it.
    termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
    typed = b""
    try:
        os.write(terminal, f"{printable(question)}: ".encode())
        while not typed.endswith(b"\n") and len(typed) <= LONGEST_SECRET:
            await anyio.wait_readable(terminal)
            if not (piece := os.read(terminal, LONGEST_SECRET + 1)):
                break
            typed += piece
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, shown)
        os.write(terminal, b"\n")
    try:
        return typed.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise SignerError(f"the {printable(question)} that was typed is not UTF-8") from None


def _checked(secret: str, what: str) -> str:
    if not secret:
        raise SignerError(f"the {printable(what)} is empty")
    try:
        length = len(secret.encode())
    except UnicodeEncodeError:
        # As above: the message would quote the secret.
        raise SignerError(f"the {printable(what)} cannot be written in UTF-8") from None
    if length > LONGEST_SECRET:
        raise SignerError(f"the {printable(what)} is longer than {LONGEST_SECRET} bytes")
    return secret
