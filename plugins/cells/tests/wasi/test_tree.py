"""Directories, links and names; what a program finds at the start and leaves behind in ``/out``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from plasm_cell.wasi import rights
from plasm_cell.wasi.errors import BADF, EXIST, INVAL, NOENT, NOSPC, NOTCAPABLE, PERM, SUCCESS
from plasm_cell.wasi.volume import MOST_ENTRIES, MOST_OUT_FILES

SCRATCH = 0x1000
DEVICE, DIRECTORY, FILE, LINK = 2, 3, 4, 7


def names(entries: list[tuple[bytes, int, int]]) -> list[bytes]:
    return [name for name, _, _ in entries]


def test_a_program_finds_its_inputs_and_three_folders_under_one_preopened_root(program: Any) -> None:
    assert program.fd_prestat_get(3, SCRATCH) == SUCCESS
    assert program.read_back("<BxxxI") == (0, 1)
    assert program.fd_prestat_dir_name(3, SCRATCH, 2) == SUCCESS
    assert program.read_back("1s") == (b"/",)
    assert [entry[:2] for entry in program.list(3)] == [
        (b".", DIRECTORY),
        (b"..", DIRECTORY),
        (b"tmp", DIRECTORY),
        (b"out", DIRECTORY),
        (b"data", DIRECTORY),
        (b"dev", DIRECTORY),
    ]
    assert [entry[:2] for entry in program.list(program.open(b"data", 2))][2:] == [
        (b"in.txt", FILE),
        (b"sub", DIRECTORY),
    ]
    assert program.read(program.open(b"data/sub/../sub//./deep.txt"), 99) == b"deep"


def test_nothing_but_the_root_is_preopened_before_and_after_it(program: Any) -> None:
    program.open(b"tmp", 2)
    assert [program.fd_prestat_get(fd, SCRATCH) for fd in range(6)] == [BADF, BADF, BADF, SUCCESS, BADF, BADF]
    assert [program.fd_prestat_dir_name(fd, SCRATCH, 9) for fd in range(6)] == [BADF, BADF, BADF, SUCCESS, BADF, BADF]


def test_a_preopened_root_keeps_its_name_wherever_it_is_renumbered_to(program: Any) -> None:
    fd = program.open(b"tmp", 2)
    assert program.fd_renumber(3, fd) == SUCCESS
    assert [program.fd_prestat_get(number, SCRATCH) for number in (3, fd)] == [BADF, SUCCESS]
    assert program.open(b"data", 2, fd=fd) == 3
    assert program.fd_prestat_get(3, SCRATCH) == BADF


@pytest.mark.parametrize("folder", [b"", b"data/", b"data/sub/", b"dev/", b"made/"])
def test_what_a_program_makes_anywhere_it_finds_there(program: Any, folder: bytes) -> None:
    program.path_create_directory(3, b"made")
    program.create(folder + b"f", b"x")
    assert program.path_create_directory(3, folder + b"d") == SUCCESS
    assert program.path_symlink(b"f", 3, folder + b"l") == SUCCESS
    assert program.path_rename(3, folder + b"l", 3, folder + b"d/l") == SUCCESS
    assert program.read(program.open(folder + b"f"), 9) == b"x"
    assert names(program.list(program.open(folder + b"d", 2)))[2:] == [b"l"]
    assert program.layer.files() == {}


def test_inputs_can_be_renamed_linked_stamped_and_removed(program: Any) -> None:
    assert program.path_link(3, 0, b"data/in.txt", 3, b"tmp/linked") == SUCCESS
    assert program.path_filestat_set_times(3, 0, b"data/in.txt", 7, 8, 1 | 4) == SUCCESS
    assert (program.stat(b"tmp/linked")["mtim"], program.stat(b"tmp/linked")["nlink"]) == (8, 2)
    assert program.path_rename(3, b"data/in.txt", 3, b"moved") == SUCCESS
    assert program.path_rename(3, b"data", 3, b"tmp/data") == SUCCESS
    assert program.path_unlink_file(3, b"tmp/data/sub/deep.txt") == SUCCESS
    assert program.path_remove_directory(3, b"tmp/data/sub") == SUCCESS
    assert program.path_remove_directory(3, b"tmp/data") == SUCCESS
    assert program.read(program.open(b"moved"), 9) == b"input"


def test_an_input_that_is_moved_to_out_comes_back(program: Any) -> None:
    assert program.path_rename(3, b"data/in.txt", 3, b"out/in.txt") == SUCCESS
    assert program.path_link(3, 0, b"data/sub/deep.txt", 3, b"out/deep.txt") == SUCCESS
    assert program.layer.files() == {"in.txt": b"input", "deep.txt": b"deep"}
    assert program.layer.output_size == 9


def test_tmp_is_a_folder_like_any_other_and_out_stays(program: Any) -> None:
    assert program.path_remove_directory(3, b"tmp") == SUCCESS
    assert program.path_symlink(b"out", 3, b"tmp") == SUCCESS
    program.create(b"tmp/f", b"x")
    assert program.layer.files() == {"f": b"x"}


def test_names_are_bounded_wherever_they_are_made(program: Any) -> None:
    fd = program.open(b"data", 2)
    for index in range(MOST_ENTRIES):
        assert program.path_link(3, 0, b"data/in.txt", fd, b"%d" % index) == SUCCESS
    assert program.path_create_directory(3, b"one") == NOSPC
    assert program.path_unlink_file(3, b"data/sub/deep.txt") == SUCCESS
    assert program.path_create_directory(3, b"one") == SUCCESS
    assert program.path_create_directory(3, b"two") == NOSPC


def test_an_input_that_ends_with_a_slash_is_an_empty_folder(make_program: Callable[..., Any]) -> None:
    program = make_program(inputs={"a/b/": b"", "a/f": b"x", "c/": b""})
    assert names(program.list(program.open(b"a", 2)))[2:] == [b"b", b"f"]
    for path in (b"a/b", b"c"):
        assert program.stat(path)["type"] == DIRECTORY
        program.create(path + b"/f")


@pytest.mark.parametrize("inputs", [{"a/": b"x"}, {"a": b"", "a/": b""}, {"tmp/": b""}])
def test_a_folder_with_content_or_at_a_path_that_is_taken_is_refused(
    make_program: Callable[..., Any], inputs: dict[str, bytes]
) -> None:
    with pytest.raises(ValueError, match="input"):
        make_program(inputs=inputs)


@pytest.mark.parametrize(
    "path", ["tmp/x", "out/x", "tmp", "", "/x", "a//b", "../x", "a/./b", "x\0", "data", "data/in.txt/x"]
)
def test_inputs_that_make_no_tree_are_refused(make_program: Callable[..., Any], path: str) -> None:
    with pytest.raises(ValueError, match="input"):
        make_program(inputs={"data/in.txt": b"", path: b""})


def test_a_directory_is_listed_in_the_order_in_which_names_were_made(program: Any) -> None:
    for name in (b"c", b"a", b"b"):
        program.create(b"tmp/" + name)
    assert program.path_rename(3, b"tmp/c", 3, b"tmp/d") == SUCCESS
    assert names(program.list(program.open(b"tmp", 2)))[2:] == [b"a", b"b", b"d"]


def test_a_cookie_stays_valid_while_the_directory_changes(program: Any) -> None:
    for index in range(20):
        program.create(b"tmp/%02d" % index)
    fd = program.open(b"tmp", 2)
    first = program.list(fd, 0, 200)
    cookie = first[-1][2]
    for name in (b"00", b"05", names(first)[-1], b"06", b"19"):
        program.path_unlink_file(3, b"tmp/" + name)
    program.create(b"tmp/new")
    rest = names(program.list(fd, cookie))
    assert rest == [b"%02d" % index for index in range(7, 19)] + [b"new"]
    assert program.list(fd, 1 << 63) == []


def test_listing_fills_the_buffer_and_cuts_the_last_entry(program: Any) -> None:
    program.create(b"tmp/" + b"n" * 100)
    fd = program.open(b"tmp", 2)
    assert program.fd_readdir(fd, 0x8000, 60, 0, SCRATCH) == SUCCESS
    assert program.read_back("<I") == (60,)
    assert program.fd_readdir(fd, 0x8000, 60, 2, SCRATCH) == SUCCESS
    assert program.read_back("<I") == (60,)
    assert program.fd_readdir(fd, 0x8000, 0, 0, SCRATCH) == SUCCESS
    assert program.read_back("<I") == (0,)


def test_the_last_component_is_a_link_itself_unless_it_is_followed(program: Any) -> None:
    program.create(b"tmp/f", b"content")
    assert program.path_symlink(b"f", 3, b"tmp/l") == SUCCESS
    assert (program.stat(b"tmp/l")["type"], program.stat(b"tmp/l")["size"]) == (LINK, 1)
    assert program.stat(b"tmp/l", follow=1)["type"] == FILE
    assert program.path_link(3, 0, b"tmp/l", 3, b"tmp/m") == SUCCESS
    assert program.stat(b"tmp/m")["type"] == LINK
    assert program.path_link(3, 1, b"tmp/l", 3, b"tmp/n") == SUCCESS
    assert program.stat(b"tmp/n")["nlink"] == 2
    assert program.path_readlink(3, b"tmp/l", SCRATCH, 64, SCRATCH + 64) == SUCCESS
    assert program.read_back("1s63xI") == (b"f", 1)
    assert program.path_unlink_file(3, b"tmp/l") == SUCCESS
    assert program.read(program.open(b"tmp/f"), 9) == b"content"


def test_a_dangling_link_that_is_followed_creates_what_it_names(program: Any) -> None:
    assert program.path_symlink(b"../out/f", 3, b"tmp/l") == SUCCESS
    fd = program.open(b"tmp/l", 1)
    assert program.write(fd, b"x") == (SUCCESS, 1)
    assert program.layer.files() == {"f": b"x"}


@pytest.mark.parametrize("path", [b"..", b"../f", b"d/../../f", b"up/f", b"/tmp/f"])
def test_no_path_leaves_the_directory_that_it_starts_in(program: Any, path: bytes) -> None:
    program.create(b"tmp/f")
    program.path_create_directory(3, b"tmp/top")
    program.path_create_directory(3, b"tmp/top/d")
    program.path_symlink(b"d/../..", 3, b"tmp/top/up")
    fd = program.open(b"tmp/top", 2)
    assert program.path_filestat_get(fd, 1, path, SCRATCH) == PERM
    assert program.path_open(fd, 1, path, 1, 0, 0, 0, SCRATCH) == PERM


def test_rename_replaces_files_and_empty_directories_and_moves_trees(program: Any) -> None:
    program.create(b"tmp/a", b"a")
    program.create(b"tmp/b", b"b")
    number = program.stat(b"tmp/a")["ino"]
    assert program.path_rename(3, b"tmp/a", 3, b"tmp/b") == SUCCESS
    assert program.stat(b"tmp/b")["ino"] == number
    assert program.path_filestat_get(3, 0, b"tmp/a", SCRATCH) == NOENT
    for path in (b"tmp/d", b"tmp/d/e", b"tmp/empty"):
        assert program.path_create_directory(3, path) == SUCCESS
    program.create(b"tmp/d/e/f", b"deep")
    assert program.path_rename(3, b"tmp/d/", 3, b"tmp/empty/") == SUCCESS
    assert program.path_rename(3, b"tmp/empty", 3, b"out/tree") == SUCCESS
    assert program.layer.files() == {"tree/e/f": b"deep"}
    assert program.path_rename(3, b"out/tree/e", 3, b"tmp/e") == SUCCESS
    assert program.layer.files() == {}
    assert program.path_filestat_get(program.open(b"tmp/e", 2), 0, b"../f", SCRATCH) == PERM


def test_two_names_of_one_file_stay_two_when_one_is_renamed_to_the_other(program: Any) -> None:
    program.create(b"tmp/a")
    assert program.path_link(3, 0, b"tmp/a", 3, b"tmp/b") == SUCCESS
    assert program.path_rename(3, b"tmp/a", 3, b"tmp/b") == SUCCESS
    assert names(program.list(program.open(b"tmp", 2)))[2:] == [b"a", b"b"]


def test_a_removed_directory_that_is_open_holds_nothing_and_takes_nothing(program: Any) -> None:
    program.path_create_directory(3, b"tmp/d")
    fd = program.open(b"tmp/d", 2)
    assert program.path_remove_directory(3, b"tmp/d") == SUCCESS
    assert names(program.list(fd)) == [b".", b".."]
    assert program.path_open(fd, 0, b"x", 1, 0, 0, 0, SCRATCH) == NOENT
    assert program.path_filestat_get(fd, 0, b".", SCRATCH) == SUCCESS


def test_regular_files_in_out_come_back_sorted_by_path(program: Any) -> None:
    for path in (b"out/b", b"out/d", b"out/d/e"):
        assert program.path_create_directory(3, path) == SUCCESS
    program.create("out/d/e/ü".encode(), b"1")
    program.create(b"out/d.x", b"2")
    program.create(b"out/a", b"3")
    program.path_symlink(b"a", 3, b"out/link")
    program.path_link(3, 0, b"out/a", 3, b"out/z")
    program.write(1, b"out")
    program.write(2, b"err")
    assert list(program.layer.files().items()) == [("a", b"3"), ("d.x", b"2"), ("d/e/ü", b"1"), ("z", b"3")]
    assert program.layer.output_size == 10


def test_files_removed_from_out_make_room_for_others(program: Any) -> None:
    for index in range(MOST_OUT_FILES):
        program.create(b"out/%d" % index)
    program.create(b"tmp/x")
    assert program.path_unlink_file(3, b"out/7") == SUCCESS
    assert program.path_rename(3, b"tmp/x", 3, b"out/x") == SUCCESS
    assert program.path_rename(3, b"out/x", 3, b"out/9") == SUCCESS
    program.create(b"out/y")
    assert len(program.layer.files()) == MOST_OUT_FILES


def test_rights_are_handed_down_and_never_up(program: Any) -> None:
    program.create(b"tmp/f", b"abc")
    held = rights.PATH_OPEN | rights.FD_READDIR
    assert program.path_open(3, 0, b"tmp", 2, held, rights.FD_READ, 0, SCRATCH) == SUCCESS
    (folder,) = program.read_back("<I")
    assert program.fd_fdstat_get(folder, SCRATCH) == SUCCESS
    assert program.read_back("<BxHxxxxQQ") == (DIRECTORY, 0, held, rights.FD_READ)
    assert program.path_open(folder, 0, b"f", 0, rights.FD_READ, 0, 0, SCRATCH) == SUCCESS
    (fd,) = program.read_back("<I")
    assert program.read(fd, 9) == b"abc"
    assert program.fd_fdstat_set_rights(fd, 0, 0) == SUCCESS
    assert program.fd_read(fd, 0x3000, 1, SCRATCH) == NOTCAPABLE
    assert program.fd_fdstat_set_rights(fd, rights.FD_READ, 0) == NOTCAPABLE


@pytest.mark.parametrize("held_by", ["base", "inheriting"])
@pytest.mark.parametrize(("flags", "right"), [(2, "FD_DATASYNC"), (2, "FD_SYNC"), (8, "FD_SYNC"), (16, "FD_SYNC")])
def test_what_is_synchronized_is_asked_of_base_or_inheriting_rights(
    program: Any, flags: int, right: str, held_by: str
) -> None:
    asked = getattr(rights, right)
    base, inheriting = (asked, 0) if held_by == "base" else (0, asked)
    base |= rights.PATH_OPEN | rights.PATH_CREATE_FILE
    assert program.path_open(3, 0, b"tmp", 2, base, inheriting | rights.FD_WRITE, 0, SCRATCH) == SUCCESS
    (folder,) = program.read_back("<I")
    assert program.path_open(folder, 0, b"f", 1, rights.FD_WRITE, 0, flags, SCRATCH) == SUCCESS


def test_a_file_that_is_not_opened_for_writing_is_emptied_with_a_right_to_cut_alone(program: Any) -> None:
    program.create(b"tmp/f", b"content")
    assert program.path_open(3, 0, b"tmp", 2, rights.PATH_OPEN, rights.FD_WRITE, 0, SCRATCH) == SUCCESS
    (folder,) = program.read_back("<I")
    assert program.path_open(folder, 0, b"f", 8, 0, 0, 0, SCRATCH) == NOTCAPABLE
    assert program.stat(b"tmp/f")["size"] == 7


@pytest.mark.parametrize("right", ["FD_WRITE", "FD_FILESTAT_SET_SIZE"])
def test_what_may_be_written_to_may_be_emptied(program: Any, right: str) -> None:
    program.create(b"tmp/f", b"content")
    held = getattr(rights, right)
    assert program.path_open(3, 0, b"tmp", 2, rights.PATH_OPEN, held, 0, SCRATCH) == SUCCESS
    (folder,) = program.read_back("<I")
    assert program.path_open(folder, 0, b"f", 8, held, 0, 0, SCRATCH) == SUCCESS
    assert program.stat(b"tmp/f")["size"] == 0


def test_rights_that_do_not_apply_to_the_type_are_left_out(program: Any) -> None:
    expectations = (
        (b"tmp", rights.OF_DIRECTORIES),
        (b"data/in.txt", rights.OF_FILES & ~rights.FD_WRITE),
        (b"dev/null", rights.OF_FILES & ~rights.FD_WRITE),
    )
    for path, expected in expectations:
        assert program.path_open(3, 0, path, 0, rights.ALL & ~rights.FD_WRITE, rights.ALL, 0, SCRATCH) == SUCCESS
        (fd,) = program.read_back("<I")
        assert program.fd_fdstat_get(fd, SCRATCH) == SUCCESS
        assert program.read_back("<BxHxxxxQ")[2] == expected


def test_making_what_is_there_is_refused(program: Any) -> None:
    assert program.path_create_directory(3, b"data") == EXIST
    assert program.path_create_directory(3, b".") == EXIST
    assert program.path_rename(3, b"tmp", 3, b"tmp/..") == INVAL


def test_a_search_for_a_loop_is_bounded_however_deep_the_tree(program: Any) -> None:
    program.path_create_directory(3, b"tmp/d")
    fd = program.open(b"tmp", 2)
    for _ in range(600):
        program.path_create_directory(fd, b"d")
        below = program.open(b"d", 2, fd=fd)
        program.fd_close(fd)
        fd = below
    program.path_create_directory(3, b"tmp/e")
    assert program.path_rename(3, b"tmp/e", fd, b"e") != SUCCESS
    assert program.path_open(fd, 0, b"f", 1, 0, 0, 0, SCRATCH) == SUCCESS
