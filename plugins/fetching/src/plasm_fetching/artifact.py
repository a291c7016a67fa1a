"""What is fetched: one file that a publisher signed, with the digests that prove it."""

from __future__ import annotations

from dataclasses import dataclass

PIECE_BYTES = 4 * 2**20
"""Of a piece, unless its publisher says otherwise; the last one is as long as what is left."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file by its size and digests, all of which come from signed metadata and never from who serves it."""

    path: str
    """The TUF target path: ``stable/x86_64/kernel``."""
    size: int
    """Bytes."""
    sha256: str
    """64 lower-case hexadecimal digits."""
    pieces: tuple[str, ...] = ()
    """The SHA-256 (hexadecimal) of each piece in order; empty where only the whole digest is known."""
    piece_bytes: int = PIECE_BYTES
    kind: str = ""
    """``kernel``, ``initramfs``, ``rootfs``, ``dtb``."""
    version: str = ""
    cmdline: str = ""
    """The kernel's command line, where the publisher set one."""
