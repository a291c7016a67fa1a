"""The loop of the node for tests of what happens in cells."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """What holds in the cell holds whatever loop the node runs; tests of the node's side name both back ends."""
    return "trio"
