"""``plasm serve`` beside Debian's nginx: the same files on loopback, read by clients that cost nearly nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
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
_DOWNLOADS = 20
_HEALTH_REQUESTS = 300
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
        for number in range(amounts.rounds):
            report.say(f"providing, round {number + 1} of {amounts.rounds}")
            for name, port in (("serve", ours), ("nginx", ports[0])):
                await anyio.to_thread.run_sync(_speeds, rounds, name, port, path, size)
        report.say("providing: memory and health")
        await anyio.to_thread.run_sync(_memory, rounds, provider.pid, ours, path, size)
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
    async with child("provider", place, command) as started:
        word, url = (await started.line(START_SECONDS)).split()
        if word != "ready":
            raise ChildFailed(f"the provider said {word!r}")
        yield int(url.rstrip("/").rpartition(":")[2]), started


def _speeds(rounds: Rounds, name: str, port: int, path: str, size: int) -> None:
    each = size // 16
    for what, clients, first, last in (
        ("one file", 1, 0, size - 1),
        ("a range", 1, size // 4, 3 * size // 4 - 1),
        (f"{_MANY} clients", _MANY, size // 2, size // 2 + each - 1),
    ):
        seconds = _download(port, path, clients, first, last)
        rounds.note(f"{name}, {what}", "MB/s", clients * (last - first + 1) / 1e6 / seconds)


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
    seconds: float = json.loads(ended.stdout)["seconds"]
    return seconds


@contextlib.contextmanager
def _downloading(
    port: int, path: str, clients: int, first: int, last: int, rate: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """So many downloads, each of `rate` bytes a second if that is given, which the end of the block ends."""
    command = [*_command(port, path, clients, first, last), *([str(rate)] if rate else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _memory(rounds: Rounds, pid: int, port: int, path: str, size: int) -> None:
    process = psutil.Process(pid)
    idle = process.memory_info().rss
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
            if connection.getresponse().read() == b"":
                raise ChildFailed("/health answered nothing")
            latencies.append(time.monotonic() - began)
            if downloads.poll() is not None:
                break
    connection.close()
    for percent in (50, 99):
        name = f"/health with {_DOWNLOADS} downloads, p{percent}"
        rounds.note(name, "ms", 1000 * percentile(latencies, percent))
