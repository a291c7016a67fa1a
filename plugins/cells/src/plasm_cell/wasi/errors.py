"""Error numbers of preview 1 (witx ``errno``), those that this layer returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SUCCESS: Final = 0
BADF: Final = 8
BUSY: Final = 10
EXIST: Final = 20
FAULT: Final = 21
FBIG: Final = 22
ILSEQ: Final = 25
INVAL: Final = 28
ISDIR: Final = 31
LOOP: Final = 32
MFILE: Final = 33
NAMETOOLONG: Final = 37
NODEV: Final = 43
NOENT: Final = 44
NOSPC: Final = 51
NOSYS: Final = 52
NOTDIR: Final = 54
NOTEMPTY: Final = 55
NOTSOCK: Final = 57
PERM: Final = 63
SPIPE: Final = 70
NOTCAPABLE: Final = 76

NAMES: Final[Mapping[int, str]] = {
    number: name.lower() for name, number in list(globals().items()) if name.isupper() and isinstance(number, int)
}
"""Number → the name in the witx."""


class Failure(Exception):
    """What the guest asked cannot be done; it gets the error number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
