"""``--input`` reads a file or a folder as its user named it, and ``--out`` leaves alone what steers other programs."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from plasm.cli import inputs
from plasm.cli.files import InputUnusable
from plasm.cli.jobfiles import InputBounds, read_inputs, write_outputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``f`` and ``sub/g`` in a folder that has a neighbour."""
    (tmp_path / "folder/sub").mkdir(parents=True)
    (tmp_path / "folder/f").write_bytes(b"f")
    (tmp_path / "folder/sub/g").write_bytes(b"g")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    return tmp_path / "folder"


def read(folder: Path) -> dict[str, bytes]:
    return read_inputs([f"in={folder}"])


def test_a_folder_brings_its_files_by_their_names(folder: Path) -> None:
    assert list(read(folder).items()) == [("in/f", b"f"), ("in/sub/g", b"g")]


def test_empty_folders_are_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "sub/empty/inner").mkdir(parents=True)
    (tmp_path / "nothing").mkdir()
    assert read_inputs([f"in={folder}", f"more={tmp_path / 'nothing'}"]) == {
        "in/f": b"f",
        "in/sub/empty/inner/": b"",
        "in/sub/g": b"g",
        "more/": b"",
    }


def test_an_empty_folder_adds_nothing_to_a_full_one_at_its_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing/sub").mkdir(parents=True)
    given = [f"in={tmp_path / 'nothing'}", f"in={folder}", f"in={tmp_path / 'nothing'}"]
    assert read_inputs(given) == {"in/f": b"f", "in/sub/g": b"g"}


def test_what_the_user_names_may_be_a_link_to_a_file_or_a_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "to-folder").symlink_to(folder)
    (tmp_path / "to-file").symlink_to(folder / "f")
    assert read_inputs([f"a={tmp_path / 'to-folder'}", f"b={tmp_path / 'to-file'}"]) == {
        "a/f": b"f",
        "a/sub/g": b"g",
        "b": b"f",
    }


@pytest.mark.parametrize("absolute", [False, True])
def test_a_link_that_stays_in_the_folder_is_followed(folder: Path, absolute: bool) -> None:
    (folder / "sub/to-f").symlink_to(folder / "f" if absolute else "../f")
    (folder / "to-sub").symlink_to(folder / "sub" if absolute else "./sub/")
    (folder / "twice").symlink_to("to-sub/to-f")
    assert read(folder) == {
        "in/f": b"f",
        "in/sub/g": b"g",
        "in/sub/to-f": b"f",
        "in/to-sub/g": b"g",
        "in/to-sub/to-f": b"f",
        "in/twice": b"f",
    }


@pytest.mark.parametrize(
    "target", ["../outside/secret", "../outside", "sub/../../outside/secret", "/etc/passwd", "up/.."]
)
def test_a_link_that_leads_out_of_the_folder_is_refused(folder: Path, target: str) -> None:
    (folder / "up").symlink_to("sub/..")
    (folder / "link").symlink_to(target)
    with pytest.raises(InputUnusable, match="link is a link that leads out of the folder"):
        read(folder)


@pytest.mark.parametrize(
    ("target", "why"), [("none", "to what is not there"), ("f/x", "to what is not there"), ("link", "leads nowhere")]
)
def test_a_link_to_nothing_is_refused(folder: Path, target: str, why: str) -> None:
    (folder / "link").symlink_to(target)
    with pytest.raises(InputUnusable, match=f"link is a link .*{why}"):
        read(folder)


@pytest.mark.parametrize("target", [".", "..", "../sub"])
def test_a_link_to_a_folder_that_it_is_in_is_refused(folder: Path, target: str) -> None:
    (folder / "sub/link").symlink_to(target)
    with pytest.raises(InputUnusable, match="is a link to a folder that it is in"):
        read(folder)


