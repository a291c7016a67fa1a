"""The child's end of a pipe of JSON lines: a request in, a reply out, until the parent closes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any


def say(document: dict[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(document), flush=True)


def requests() -> Iterator[dict[str, Any]]:
    """The parent's lines as they come; waits for them."""
    for line in sys.stdin:
        yield json.loads(line)
