"""A client process of Ray: ``python -m tests.bench.ray_client ADDRESS NUMBER HOW``; asked as the one of Plasm.

HOW is ``tasks``, each of which Ray places on a worker as it comes, as Plasm and Dask do with theirs, or ``actors``: one
worker that was chosen beforehand, with nothing to decide for each job, which is the least that Ray can take.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.bench.bare import check, run_hello
from tests.bench.conversing import requests, say
from tests.bench.ray_cluster import ENVIRONMENT, NAMESPACE, worker_name


def run_jobs(submit: Callable[[bytes], Any], count: int) -> dict[str, Any]:
    """`count` jobs one after another, the output of each checked."""
    import ray

    latencies = []
    began = time.monotonic()
    for number in range(count):
        stdin = b"job %d" % number
        asked = time.monotonic()
        stdout = ray.get(submit(stdin))
        latencies.append(time.monotonic() - asked)
        check(stdin, stdout)
    return {"began": began, "ended": time.monotonic(), "latencies": latencies}


def main(address: str, number: int, how: str) -> None:
    os.environ.update(ENVIRONMENT)
    import ray

    ray.init(address=address, namespace=NAMESPACE, configure_logging=False, log_to_driver=False)
    try:
        submit: Callable[[bytes], Any]
        if how == "actors":
            submit = ray.get_actor(worker_name(number)).run.remote
        else:
            submit = ray.remote(num_cpus=1)(run_hello).remote
        say({"ready": True})
        for request in requests():
            say(run_jobs(submit, request["jobs"]))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
