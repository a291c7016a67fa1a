"""Requests that nobody should send, to a boot provider that serves an honest client meanwhile."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import anyio
import anyio.to_thread
import psutil

from plasm.host import architecture
from plugins.provider.tests.fuzzing import fuzz
from tests.bench.processes import START_SECONDS, child, home
from tests.soak.figures import RequestFigures

_AT_ONCE = 500
_BYTES = 4 * 2**20
_MORE_DESCRIPTORS = 4
_MORE_MEMORY = 32 * 2**20

Say = Callable[[str], None]


class RequestSoak:
    """One run. `figures` are right at any moment."""

    def __init__(self, folder: Path, run: str, requests: int) -> None:
        self.figures = RequestFigures()
        self._folder = folder
        self._content = random.Random(run).randbytes(_BYTES)
        self._requests = requests

    async def go(self, seconds: float, stop: anyio.Event, say: Say) -> None:
        """Send requests for `seconds`, as many as were asked for at least, or until `stop`."""
        artifacts = self._folder / "artifacts" / "stable" / architecture()
        artifacts.mkdir(parents=True)
        (artifacts / "kernel").write_bytes(self._content)
        command = ["plasm", "--home", str(home(self._folder, "provider")), "serve", "--no-dht", "--no-mdns"]
        command += ["--artifacts", str(self._folder / "artifacts"), "--bind", "127.0.0.1", "--port", "0"]
        async with child("provider", self._folder, command) as provider:
            url = (await provider.line(START_SECONDS)).split()[1].rstrip("/")
            process = psutil.Process(provider.pid)
            await self._round(url)
            before = process.num_fds(), process.memory_info().rss
            began = time.monotonic()
            while not stop.is_set():
                self.figures.seconds = time.monotonic() - began
                if self.figures.seconds >= seconds and self.figures.requests >= self._requests:
                    break
                await self._round(url)
                say(f"{self.figures.requests} requests, {self.figures.downloads} downloads")
            descriptors, memory = process.num_fds() - before[0], process.memory_info().rss - before[1]
        self.figures.grown = memory
        if descriptors > _MORE_DESCRIPTORS:
            self.figures.failures.append(f"{descriptors} more descriptors than before")
        if memory > _MORE_MEMORY:
            self.figures.failures.append(f"{memory} more bytes of memory than before")

    async def _round(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        try:
            await anyio.to_thread.run_sync(fuzz, host, int(port), _AT_ONCE, lambda: self._download(url))
        except AssertionError as error:
            self.figures.failures.append(str(error)[:2000])
        self.figures.requests += _AT_ONCE

    def _download(self, url: str) -> None:
        with urlopen(f"{url}/stable/{architecture()}/kernel", timeout=60) as answer:
            content = answer.read()
        assert hashlib.sha256(content).digest() == hashlib.sha256(self._content).digest(), "a download is not right"
        self.figures.downloads += 1
