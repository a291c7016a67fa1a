"""Who reads a standard input that does not end says so, and how to do without."""

from __future__ import annotations

import io
import os
import threading

import pytest

from plasm.cli.files import InputUnusable
from plasm.cli.stdin import NOTICE, read_stdin


@pytest.fixture
def pipe(monkeypatch):
    """The writing end of what is standard input meanwhile."""
    read, write = os.pipe()
    with os.fdopen(read, "r") as stdin, os.fdopen(write, "wb", buffering=0) as writing:
        monkeypatch.setattr("sys.stdin", stdin)
        yield writing


class Said(io.StringIO):
    """Standard error that ends what was waited for once something is said."""

    def __init__(self, end) -> None:
        super().__init__()
        self._end = end

    def write(self, text: str) -> int:
        if NOTICE in text:
            self._end()
        return super().write(text)


def test_a_pipe_that_stays_open_is_named_once_and_read_all_the_same(pipe, monkeypatch):
    def end() -> None:
        pipe.write(b"late")
        pipe.close()

    said = Said(end)
    monkeypatch.setattr("sys.stderr", said)
    assert read_stdin(100, notice_seconds=0.01) == b"late"
    assert said.getvalue().count("--stdin FILE") == 1


def test_a_pipe_that_falls_silent_after_its_first_bytes_is_named_too(pipe, monkeypatch):
    said = Said(pipe.close)
    monkeypatch.setattr("sys.stderr", said)
    pipe.write(b"first")
    assert read_stdin(100, notice_seconds=0.01) == b"first"
    assert NOTICE in said.getvalue()


def test_an_input_that_ends_is_read_without_a_word(pipe, capsys):
    pipe.write(b"all of it")
    pipe.close()
    assert read_stdin(100, notice_seconds=60) == b"all of it"
    assert capsys.readouterr().err == ""


def test_who_wants_quiet_is_told_nothing(pipe, capsys):
    timer = threading.Timer(0.1, pipe.close)
    timer.start()
    assert read_stdin(100, quiet=True, notice_seconds=0.001) == b""
    timer.join()
    assert capsys.readouterr().err == ""


def test_more_than_is_taken_is_refused(pipe):
    pipe.write(b"12345")
    with pytest.raises(InputUnusable, match="longer than 4 bytes"):
        read_stdin(4)
