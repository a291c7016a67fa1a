"""The other yardstick: a process that hosts Ray with two processors, for tasks and for two actors, until it is let go.

``python -m tests.bench.ray_cluster FOLDER``; what Ray writes goes below FOLDER.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

from tests.bench.bare import run_hello
from tests.bench.conversing import requests, say

WORKERS = 2
NAMESPACE = "bench"
_OBJECT_STORE_BYTES = 80 << 20
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
"""It calls nobody, and loopback needs no token."""


class Worker:
    """An actor; it compiles the module with its first job and keeps it."""

    def run(self, stdin: bytes) -> bytes:
        return run_hello(stdin)


def main(folder: str) -> None:
    if importlib.util.find_spec("ray") is None:
        say({"unavailable": "it is not installed"})
        return
    os.environ.update(ENVIRONMENT, PYTHONPATH=os.getcwd())
    import ray

    context: Any = ray.init(
        num_cpus=WORKERS,
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        namespace=NAMESPACE,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    try:
        # On the class itself and not on the one of __main__: workers import it by its name.
        from tests.bench.ray_cluster import Worker as Imported

        # They take no processor from the tasks: never do both run at once.
        make: Any = ray.remote(num_cpus=0)(Imported)
        workers = [make.options(name=worker_name(number)).remote() for number in range(WORKERS)]
        ray.get([worker.run.remote(b"ready") for worker in workers])
        say({"address": context.address_info["address"]})
        for _ in requests():
            pass
    finally:
        ray.shutdown()


def worker_name(number: int) -> str:
    return f"worker-{number % WORKERS}"


if __name__ == "__main__":
    main(sys.argv[1])
