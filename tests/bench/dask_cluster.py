"""The yardstick: a process that hosts Dask's ``LocalCluster``, two worker processes, until its parent lets go of it."""

from __future__ import annotations

from distributed import LocalCluster

from tests.bench.conversing import requests, say

WORKERS = 2


def main() -> None:
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        say({"address": cluster.scheduler_address})
        for _ in requests():
            pass


if __name__ == "__main__":
    main()
