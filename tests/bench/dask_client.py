"""A client process of Dask: ``python -m tests.bench.dask_client ADDRESS NUMBER``; asked as the one of Plasm."""

from __future__ import annotations

import sys
import time
from typing import Any

from distributed import Client

from tests.bench.bare import check, run_hello
from tests.bench.conversing import requests, say


def run_jobs(client: Client, count: int) -> dict[str, Any]:
    """`count` jobs one after another, the output of each checked."""
    latencies = []
    began = time.monotonic()
    for number in range(count):
        stdin = b"job %d" % number
        asked = time.monotonic()
        stdout = client.submit(run_hello, stdin, pure=False).result()
        latencies.append(time.monotonic() - asked)
        check(stdin, stdout)
    return {"began": began, "ended": time.monotonic(), "latencies": latencies}


def main(address: str) -> None:
    with Client(address) as client:  # type: ignore[no-untyped-call]
        say({"ready": True})
        for request in requests():
            say(run_jobs(client, request["jobs"]))


if __name__ == "__main__":
    main(sys.argv[1])
