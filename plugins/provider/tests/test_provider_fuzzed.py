"""Fuzzed requests; the soak sends 10,000."""

from __future__ import annotations

import logging

import pytest

from plugins.provider.tests.fuzzing import fuzz


def test_no_request_gets_what_it_should_not(served, downloading, caplog: pytest.LogCaptureFixture) -> None:
    with downloading(served):
        fuzz(served.host, served.port, 200)
    assert served.get("/health").status == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
