"""The job that is measured does what it is held to."""

from __future__ import annotations

import pytest

from tests.bench.bare import WrongResult, bare_jobs, check, run_hello


def test_bare_wasmtime_runs_the_example() -> None:
    assert run_hello(b"plasm") == b"msalp"
    assert run_hello(b"") == b"dlroW ,olleH"


def test_each_job_is_timed() -> None:
    latencies = bare_jobs(5)
    assert len(latencies) == 5
    assert all(0 < seconds < 5 for seconds in latencies)


def test_another_jobs_output_is_refused() -> None:
    with pytest.raises(WrongResult, match="job 2"):
        check(b"job 2", b"1 boj")
