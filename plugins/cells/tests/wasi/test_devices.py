"""``/dev``: names that open, and what reading, writing and seeking give."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from plasm_cell import wasi
from plasm_cell.wasi import rights
from plasm_cell.wasi.errors import EXIST, INVAL, SUCCESS

SCRATCH, VECTORS = 0x1000, 0x3000
DEVICE = 2
DEVICES = [b"null", b"zero", b"random", b"urandom"]
RANDOM = hashlib.shake_256(b"plasm random" + bytes(32) + bytes(8)).digest(4096)


def test_a_program_finds_the_devices_in_their_order(program: Any) -> None:
    entries = program.list(program.open(b"dev", 2))[2:]
    assert [entry[:2] for entry in entries] == [(name, DEVICE) for name in DEVICES]


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_is_a_character_device_but_no_terminal(program: Any, name: bytes) -> None:
    fd = program.open(b"dev/" + name)
    stat = program.stat(b"dev/" + name)
    assert (stat["dev"], stat["type"], stat["nlink"], stat["size"]) == (1, DEVICE, 1, 0)
    assert program.fd_filestat_get(fd, SCRATCH) == SUCCESS
    assert program.read_back("<QQBxxxxxxxQQ") == (1, stat["ino"], DEVICE, 1, 0)
    assert program.fd_fdstat_get(fd, SCRATCH) == SUCCESS
    kind, _, base, _ = program.read_back("<BxHxxxxQQ")
    assert kind == DEVICE
    assert base & (rights.FD_SEEK | rights.FD_TELL)


def test_null_gives_nothing_and_zero_gives_zeros(program: Any) -> None:
    null, zero = program.open(b"dev/null"), program.open(b"dev/zero")
    program.buffer[0x8000:0x8010] = b"x" * 16
    assert program.read(null, 16) == b""
    assert program.read(zero, 5, 3) == bytes(8)
    assert program.read(zero, 4, offset=1 << 40) == bytes(4)
    assert program.buffer[0x8000:0x8010] == bytes(8) + b"x" * 8


@pytest.mark.parametrize("name", [b"random", b"urandom"])
def test_random_bytes_are_the_next_ones_of_the_seed(program: Any, name: bytes) -> None:
    assert program.random_get(SCRATCH, 10) == SUCCESS
    fd = program.open(b"dev/" + name)
    assert program.read(fd, 20, 30) == RANDOM[10:60]
    assert program.read(fd, 40, offset=0) == RANDOM[60:100]
    assert program.random_get(SCRATCH, 16) == SUCCESS
    assert program.read_back("16s") == (RANDOM[100:116],)


def test_random_bytes_are_real_for_who_has_real_ones(make_program: Callable[..., Any]) -> None:
    taken = set()
    for _ in range(2):
        program = make_program(random=wasi.RealRandom())
        taken.add(program.read(program.open(b"dev/urandom"), 16))
    assert len(taken) == 2


@pytest.mark.parametrize("name", DEVICES)
def test_whatever_is_written_to_a_device_is_taken_and_dropped(make_program: Callable[..., Any], name: bytes) -> None:
    program = make_program(file_bytes=0)
    fd = program.open(b"dev/" + name, 1 | 8)
    assert program.write(fd, b"abc", b"", b"d" * 1000) == (SUCCESS, 1003)
    assert program.write(fd, b"abc", offset=1 << 40) == (SUCCESS, 3)
    assert program.stat(b"dev/" + name)["size"] == 0


def test_a_device_takes_every_seek_and_stays_where_it_is(program: Any) -> None:
    fd = program.open(b"dev/zero")
    for delta, whence in ((5, 0), ((1 << 64) - 5, 1), (7, 2)):
        assert program.fd_seek(fd, delta, whence, SCRATCH) == SUCCESS
        assert program.read_back("<Q") == (0,)
    assert program.fd_seek(fd, 0, 3, SCRATCH) == INVAL
    assert program.fd_tell(fd, SCRATCH) == SUCCESS
    assert program.read_back("<Q") == (0,)


def test_one_call_reads_a_bounded_number_of_bytes(make_program: Callable[..., Any]) -> None:
    program = make_program()
    program.buffer = bytearray(42 << 20)
    program.layer.memory = memoryview(program.buffer)
    assert len(program.read(program.open(b"dev/zero"), *[20 << 20] * 2)) == (1 << 25) - 1


def test_a_device_is_there_already_for_who_wants_to_make_it(program: Any) -> None:
    assert program.path_open(3, 0, b"dev/null", 1 | 4, rights.FD_WRITE, 0, 0, SCRATCH) == EXIST


def test_a_device_can_be_polled(program: Any) -> None:
    for path, count in ((b"dev/null", 0), (b"dev/zero", 65536)):
        fd = program.open(path)
        program.buffer[0x2000:0x2030] = bytes(8) + b"\1" + bytes(7) + fd.to_bytes(4, "little") + bytes(28)
        assert program.poll_oneoff(0x2000, 0x4000, 1, SCRATCH) == SUCCESS
        assert int.from_bytes(program.buffer[0x4008:0x400A], "little") == SUCCESS
        assert int.from_bytes(program.buffer[0x4010:0x4018], "little") == count


def test_devices_move_and_go_as_files_do_and_do_not_come_back(program: Any) -> None:
    assert program.path_link(3, 0, b"dev/zero", 3, b"tmp/z") == SUCCESS
    assert program.path_rename(3, b"dev/null", 3, b"out/n") == SUCCESS
    assert program.path_unlink_file(3, b"dev/zero") == SUCCESS
    assert program.read(program.open(b"tmp/z"), 2) == bytes(2)
    assert program.layer.files() == {}


def test_an_input_stands_in_the_place_of_a_device(make_program: Callable[..., Any]) -> None:
    program = make_program(inputs={"dev/null": b"mine"})
    assert program.read(program.open(b"dev/null"), 9) == b"mine"
    assert [name for name, _, _ in program.list(program.open(b"dev", 2))[2:]] == DEVICES
    program = make_program(inputs={"dev": b"file"})
    assert program.read(program.open(b"dev"), 9) == b"file"
