"""The loop of the node for tests of what happens in cells, and a reason where the engine is not installed."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """What holds in the cell holds whatever loop the node runs; tests of the node's side name both back ends."""
    return "trio"


@pytest.fixture
def engine() -> None:
    """Skips the test where there is no engine: it comes as source, and not every machine has a compiler."""
    if importlib.util.find_spec("wasm3") is None:
        pytest.skip("pywasm3 is not installed: PLASM_WASM3=1 has hatch test install it, with a C compiler")
