from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def catches() -> Callable[..., Awaitable[None]]:
    """Runs one test of a suite with a broken driver, and demands that it fails for the promise that is broken."""

    async def catches(suite: Any, test: str, make: Any, promise: str, **arguments: Any) -> None:
        suite.patience = 0.3
        with pytest.raises(AssertionError, match=promise):
            await getattr(suite, test)(make, **arguments)

    return catches


@pytest.fixture
def makes() -> Callable[..., Any]:
    """Turns an object, or what makes one, into the `make` of a suite."""

    def makes(factory: Callable[..., Any]) -> Any:
        @asynccontextmanager
        async def make(*args: Any, **kwargs: Any):
            yield factory(*args, **kwargs)

        return make

    return makes
