"""Streams, numbers of descriptors, times, polling, and the ways in which a run ends."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import pytest
from plasm_cell import wasi
from plasm_cell.wasi.errors import BADF, SUCCESS

SCRATCH, SUBSCRIPTIONS = 0x1000, 0x2000
SEED = bytes(32)
START = (
    946_684_800 + int.from_bytes(hashlib.shake_256(b"plasm clock" + SEED).digest(4), "little") % 631_152_000
) * 10**9


def test_streams_are_read_and_written_and_are_no_terminals(program: Any) -> None:
    assert program.read(0, 2, 2) == b"stdi"
    assert program.read(0, 9) == b"n"
    assert program.read(0, 9) == b""
    assert program.write(1, b"a", b"b") == (SUCCESS, 2)
    assert program.write(2, b"c") == (SUCCESS, 1)
    assert (program.layer.stdout, program.layer.stderr) == (b"ab", b"c")
    assert program.fd_fdstat_get(1, SCRATCH) == SUCCESS
    assert program.read_back("<B") == (0,)
    assert program.fd_filestat_get(2, SCRATCH) == SUCCESS
    assert program.read_back("<QQB") == (0, 2, 0)


def test_a_new_descriptor_gets_the_lowest_free_number(program: Any) -> None:
    assert [program.open(b"tmp", 2) for _ in range(4)] == [4, 5, 6, 7]
    for fd in (6, 0, 4):
        assert program.fd_close(fd) == SUCCESS
    assert [program.open(b"tmp", 2) for _ in range(4)] == [0, 4, 6, 8]


def test_renumbering_closes_what_was_there_and_frees_the_old_number(program: Any) -> None:
    fd = program.open(b"out/log", 1)
    assert program.fd_renumber(fd, 1) == SUCCESS
    assert program.write(1, b"redirected") == (SUCCESS, 10)
    assert program.fd_close(fd) == BADF
    assert program.layer.stdout == b""
    assert program.layer.files() == {"log": b"redirected"}
    assert program.fd_renumber(3, 3) == SUCCESS
    assert program.fd_prestat_get(3, SCRATCH) == SUCCESS
    assert program.fd_renumber(program.open(b"tmp", 2), 3) == SUCCESS
    assert program.fd_prestat_get(3, SCRATCH) == BADF


def test_stamps_come_from_the_virtual_clock_and_take_no_time(program: Any) -> None:
    fd = program.open(b"tmp/f", 1)
    assert {program.stat(b"data/in.txt")[name] for name in ("atim", "mtim", "ctim")} == {START}
    assert program.clock_time_get(1, 0, SCRATCH) == SUCCESS
    assert program.read_back("<Q") == (1000,)
    program.write(fd, b"x")
    stamps = program.stat(b"tmp/f")
    assert (stamps["atim"], stamps["mtim"], stamps["ctim"]) == (START, START + 1000, START + 1000)
    assert program.stat(b"tmp")["mtim"] == START
    assert program.path_filestat_set_times(3, 0, b"tmp/f", 7, 8, 1 | 4) == SUCCESS
    assert (program.stat(b"tmp/f")["atim"], program.stat(b"tmp/f")["mtim"]) == (7, 8)
    assert program.fd_filestat_set_times(fd, 9, 9, 2) == SUCCESS
    assert (program.stat(b"tmp/f")["atim"], program.stat(b"tmp/f")["mtim"]) == (START + 1000, 8)
    assert program.read(fd, 1, offset=0) == b"x"
    assert program.stat(b"tmp/f")["atim"] == START + 1000


def subscribe(program: Any, *wanted: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Poll for (kind, clock or descriptor, timeout, flags): userdata, error, kind and bytes of each event."""
    for index, (kind, which, timeout, flags) in enumerate(wanted):
        struct.pack_into(
            "<QB7xI4xQQH", program.buffer, SUBSCRIPTIONS + 48 * index, index, kind, which, timeout, 0, flags
        )
    assert program.poll_oneoff(SUBSCRIPTIONS, 0x4000, len(wanted), SCRATCH) == SUCCESS
    return [
        struct.unpack_from("<QHB5xQ", program.buffer, 0x4000 + 32 * index) for index in range(*program.read_back("<I"))
    ]


