"""Contents of files: reading, writing, sizes, and the space that they take."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from plasm_cell.wasi import rights
from plasm_cell.wasi.errors import FAULT, NOSPC, NOTCAPABLE, SUCCESS

SCRATCH = 0x1000


def test_what_is_written_is_read_and_the_offset_goes_along(program: Any) -> None:
    fd = program.open(b"tmp/f", 1)
    assert program.write(fd, b"abc", b"", b"defg") == (SUCCESS, 7)
    assert program.fd_tell(fd, SCRATCH) == SUCCESS
    assert program.read_back("<Q") == (7,)
    assert program.fd_seek(fd, (1 << 64) - 5, 2, SCRATCH) == SUCCESS
    assert program.read(fd, 2, 1, 10) == b"cdefg"
    assert program.read(fd, 10) == b""


def test_reading_and_writing_at_an_offset_leaves_the_descriptors_own(program: Any) -> None:
    fd = program.open(b"tmp/f", 1)
    program.write(fd, b"abcdef")
    assert program.write(fd, b"XY", offset=1) == (SUCCESS, 2)
    assert program.read(fd, 3, offset=1) == b"XYd"
    assert program.read(fd, 3) == b""
    assert program.read(fd, 3, offset=99) == b""


def test_a_write_behind_the_end_fills_with_zeros_that_count_as_content(program: Any) -> None:
    fd = program.open(b"tmp/f", 1)
    assert program.write(fd, b"x", offset=90_000) == (SUCCESS, 1)
    assert program.stat(b"tmp/f")["size"] == 90_001
    assert program.read(fd, 3, offset=89_998) == b"\0\0x"
    assert program.write(fd, b"x", offset=200_000) == (NOSPC, 0)
    assert program.stat(b"tmp/f")["size"] == 90_001


def test_a_write_that_fits_in_part_is_made_in_part(program: Any) -> None:
    fd = program.open(b"tmp/f", 1)
    assert program.fd_filestat_set_size(fd, 99_998) == SUCCESS
    assert program.fd_seek(fd, 0, 2, SCRATCH) == SUCCESS
    assert program.write(fd, b"a", b"bcd") == (SUCCESS, 2)
    assert program.write(fd, b"e") == (NOSPC, 0)
    assert program.write(fd, b"") == (SUCCESS, 0)
    assert program.write(fd, b"z" * 50, offset=0) == (SUCCESS, 50)


def test_appending_writes_at_the_end_until_the_flag_is_taken_off(program: Any) -> None:
    program.create(b"tmp/f", b"abc")
    fd = program.open(b"tmp/f", flags=1)
    assert program.write(fd, b"d") == (SUCCESS, 1)
    assert program.fd_seek(fd, 0, 0, SCRATCH) == SUCCESS
    assert program.write(fd, b"e") == (SUCCESS, 1)
    assert program.write(fd, b"P", offset=0) == (SUCCESS, 1)
    assert program.fd_fdstat_set_flags(fd, 0) == SUCCESS
    assert program.fd_seek(fd, 1, 0, SCRATCH) == SUCCESS
    assert program.write(fd, b"Q") == (SUCCESS, 1)
    assert program.read(fd, 9, offset=0) == b"PQcde"


def test_sizes_are_cut_filled_and_allocated(program: Any) -> None:
    fd = program.open(b"tmp/f", 1)
    program.write(fd, b"abcdef")
    assert program.fd_filestat_set_size(fd, 3) == SUCCESS
    assert program.fd_filestat_set_size(fd, 5) == SUCCESS
    assert program.fd_allocate(fd, 1, 2) == SUCCESS
    assert program.read(fd, 9, offset=0) == b"abc\0\0"
    assert program.fd_allocate(fd, 5, 5) == SUCCESS
    assert program.stat(b"tmp/f")["size"] == 10
    program.open(b"tmp/f", 8)
    assert program.stat(b"tmp/f")["size"] == 0


def test_a_size_that_does_not_fit_takes_no_memory(make_program: Callable[..., Any]) -> None:
    program = make_program(file_bytes=1 << 20)
    fd = program.open(b"tmp/f", 1)
    tracemalloc.start()
    try:
        for size in ((1 << 20) + 1, 1 << 40, (1 << 63) - 1):
            assert program.fd_filestat_set_size(fd, size) == NOSPC
            assert program.fd_allocate(fd, 1, size - 1) == NOSPC
            assert program.write(fd, b"x", offset=size - 1) == (NOSPC, 0)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_space_comes_back_when_the_last_name_and_the_last_descriptor_are_gone(program: Any) -> None:
    fd = program.open(b"tmp/f", 1)
    assert program.fd_filestat_set_size(fd, 100_000) == SUCCESS
    assert program.path_link(3, 0, b"tmp/f", 3, b"tmp/g") == SUCCESS
    other = program.open(b"tmp/h", 1)
    for remove in (
        lambda: program.path_unlink_file(3, b"tmp/f"),
        lambda: program.path_unlink_file(3, b"tmp/g"),
    ):
        assert remove() == SUCCESS
        assert program.write(other, b"x") == (NOSPC, 0)
    assert program.read(fd, 2, offset=0) == b"\0\0"
    assert program.fd_close(fd) == SUCCESS
    assert program.write(other, b"x") == (SUCCESS, 1)


def test_a_file_that_is_replaced_or_renumbered_away_gives_its_space_back(program: Any) -> None:
    program.create(b"tmp/a", b"1" * 60_000)
    program.create(b"tmp/b", b"2" * 40_000)
    assert program.path_rename(3, b"tmp/b", 3, b"tmp/a") == SUCCESS
    program.create(b"tmp/c", b"3" * 60_000)
    first, second = program.open(b"tmp/a"), program.open(b"tmp/c")
    assert program.path_unlink_file(3, b"tmp/a") == SUCCESS
    assert program.fd_renumber(second, first) == SUCCESS
    assert program.read(first, 2) == b"33"
    program.create(b"tmp/d", b"4" * 40_000)


def test_an_input_is_copied_when_it_is_written_to(make_program: Callable[..., Any]) -> None:
    given = b"input"
    program = make_program(inputs={"data/in.txt": given})
    fd, other = program.open(b"data/in.txt"), program.open(b"data/in.txt", base=rights.FD_READ)
    assert program.write(fd, b"IN", offset=0) == (SUCCESS, 2)
    assert program.write(fd, b"!", offset=5) == (SUCCESS, 1)
    assert program.read(other, 9) == b"INput!"
    assert given == b"input"


def test_a_written_input_takes_its_size_of_the_space_and_gives_it_back(make_program: Callable[..., Any]) -> None:
    program = make_program(inputs={"in": b"x" * 60}, file_bytes=100)
    other = program.open(b"other", 1)
    assert program.write(program.open(b"in"), b"y", offset=0) == (SUCCESS, 1)
    assert program.write(other, b"z" * 50) == (SUCCESS, 40)
    program.open(b"in", 8)
    assert program.write(other, b"z" * 70) == (SUCCESS, 60)


def test_an_input_is_cut_without_room_for_all_of_it(make_program: Callable[..., Any]) -> None:
    program = make_program(inputs={"a": b"a" * 500, "b": b"b" * 500}, file_bytes=100)
    assert program.write(program.open(b"a"), b"y", offset=0) == (NOSPC, 0)
    assert program.fd_filestat_set_size(program.open(b"a"), 60) == SUCCESS
    assert program.read(program.open(b"a"), 99) == b"a" * 60
    fd = program.open(b"b", 8)
    assert program.write(fd, b"n" * 50) == (SUCCESS, 40)


def test_a_change_that_an_input_has_no_room_for_takes_nothing(make_program: Callable[..., Any]) -> None:
    program = make_program(inputs={"in": b"x" * 60}, file_bytes=100)
    fd = program.open(b"in")
    assert program.write(fd, b"y", offset=100) == (NOSPC, 0)
    assert program.fd_allocate(fd, 0, 101) == NOSPC
    assert program.fd_filestat_set_size(fd, 101) == NOSPC
    assert program.write(program.open(b"other", 1), b"z" * 100) == (SUCCESS, 100)
    assert program.read(fd, 99) == b"x" * 60


def test_inputs_are_not_copied(make_program: Callable[..., Any]) -> None:
    content = bytes(32 << 20)
    tracemalloc.start()
    try:
        program = make_program(inputs={"big": memoryview(content)})
        fd = program.open(b"big", base=rights.FD_READ)
        assert program.read(fd, 1000) == bytes(1000)
        assert program.stat(b"big")["size"] == 32 << 20
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_vector_outside_of_memory_moves_no_byte(program: Any) -> None:
    program.buffer[0x3000:0x3010] = (0x8000).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"\xf0\xff\xff\xff" * 2
    assert program.fd_write(1, 0x3000, 2, SCRATCH) == FAULT
    assert program.layer.stdout == b""
    assert program.write(1, b"x" * (1 << 16), b"y") == (SUCCESS, (1 << 16) + 1)
    fd = program.open(b"tmp/f", 1)
    program.buffer[0x3000:0x3010] = (0x8000).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"\xf0\xff\xff\xff" * 2
    assert program.fd_write(fd, 0x3000, 2, SCRATCH) == FAULT
    assert program.stat(b"tmp/f")["size"] == 0


@pytest.mark.parametrize("right", ["FD_READ", "FD_SEEK"])
def test_reading_at_an_offset_needs_both_rights(program: Any, right: str) -> None:
    program.create(b"tmp/f", b"abc")
    fd = program.open(b"tmp/f", base=getattr(rights, right))
    assert program.fd_pread(fd, 0x3000, 1, 0, SCRATCH) == NOTCAPABLE


def test_telling_needs_the_right_to_tell_or_to_seek(program: Any) -> None:
    for right in (rights.FD_TELL, rights.FD_SEEK):
        fd = program.open(b"tmp/f", 1, base=right)
        assert program.fd_tell(fd, SCRATCH) == SUCCESS
        assert program.fd_seek(fd, 0, 1, SCRATCH) == SUCCESS
        assert program.fd_seek(fd, 1, 1, SCRATCH) == (NOTCAPABLE if right == rights.FD_TELL else SUCCESS)
