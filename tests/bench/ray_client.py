"""A client process of Ray: ``python -m tests.bench.ray_client ADDRESS NUMBER``; asked as the one of Plasm."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from tests.bench.bare import check
from tests.bench.conversing import requests, say
from tests.bench.ray_cluster import ENVIRONMENT, NAMESPACE, worker_name


def run_jobs(worker: Any, count: int) -> dict[str, Any]:
    """`count` jobs one after another, the output of each checked."""
    import ray

    latencies = []
    began = time.monotonic()
    for number in range(count):
        stdin = b"job %d" % number
        asked = time.monotonic()
        stdout = ray.get(worker.run.remote(stdin))
        latencies.append(time.monotonic() - asked)
        check(stdin, stdout)
    return {"began": began, "ended": time.monotonic(), "latencies": latencies}


def main(address: str, number: int) -> None:
    os.environ.update(ENVIRONMENT)
    import ray

    ray.init(address=address, namespace=NAMESPACE, configure_logging=False, log_to_driver=False)
    try:
        # Each client keeps to one worker, an actor, which is Ray's quickest way: a task is placed anew each time.
        worker = ray.get_actor(worker_name(number))
        say({"ready": True})
        for request in requests():
            say(run_jobs(worker, request["jobs"]))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