def test_where_nothing_is_ready_time_goes_on_to_the_first_clock(program: Any) -> None:
    assert subscribe(program, (0, 1, 5 * 10**9, 0), (0, 0, 3 * 10**9, 0)) == [(1, 0, 0, 0)]
    program.clock_time_get(1, 0, SCRATCH)
    assert program.read_back("<Q") == (3 * 10**9 + 1000,)
    assert subscribe(program, (0, 1, 1, 1)) == [(0, 0, 0, 0)]
    assert subscribe(program, (0, 1, 4 * 10**9, 1)) == [(0, 0, 0, 0)]
    program.clock_time_get(1, 0, SCRATCH)
    assert program.read_back("<Q") == (4 * 10**9 + 1000,)


def test_files_and_streams_are_always_ready(program: Any) -> None:
    program.create(b"tmp/f", b"abc")
    fd = program.open(b"tmp/f")
    events = subscribe(program, (1, 0, 0, 0), (2, 1, 0, 0), (1, fd, 0, 0), (2, fd, 0, 0), (0, 1, 10**9, 0))
    assert events == [(0, 0, 1, 5), (1, 0, 2, 65536), (2, 0, 1, 3), (3, 0, 2, 65536)]


def test_time_ends_at_its_largest_value(program: Any) -> None:
    for _ in range(3):
        subscribe(program, (0, 1, (1 << 64) - 1, 0))
    for clock in (0, 1):
        assert program.clock_time_get(clock, 0, SCRATCH) == SUCCESS
        assert program.read_back("<Q") == ((1 << 64) - 1,)
    program.create(b"tmp/f")
    assert program.stat(b"tmp/f")["mtim"] == (1 << 64) - 1


def test_real_clock_and_random_are_real(make_program: Callable[..., Any]) -> None:
    taken = set()
    for _ in range(2):
        program = make_program(clock=wasi.RealClock(), random=wasi.RealRandom())
        assert program.random_get(SCRATCH, 16) == SUCCESS
        taken.add(program.read_back("16s"))
        program.create(b"tmp/f")
        assert program.clock_time_get(0, 0, SCRATCH) == SUCCESS
        assert 0 <= program.read_back("<Q")[0] - program.stat(b"tmp/f")["mtim"] < 60 * 10**9
    assert len(taken) == 2


def test_arguments_and_environment_are_handed_over(program: Any) -> None:
    assert program.args_sizes_get(SCRATCH, SCRATCH + 4) == SUCCESS
    assert program.read_back("<II") == (1, 12)
    assert program.environ_get(SCRATCH, SCRATCH + 8) == SUCCESS
    assert program.read_back("<I4x4s") == (SCRATCH + 8, b"A=1\0")


def test_leaving_stops_the_run_with_the_low_byte_of_the_code(program: Any) -> None:
    with pytest.raises(wasi.Exit):
        program.proc_exit(0x1FE)
    assert isinstance(program.layer.stop, wasi.Exit)
    assert program.layer.stop.code == 0xFE


def test_output_beyond_its_limit_stops_the_run_and_what_fits_is_kept(make_program: Callable[..., Any]) -> None:
    program = make_program(output_bytes=5)
    assert program.write(2, b"123") == (SUCCESS, 3)
    with pytest.raises(wasi.OutputFull):
        program.write(1, b"4", b"567")
    assert (program.layer.stdout, program.layer.stderr) == (b"45", b"123")
    assert isinstance(program.layer.stop, wasi.OutputFull)


def test_host_calls_beyond_their_limit_stop_the_run(make_program: Callable[..., Any]) -> None:
    program = make_program(host_calls=2)
    assert [program.sched_yield(), program.fd_close(99)] == [SUCCESS, BADF]
    with pytest.raises(wasi.HostCallsSpent):
        program.sched_yield()
    assert isinstance(program.layer.stop, wasi.HostCallsSpent)