def test_what_is_neither_file_nor_folder_is_refused_without_waiting_for_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputUnusable, match="pipe is neither a file nor a folder"):
        read(folder)
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        with pytest.raises(InputUnusable, match="socket is neither a file nor a folder"):
            read(folder)


def test_a_pipe_that_the_user_names_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"through a pipe",))
    writer.start()
    assert read_inputs([f"in={tmp_path / 'pipe'}"]) == {"in": b"through a pipe"}
    writer.join()


def replace_by_link(path: Path, target: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("name", "target"), [("sub", "../outside"), ("sub/g", "../../outside/secret")], ids=["folder", "file"]
)
def test_what_becomes_a_link_while_the_folder_is_read_leads_nowhere_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, target: str
) -> None:
    """Between the listing and the opening: whatever was seen before is not what is opened."""
    listed: Callable[[int], list[str]] = os.listdir

    def list_and_swap(descriptor: int) -> list[str]:
        names = listed(descriptor)
        if Path(name).name in names:
            replace_by_link(folder / name, Path(target))
        return names

    monkeypatch.setattr(inputs.os, "listdir", list_and_swap)
    with pytest.raises(InputUnusable, match="leads out of the folder"):
        read(folder)


def test_descriptors_are_closed_however_reading_ends(folder: Path) -> None:
    before = os.listdir("/proc/self/fd")
    read(folder)
    (folder / "sub/link").symlink_to("../../outside/secret")
    with pytest.raises(InputUnusable):
        read(folder)
    with pytest.raises(InputUnusable):
        read_inputs([f"in={folder}"], InputBounds(files=1))
    assert os.listdir("/proc/self/fd") == before


def test_files_and_bytes_are_bounded(folder: Path) -> None:
    assert len(read_inputs([f"in={folder}"], InputBounds(files=2, size=2))) == 2
    with pytest.raises(InputUnusable, match="more than 1 input files"):
        read_inputs([f"in={folder}"], InputBounds(files=1))
    with pytest.raises(InputUnusable, match="sub/g is larger than the 0 bytes that are left"):
        read_inputs([f"in={folder}"], InputBounds(size=1))


def test_a_path_is_given_once(folder: Path) -> None:
    with pytest.raises(InputUnusable, match="given twice"):
        read_inputs([f"in={folder}", f"in/f={folder / 'f'}"])


@pytest.mark.parametrize("text", ["", "a", "=b", "a=", "/=b"])
def test_what_is_not_path_and_file_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter):
        read_inputs([text])


# --- what comes back --------------------------------------------------------------------------------------------------


def test_what_is_hidden_and_was_there_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "out/.git/hooks").mkdir(parents=True)
    (tmp_path / "out/.envrc").write_bytes(b"mine")
    files = {".envrc": b"x", ".git/hooks/pre-commit": b"x", "Makefile": b"new", "a/.git/config": b"new"}
    assert write_outputs(tmp_path / "out", files) == [".envrc", ".git/hooks/pre-commit"]
    assert (tmp_path / "out/.envrc").read_bytes() == b"mine"
    assert list((tmp_path / "out/.git/hooks").iterdir()) == []
    assert (tmp_path / "out/Makefile").read_bytes() == (tmp_path / "out/a/.git/config").read_bytes() == b"new"


def test_a_hidden_link_to_nothing_is_left_alone_too(tmp_path: Path) -> None:
    (tmp_path / ".hidden").symlink_to(tmp_path / "elsewhere")
    assert write_outputs(tmp_path, {".hidden/f": b"x"}) == [".hidden/f"]
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_folder_takes_what_is_hidden(tmp_path: Path) -> None:
    files = {".nojekyll": b"", ".well-known/a": b"a", ".well-known/b": b"b", "index.html": b"i"}
    assert write_outputs(tmp_path / "site", files) == []
    found = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert found == set(files)
    assert stat.S_IMODE((tmp_path / "site/.nojekyll").stat().st_mode) & 0o111 == 0
