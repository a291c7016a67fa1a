"""The fixtures of every test with a :class:`~tests.jobs.world.World`; a folder's conftest imports them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.world import World

__all__ = ["anyio_backend", "reconnects_at_once", "world"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(autouse=True)
def reconnects_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plasm.jobs.reconnecting._RECONNECT_FIRST_SECONDS", 0.01)
