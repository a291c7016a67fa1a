"""``plasm serve`` beside Debian's nginx: the same files on loopback, read by clients that cost nearly nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import psutil

from plasm.host import architecture
from tests.bench.amounts import Amounts
from tests.bench.figures import Report, Rounds, percentile
from tests.bench.nginx import nginx
from tests.bench.processes import ROOT, START_SECONDS, Child, ChildFailed, child, home

_LARGE = 512 * 2**20
_QUICK = 128 * 2**20
_MANY = 50
_TIMES = 4
_DOWNLOADS = 20
_HEALTH_REQUESTS = 1000
_SLOW_RATE = 16 * 1024
_SLOW_SECONDS = 3.0
_SECONDS = 120.0
_CLIENT = ROOT / "tests/bench/providing_client.py"


async def measure_providing(amounts: Amounts, folder: Path, report: Report) -> None:
    """Raises :exc:`ChildFailed`."""
    if shutil.which("nginx") is None:
        report.note("no figures of providing: nginx is not installed")
        return
    place = folder / "providing"
    files = place / "files"
    target = files / "stable" / architecture() / "rootfs"
    target.parent.mkdir(parents=True)
    size = _QUICK if amounts.rounds == 1 else _LARGE
    with target.open("wb") as file:
        for _ in range(size // 2**20):
            file.write(os.urandom(2**20))
    path = f"/stable/{architecture()}/rootfs"
    async with nginx(place) as (ports, _), _provider(place, files) as (ours, provider):
        rounds = Rounds()
        idle = psutil.Process(provider.pid).memory_info().rss
        for number in range(amounts.rounds):
            report.say(f"providing, round {number + 1} of {amounts.rounds}")
            await anyio.to_thread.run_sync(_speeds, rounds, {"serve": ours, "nginx": ports[0]}, path, size)
        report.say("providing: memory and health")
        await anyio.to_thread.run_sync(_memory, rounds, provider.pid, idle, ours, path, size)
        await anyio.to_thread.run_sync(_health, rounds, ours, path, size)
    report.add_all(rounds)
    for what, least in (("one file", 0.8), ("a range", 0.8), (f"{_MANY} clients", 0.9)):
        ratio = report.ratio(f"serve, {what}", f"nginx, {what}")
        report.ask(f"serve by nginx, {what}", ratio, least, at_least=True)
    for what in (f"{_MANY} clients", f"{_MANY} slow clients"):
        report.ask(f"growth of memory with {what}, MB", report.figures[f"serve, growth with {what}"].value, 40)
    health = report.figures[f"/health with {_DOWNLOADS} downloads, p99"].value
    report.ask(f"/health p99 with {_DOWNLOADS} downloads, ms", health, 100)


@contextlib.asynccontextmanager
async def _provider(place: Path, files: Path) -> AsyncIterator[tuple[int, Child]]:
    command = ["plasm", "--home", str(home(place, "provider")), "serve", "--no-dht", "--no-mdns"]
    command += ["--artifacts", str(files), "--bind", "127.0.0.1", "--port", "0"]
    async with child("provider", place, command, stdin=subprocess.DEVNULL) as started:
        word, url = (await started.line(START_SECONDS)).split()
        if word != "ready":
            raise ChildFailed(f"the provider said {word!r}")
        yield int(url.rstrip("/").rpartition(":")[2]), started


def _speeds(rounds: Rounds, servers: Mapping[str, int], path: str, size: int) -> None:
    """One round at each of `servers`, by name; what a single download takes is too short to be told by one alone."""
    for what, clients, times, first, last in (
        ("one file", 1, _TIMES, 0, size - 1),
        ("a range", 1, _TIMES, size // 4, 3 * size // 4 - 1),
        (f"{_MANY} clients", _MANY, 1, size // 2, 3 * size // 4 - 1),
    ):
        seconds = dict.fromkeys(servers, 0.0)
        for _ in range(times):
            for name, port in servers.items():
                seconds[name] += _download(port, path, clients, first, last)
        for name in servers:
            megabytes = times * clients * (last - first + 1) / 1e6
            rounds.note(f"{name}, {what}", "MB/s", megabytes / seconds[name])


def _command(port: int, path: str, clients: int, first: int, last: int) -> list[str]:
    return [sys.executable, str(_CLIENT), str(port), path, str(clients), str(first), str(last)]


def _download(port: int, path: str, clients: int, first: int, last: int) -> float:
    ended = subprocess.run(
        _command(port, path, clients, first, last),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        raise ChildFailed(f"a download failed: {ended.stderr[-500:]!r}")
    return float(ended.stdout.split()[-1])


@contextlib.contextmanager
def _downloading(
    port: int, path: str, clients: int, first: int, last: int, rate: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """So many downloads under way, each of `rate` bytes a second if that is given, which the end of the block ends."""
    command = [*_command(port, path, clients, first, last), *([str(rate)] if rate else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"begun\n":
            raise ChildFailed("downloads do not begin")
        yield process
    finally:
        process.kill()
        process.communicate()


def _memory(rounds: Rounds, pid: int, idle: int, port: int, path: str, size: int) -> None:
    process = psutil.Process(pid)
    for what, rate in ((f"{_MANY} clients", 0), (f"{_MANY} slow clients", _SLOW_RATE)):
        most = idle
        with _downloading(port, path, _MANY, 0, size - 1, rate) as downloads:
            until = time.monotonic() + _SLOW_SECONDS
            while time.monotonic() < until and downloads.poll() is None:
                most = max(most, process.memory_info().rss)
                time.sleep(0.02)
        rounds.note(f"serve, growth with {what}", "MB", (most - idle) / 1e6)


def _health(rounds: Rounds, port: int, path: str, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    latencies = []
    with _downloading(port, path, _DOWNLOADS, 0, size - 1) as downloads:
        for _ in range(_HEALTH_REQUESTS):
            began = time.monotonic()
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise ChildFailed(f"/health answered {answer.status}")
            latencies.append(time.monotonic() - began)
            if downloads.poll() is not None:
                break
    connection.close()
    for percent in (50, 99):
        name = f"/health with {_DOWNLOADS} downloads, p{percent}"
        rounds.note(name, "ms", 1000 * percentile(latencies, percent))
