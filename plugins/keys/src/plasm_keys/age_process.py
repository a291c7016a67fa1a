"""Encrypts or decrypts one age file with a passphrase: a program of its own, which ``plasm_keys.agefile`` runs.

It is a process because scrypt takes seconds and up to gigabytes, in which pyrage holds the interpreter's lock: the
caller's event loop goes on, cancelling ends the work at once, and what runs out of memory is not the caller.

Standard input: the length of the passphrase in UTF-8 as 4 bytes, most significant first; the passphrase; the data.
Standard output: the result.
"""

from __future__ import annotations

import resource
import sys
from typing import Final

LENGTH_BYTES: Final = 4
REFUSED: Final = 3
"""The exit code where age refuses the data: a wrong passphrase, or a file that was changed."""


def main(action: str) -> int:
    # No memory with the key in it is left on a disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    framed = sys.stdin.buffer.read()
    import pyrage  # type: ignore[import-untyped]
    import pyrage.passphrase  # type: ignore[import-untyped]

    end = LENGTH_BYTES + int.from_bytes(framed[:LENGTH_BYTES], "big")
    passphrase, data = framed[LENGTH_BYTES:end].decode(), framed[end:]
    try:
        if action == "encrypt":
            result = pyrage.passphrase.encrypt(data, passphrase, armored=True)
        else:
            result = pyrage.passphrase.decrypt(data, passphrase)
    except pyrage.DecryptError:
        return REFUSED
    sys.stdout.buffer.write(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
