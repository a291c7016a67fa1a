"""``python examples/programs NAME``: prints the path of a real program's module, which is built or fetched once."""

from __future__ import annotations

import sys

import interpreters
import packages
from sqlite import build as sqlite

PROGRAMS = {"sqlite": sqlite.module, "cpython": interpreters.cpython, "quickjs": interpreters.quickjs}


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in PROGRAMS:
        print(f"usage: python examples/programs {'|'.join(PROGRAMS)}", file=sys.stderr)
        return 2
    try:
        print(PROGRAMS[sys.argv[1]]())
    except (packages.Unreachable, packages.Altered) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
