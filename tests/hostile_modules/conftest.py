from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.children import shared_bytecode
from tests.hostile_modules.cells import Targets, targets_in

__all__ = ["shared_bytecode", "targets"]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    with targets_in(tmp_path_factory.mktemp("targets")) as targets:
        yield targets
