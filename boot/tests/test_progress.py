"""What people see while something is fetched."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest
from plasm_boot.progress import lines, megabytes
from plasm_fetching.events import Progressed


def test_a_bar_says_how_far_how_fast_how_long_and_by_whom() -> None:
    event = Progressed(
        6_000_000, 12_000_000, 3e6, {"http://192.0.2.7:8080": 1_000_000, "http://192.0.2.8:80": 5_000_000}
    )
    assert lines("kernel", event, plain=True) == [
        "kernel     ############------------  50 %  6.0 MB of 12.0 MB, 3.0 MB/s, 0:02 left",
        "  http://192.0.2.8:80  5.0 MB, 83 %",
        "  http://192.0.2.7:8080  1.0 MB, 17 %",
    ]


def test_many_providers_do_not_fill_the_screen() -> None:
    event = Progressed(100, 100, 0.0, {f"http://192.0.2.{number}:80": number for number in range(1, 20)})
    assert len(lines("kernel", event)) == 8
    assert lines("kernel", event)[-1] == "  and 13 more"


@pytest.mark.parametrize(("done", "size", "rate"), [(0, 0, 0.0), (0, 10**15, 1e-9), (10**15, 10**15, 1e12)])
def test_a_bar_can_be_drawn_of_anything(done: int, size: int, rate: float) -> None:
    assert len(lines("kernel", Progressed(done, size, rate, {}))) == 1


def test_sizes_are_written_for_people() -> None:
    assert [megabytes(size) for size in (0, 999, 1000, 999_999, 12_345_678)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "1000.0 kB",
        "12.3 MB",
    ]


def test_on_a_terminal_a_bar_is_drawn_and_taken_away(pinned: Any, serve: Any, published: Any) -> None:
    provider = serve(published.today, "rate=40000000")
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from plasm_boot.fetch import main; main()", provider.manifest_url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=side,
        cwd=pinned.folder,
        env={**os.environ, "PLASM_HOME": str(pinned.home), "PYTHONIOENCODING": "utf-8", "COLUMNS": "60"},
    )
    os.close(side)
    seen = b""
    try:
        while piece := os.read(terminal, 65536):
            seen += piece
    except OSError:
        pass  # Linux says so where the other side is closed
    finally:
        os.close(terminal)
        assert process.wait(20) == 0
    text = seen.decode()
    assert "█" in text
    assert provider.origin in text
    _, _, after = text.rpartition("\x1b[J")
    assert after.startswith(("phase-fetch: initramfs: verified", "phase-fetch: kernel: verified"))
    drawn = re.split(r"\x1b\[[0-9]*[A-Z]|[\r\n]", text)
    assert max(len(line) for line in drawn if "█" in line) < 60
