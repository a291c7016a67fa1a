from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's doing; which examples are tried is the same on each one.
settings.register_profile("plasm", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plasm")

LONG = ("tests/soak/test_a_minute.py", "tests/programs/test_programs.py", "tests/e2e/")
"""Where the tests are that take longest: they begin first, so that no process is left with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: next((rank for rank, path in enumerate(LONG) if item.nodeid.startswith(path)), len(LONG))
    )
