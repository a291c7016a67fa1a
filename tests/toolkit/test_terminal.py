"""What a program wrote cannot steer a terminal, nor pass for what Plasm says."""

from __future__ import annotations

import os
import pty
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.cli.terminal import for_terminal, write_output


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"plain\ttext\n", b"plain\ttext\n"),
        ("grün ☃\n".encode(), "grün ☃\n".encode()),
        (b"\x1b[2J\x1b]0;title\x07", rb"\x1b[2J\x1b]0;title\x07"),
        (b"kept\r\nover\rwritten\n", b"kept\nover\\rwritten\n"),
        (b"\xff\x9b31m", rb"\xff\x9b31m"),
        ("\u202egnp.exe\x9b2J".encode(), rb"\u202egnp.exe\x9b2J"),
        (b"\x1b[31mred\x1b[0m and \x1b[1mbold", b"\x1b[31mred\x1b[0m and \x1b[1mbold\x1b[0m"),
    ],
)
def test_only_text_and_colours_reach_a_terminal(written: bytes, shown: bytes) -> None:
    assert for_terminal(written) == shown


@pytest.mark.parametrize(
    "line", ["plasm: verified", "\x1b[1mplasm: verified", "  PLASM: x", "phase-fetch: x", "plasmd: x"]
)
def test_a_line_that_looks_like_ours_is_marked_as_the_programs(line: str) -> None:
    shown = for_terminal(f"first\n{line}\nplasma: 3\n".encode()).decode()
    assert shown.startswith(f"first\nprogram: {line}\nplasma: 3\n")


@given(st.binary(max_size=200))
def test_no_bytes_make_anything_but_text_and_colours(written: bytes) -> None:
    shown = for_terminal(written).decode()
    for number, part in enumerate(shown.split("\x1b")):
        if number:
            codes, letter, part = part.partition("m")
            assert letter == "m"
            assert codes[0] == "["
            assert set(codes[1:]) <= set("0123456789;")
        assert part.replace("\n", "").replace("\t", "").isprintable()
    assert not any(line.lower().startswith("plasm:") for line in shown.splitlines())


def test_a_pipe_gets_the_very_bytes_and_a_terminal_does_not() -> None:
    written = b"\x1b[2Jplasm: x\x00\xff"
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reading, os.fdopen(write, "wb") as pipe:
        write_output(pipe, written)
        assert os.read(reading.fileno(), 100) == written
    master, slave = pty.openpty()
    with os.fdopen(master, "rb") as reading, os.fdopen(slave, "wb") as terminal:
        write_output(terminal, written)
        assert os.read(reading.fileno(), 100) == rb"\x1b[2Jplasm: x\x00\xff"


@pytest.mark.parametrize("line", [b"\n", b" \n", b"\x1b[m\n", b"plasm", b" " * 100])
def test_a_megabyte_of_anything_is_shown_at_once(line: bytes) -> None:
    began = time.process_time()
    for_terminal(line * (1_000_000 // len(line)))
    # Looking again at all lines above takes hours for this.
    assert time.process_time() - began < 10
