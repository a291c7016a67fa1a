"""Files are written whole or not at all, and what stands in their place stays what it is."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from plasm.files import NotText, text_of, write_whole

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away and make devices")


def test_a_new_file_is_there_whole_and_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "receipt", b"whole", 0o640)
    assert (tmp_path / "receipt").read_bytes() == b"whole"
    assert stat.S_IMODE((tmp_path / "receipt").stat().st_mode) & 0o137 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["receipt"]


def test_a_file_that_is_there_is_replaced_and_keeps_its_mode(tmp_path):
    file = tmp_path / "receipt"
    file.write_bytes(b"long before")
    file.chmod(0o600)
    with file.open("rb") as opened:
        write_whole(file, b"new")
        assert opened.read() == b"long before", "who reads the old one reads it to its end"
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "receipt"
    file.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["receipt"]


def test_a_symbolic_link_stays_one_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("there/real")
    write_whole(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "there" / "real").read_bytes() == b"new"


def test_a_symbolic_link_to_nothing_yet_stays_one_too(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("new")
    write_whole(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "new").read_bytes() == b"new"


def test_a_symbolic_link_that_leads_nowhere_is_an_error(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("link")
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(link, b"new")
    assert link.is_symlink()


def test_a_fifo_is_written_to(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    write_whole(fifo, b"data" * 100_000)
    reader.join(10)
    assert read == [b"data" * 100_000]
    assert fifo.is_fifo()


def test_a_link_to_an_open_file_without_a_name_is_written_to(tmp_path):
    with (tmp_path / "gone").open("w+b") as file:
        (tmp_path / "gone").unlink()
        write_whole(tmp_path.joinpath(f"/proc/self/fd/{file.fileno()}"), b"data")
        assert file.read() == b"data"
    assert list(tmp_path.iterdir()) == []


@root_only
def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    write_whole(device, b"data")
    assert device.is_char_device()


@root_only
def test_a_file_of_somebody_else_keeps_its_owner(tmp_path):
    file = tmp_path / "theirs"
    file.write_bytes(b"old")
    os.chown(file, 12345, 12345)
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12345)


@root_only
def test_a_symbolic_link_of_somebody_else_is_not_followed(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("real")
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(PermissionError, match="symbolic link of user 12345"):
        write_whole(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "real").read_bytes() == b"old"


def test_a_byte_order_mark_is_passed_over():
    assert text_of(b"\xef\xbb\xbfslots = 1\n") == "slots = 1\n"
    assert text_of("grün".encode()) == "grün"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding):
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    with pytest.raises(NotText, match="it is UTF-16: save it as UTF-8"):
        text_of(mark + "slots".encode(encoding))


def test_what_is_no_text_is_not_quoted():
    with pytest.raises(NotText, match=r"it is not UTF-8: .* at byte 6$") as caught:
        text_of(b"secret\xff")
    assert "secret" not in str(caught.value)
