"""Killed at any moment, out of room, or far larger than memory: what is whole stays, and nothing else appears."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from plasm_fetching.artifact import PIECE_BYTES, Artifact
from plasm_fetching.events import Dropped
from plasm_fetching.fetching import fetch
from plasm_fetching.partial import DiskFull

from .conftest import PIECE, Provide, artifact_of

FETCH = textwrap.dedent("""
    import sys
    from pathlib import Path
    from plasm_fetching.artifact import Artifact
    from plasm_fetching.events import Progressed
    from plasm_fetching.fetching import fetch

    size, piece_bytes, digest, pieces, target, *urls = sys.argv[1:]
    artifact = Artifact(path="kernel", size=int(size), sha256=digest, pieces=tuple(filter(None, pieces.split(","))),
                        piece_bytes=int(piece_bytes))
    print("begun", flush=True)
    fetch(artifact, urls, Path(target))
    print("done", flush=True)
""")


def start_fetch(artifact: Artifact, target: Path, *urls: str) -> subprocess.Popen[bytes]:
    facts = [str(artifact.size), str(artifact.piece_bytes), artifact.sha256, ",".join(artifact.pieces), str(target)]
    return subprocess.Popen([sys.executable, "-c", FETCH, *facts, *urls], stdout=subprocess.PIPE)


@pytest.mark.parametrize("pieces", [True, False], ids=["pieces", "whole"])
def test_killed_at_twenty_moments_it_goes_on_and_fetches_no_whole_piece_again(
    provide: Provide, file: Path, data: bytes, target: Path, pieces: bool
):
    artifact = artifact_of(data, pieces=pieces)
    rate = len(data) // 3
    providers = [provide(file, f"rate={rate}"), provide(file, f"rate={rate}")][: 2 if pieces else 1]
    moments = random.Random(7)
    kills = 0
    while not target.exists():
        process = start_fetch(artifact, target, *(each.url for each in providers))
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        if kills < 20:
            try:
                process.wait(moments.uniform(0.0, 0.12))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
        process.wait(30)
        assert not target.exists() or target.read_bytes() == data
    assert target.read_bytes() == data
    assert kills == 20
    # Each kill may cost what a source had in hand, and what stood in buffers.
    waste = sum(each.sent for each in providers) - len(data)
    assert waste <= kills * len(providers) * (PIECE + rate // 20)


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", *options, "none", str(folder)], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=1m") as folder:
        yield folder


def test_where_a_file_system_cannot_say_what_is_free_it_is_tried(provide, file, data, tmp_path):
    # An initramfs may be one.
    with mounted(tmp_path / "memory", "-t", "ramfs") as folder:
        fetch(artifact_of(data), [provide(file).url], folder / "kernel")
        assert (folder / "kernel").read_bytes() == data


def test_a_disk_without_room_is_told_before_anything_is_fetched(provide, file, data, small_disk):
    provider = provide(file)
    with pytest.raises(DiskFull, match=r"more bytes, and \d+ are free"):
        fetch(artifact_of(data), [provider.url], small_disk / "kernel")
    assert provider.sent == 0
    assert not (small_disk / "kernel").exists()


def test_a_disk_that_fills_up_on_the_way_gives_nothing_and_goes_on_when_there_is_room(provide, tmp_path, small_disk):
    data = random.Random(2).randbytes(20 * PIECE)
    file = tmp_path / "served"
    file.write_bytes(data)
    filler = small_disk / "filler"

    def fill(event: object) -> None:
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as other:
            while other.write(bytes(4096)):
                pass

    target = small_disk / "kernel"
    with pytest.raises(DiskFull, match="make room"):
        fetch(artifact_of(data), [provide(file, "rate=1000000").url], target, report=fill)
    assert not target.exists()
    filler.unlink(missing_ok=True)
    done = fetch(artifact_of(data), [provide(file).url], target)
    assert done.resumed > 0
    assert target.read_bytes() == data


def test_no_more_is_written_than_the_process_may(provide, file, data, target):
    artifact = artifact_of(data)
    url = provide(file).url
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({10 * PIECE}, -1))\n"
    code += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    facts = [str(artifact.size), str(artifact.piece_bytes), artifact.sha256, ",".join(artifact.pieces), str(target)]
    ended = subprocess.run([sys.executable, "-c", code + FETCH, *facts, url], capture_output=True, check=False)
    assert b"DiskFull" in ended.stderr
    assert not target.exists()


ZEROS = 4 * 2**30
"""As large as a root file system; sparse where it ends up, and never in memory."""


class Zeros(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        return

    def do_GET(self) -> None:
        first, last = (int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{ZEROS}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(memoryview(ZERO_PIECE)[: last - first + 1])


ZERO_PIECE = bytes(PIECE_BYTES)


def test_memory_is_flat_whatever_the_size(target: Path):
    size = ZEROS if "PLASM_SOAK" in os.environ else ZEROS // 16
    server = ThreadingHTTPServer(("127.0.0.1", 0), Zeros)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digest = hashlib.sha256()
    for _ in range(size // PIECE_BYTES):
        digest.update(ZERO_PIECE)
    piece = hashlib.sha256(ZERO_PIECE).hexdigest()
    artifact = Artifact(path="rootfs", size=size, sha256=digest.hexdigest(), pieces=(piece,) * (size // PIECE_BYTES))
    globals()["ZEROS"] = size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        fetch(artifact, [f"http://127.0.0.1:{server.server_address[1]}/rootfs"], target)
    finally:
        server.shutdown()
        server.server_close()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert target.stat().st_size == size
    assert grown < 12 * PIECE_BYTES


def test_what_cannot_be_connected_to_is_given_up_in_the_end(data, target):
    events: list[object] = []
    with pytest.raises(Exception, match="Connection refused"):
        fetch(artifact_of(data), ["http://127.0.0.1:9/kernel"], target, report=events.append, retries=1)
    assert [event.again_in for event in events if isinstance(event, Dropped)] == [0.5, None]
