from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.hostile_modules.cells import Targets, targets_in


@pytest.fixture(scope="session", autouse=True)
def _bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hundreds of short processes share what the first of them compiled, wherever the tests run."""
    before = sys.dont_write_bytecode, sys.pycache_prefix
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(tmp_path_factory.mktemp("bytecode"))
    yield
    sys.dont_write_bytecode, sys.pycache_prefix = before


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    with targets_in(tmp_path_factory.mktemp("targets")) as targets:
        yield targets
