"""``plasm_fetching`` beside ``curl`` and ``sha256sum``: one file from nginx on loopback, in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from plasm_fetching.artifact import PIECE_BYTES, Artifact

from tests.bench.amounts import Amounts
from tests.bench.bare import WrongResult
from tests.bench.figures import Report, Rounds
from tests.bench.nginx import LIMIT, PORTS, nginx
from tests.bench.processes import ROOT, ChildFailed

_LARGE_BYTES = 512 * 2**20
_QUICK_BYTES = 128 * 2**20
_LIMITED_BYTES = 192 * 2**20
_QUICK_LIMITED_BYTES = 96 * 2**20
_SECONDS = 120.0


@dataclass(frozen=True)
class _Served:
    """A file at nginx, and what a publisher would have signed of it."""

    artifact: Artifact
    facts: Path
    urls: tuple[str, ...]
    """At each provider."""
    limited: tuple[str, ...]
    """The same, from providers that are limited."""


async def measure_fetching(amounts: Amounts, folder: Path, report: Report) -> None:
    """Whole commands, in turn: the start of an interpreter is in ours. Raises :exc:`ChildFailed`."""
    for program in ("nginx", "curl", "sha256sum"):
        if shutil.which(program) is None:
            report.note(f"no figures of fetching: {program} is not installed")
            return
    place = folder / "fetching"
    place.mkdir()
    quick = amounts.rounds == 1
    async with nginx(place) as (ports, limited):
        large = await anyio.to_thread.run_sync(
            _publish, place, "large", _QUICK_BYTES if quick else _LARGE_BYTES, ports, limited
        )
        small = await anyio.to_thread.run_sync(
            _publish, place, "small", _QUICK_LIMITED_BYTES if quick else _LIMITED_BYTES, ports, limited
        )
        rounds = Rounds()
        for number in range(amounts.rounds):
            report.say(f"fetching, round {number + 1} of {amounts.rounds}")
            await anyio.to_thread.run_sync(_round, place, large, small, rounds)
    report.add_all(rounds)
    for count in (1, PORTS):
        ratio = report.ratio(_ours(count), _THEIRS)
        report.ask(f"fetch from {count}, by curl + sha256sum", ratio, 1.5, at_least=True)
    ratio = report.ratio(_limited(PORTS), _limited(1))
    report.ask(f"fetch from {PORTS} limited providers, by from one", ratio, 2.7, at_least=True)


_THEIRS = "curl, then sha256sum"


def _ours(count: int) -> str:
    return f"fetch from {count}"


def _limited(count: int) -> str:
    return f"fetch from {count}, each at {LIMIT} MB/s"


def _round(place: Path, large: _Served, small: _Served, rounds: Rounds) -> None:
    target = place / "target"
    rounds.note(_THEIRS, "MB/s", _rate(large, _curl(large, target)))
    for count in (1, PORTS):
        seconds, said = _fetch(large, large.urls[:count], target)
        rounds.note(_ours(count), "MB/s", _rate(large, seconds))
        rounds.note(f"{_ours(count)}, its fsync alone", "ms", 1000 * said["synced"])
    for count in (1, PORTS):
        seconds, said = _fetch(small, small.limited[:count], target)
        if len(said["by_source"]) != count:
            raise WrongResult(f"{count} providers were given, and {sorted(said['by_source'])} brought something")
        rounds.note(_limited(count), "MB/s", _rate(small, seconds))


def _rate(served: _Served, seconds: float) -> float:
    return served.artifact.size / 1e6 / seconds


def _curl(served: _Served, target: Path) -> float:
    """Seconds of ``curl -o`` and ``sha256sum`` after it."""
    _clear(target)
    began = time.monotonic()
    _run(["curl", "--silent", "--fail", "-o", str(target), served.urls[0]])
    digest = _run(["sha256sum", str(target)]).split()[0].decode()
    seconds = time.monotonic() - began
    _check(served, digest)
    return seconds


def _fetch(served: _Served, urls: Sequence[str], target: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole process that fetches, and what it says of them."""
    _clear(target)
    began = time.monotonic()
    said = _run([sys.executable, str(ROOT / "tests/bench/fetching_client.py"), str(served.facts), str(target), *urls])
    seconds = time.monotonic() - began
    with target.open("rb") as file:
        _check(served, hashlib.file_digest(file, "sha256").hexdigest())
    document: dict[str, Any] = json.loads(said)
    return seconds, document


def _clear(target: Path) -> None:
    target.unlink(missing_ok=True)
    # What an earlier one left to be written would be paid for by the next.
    os.sync()


def _check(served: _Served, digest: str) -> None:
    if digest != served.artifact.sha256:
        raise WrongResult(f"{served.artifact.path} came with the digest {digest}")


def _run(command: Sequence[str]) -> bytes:
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
    if ended.returncode != 0:
        raise ChildFailed(f"{command[0]} ended with {ended.returncode}: {ended.stderr[-500:]!r}")
    return ended.stdout


def _publish(place: Path, name: str, size: int, ports: Sequence[int], limited: Sequence[int]) -> _Served:
    """A file of random bytes, served under `name` at all ports."""
    file = place / "files" / name
    whole, pieces = hashlib.sha256(), []
    with file.open("wb") as opened:
        for _ in range(0, size, PIECE_BYTES):
            piece = os.urandom(PIECE_BYTES)
            whole.update(piece)
            pieces.append(hashlib.sha256(piece).hexdigest())
            opened.write(piece)
    artifact = Artifact(path=name, size=size, sha256=whole.hexdigest(), pieces=tuple(pieces))
    facts = place / f"{name}.json"
    facts.write_text(json.dumps(asdict(artifact)))
    urls, slow = ([f"http://127.0.0.1:{port}/{name}" for port in each] for each in (ports, limited))
    return _Served(artifact, facts, tuple(urls), tuple(slow))
