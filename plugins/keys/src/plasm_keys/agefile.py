"""Small files that a passphrase locks: age with its scrypt recipient, in ASCII armor.

Source: https://age-encryption.org/v1 (C2SP).
"""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
import sys
from typing import Final

import anyio

from plasm.files import NotText, text_of
from plasm.ports import SignerError
from plasm_keys.age_process import LENGTH_BYTES, REFUSED
from plasm_keys.private_file import KeyRefused

MAX_FILE_BYTES: Final = 4096
"""A key in PEM, locked and armored, has about 500 bytes."""

MAX_WORK_FACTOR: Final = 22
"""The base-2 logarithm of scrypt's N, at most: as the age program has it. 22 takes 4 GiB of memory for some seconds."""

_SECONDS = 120.0
_BINARY = b"age-encryption.org/"
_ARMOR = re.compile(rb"-----BEGIN AGE ENCRYPTED FILE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END AGE ENCRYPTED FILE-----\s*")
_SCRYPT_HEADER = re.compile(rb"age-encryption\.org/v1\n-> scrypt [A-Za-z0-9+/]{22} ([1-9][0-9]?)\n")


async def lock(data: bytes, passphrase: str) -> bytes:
    """`data` as an age file that `passphrase` opens; takes a few seconds of another process.

    Raises :exc:`SignerError`.
    """
    return await _age("encrypt", data, passphrase)


async def unlock(file: bytes, passphrase: str, name: str) -> bytes:
    """What is in the age file `file`, which messages call `name`; takes a few seconds of another process.

    What it costs is checked before. Raises :exc:`KeyRefused` for a wrong passphrase and for what is not an age file
    with one, and :exc:`SignerError`.
    """
    check_header(file, name)
    return await _age("decrypt", file, passphrase, name)


def readable(file: bytes, name: str) -> bytes:
    """`file` without the byte order mark that an editor may have put before its armor. Raises :exc:`KeyRefused`."""
    if file.startswith(_BINARY):
        return file
    try:
        return text_of(file).encode()
    except NotText as error:
        raise KeyRefused(f"{name} is not an age file: {error}") from None


def check_header(file: bytes, name: str) -> None:
    """Raises :exc:`KeyRefused` where `file` is not locked with a passphrase, or asks for too much work."""
    header = _SCRYPT_HEADER.match(_without_armor(file))
    if header is None:
        raise KeyRefused(f"{name} is not an age file with a passphrase; restore it from a backup")
    if (factor := int(header[1])) > MAX_WORK_FACTOR:
        raise KeyRefused(
            f"{name} asks for a scrypt work factor of {factor}, and {MAX_WORK_FACTOR} is the most; lock it anew: "
            "age -d FILE | age -p -a -o NEW"
        )


def _without_armor(file: bytes) -> bytes:
    armored = _ARMOR.fullmatch(file)
    if armored is None:
        return file
    try:
        return base64.b64decode(re.sub(rb"[\r\n]", b"", armored[1]), validate=True)
    except binascii.Error:
        return b""


async def _age(action: str, data: bytes, passphrase: str, name: str = "the key") -> bytes:
    secret = passphrase.encode()
    try:
        with anyio.fail_after(_SECONDS):
            # -P: no module of the folder that happens to be the current one is imported.
            ended = await anyio.run_process(
                [sys.executable, "-P", "-m", "plasm_keys.age_process", action],
                input=len(secret).to_bytes(LENGTH_BYTES, "big") + secret + data,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
            )
    except TimeoutError:
        raise SignerError(f"age did not {action} {name} within {_SECONDS:.0f} seconds; try a faster machine") from None
    except (OSError, anyio.BrokenResourceError) as error:
        reason = getattr(error, "strerror", None) or "it ended at once"
        raise SignerError(f"cannot run age to {action} {name}: {reason}") from error
    if ended.returncode == REFUSED:
        raise KeyRefused(f"the passphrase does not open {name}, or the file was changed; try again, or a backup")
    if ended.returncode != 0:
        last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"it ended with {ended.returncode}"
        raise SignerError(f"age could not {action} {name} ({last[:200]}); it may lack memory")
    return ended.stdout
