"""The home belongs to one user and, while it is locked, to one process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from plasm.cli.context import Context
from plasm.home import Home, HomeBusy, HomeError, NoHome, default_home


def test_plasm_home_comes_before_the_platforms_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_home({"PLASM_HOME": "/var/lib/plasm"}) == Path("/var/lib/plasm")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere/data")
    if sys.platform == "linux":
        assert default_home({"PLASM_HOME": ""}) == Path("/somewhere/data/plasm")


def test_folders_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    folder = home.folder("cache/engine")
    assert folder == tmp_path / "deep" / "home" / "cache" / "engine"
    for made in (folder, folder.parent, folder.parent.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert home.folder("cache/engine") == folder


def test_without_a_home_there_are_no_folders_and_nothing_to_lock() -> None:
    assert Home(None).folder("keys") is None
    with Home(None).lock(), Home(None).lock():
        pass


def test_a_symbolic_link_is_refused_as_home_and_inside_it(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    with pytest.raises(HomeError, match="symbolic link"):
        Home(tmp_path / "link").folder("keys")
    (real / "keys").symlink_to(tmp_path)
    with pytest.raises(HomeError, match="symbolic link"):
        Home(real).folder("keys")


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys").chmod(0o770)
    with pytest.raises(HomeError, match="written by others") as caught:
        Home(tmp_path).folder("keys")
    assert caught.value.mend.startswith("chmod 700")


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(HomeError, match="belongs to user"):
        Home(tmp_path / "home").folder()


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    with pytest.raises(HomeError, match="not a folder"):
        Home(tmp_path).folder("keys")


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc"])
def test_no_folder_outside_the_home_can_be_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a folder"):
        Home(tmp_path).folder(name)


def test_the_lock_is_one_at_a_time_and_free_afterwards(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.lock():
        assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
        with pytest.raises(HomeBusy), home.lock():
            pass
    with home.lock():
        pass


def test_a_busy_home_names_the_process_that_has_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from plasm.home import Home\n"
        "with Home(Path(sys.argv[1])).lock(): print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(HomeBusy, match=f"process {holder.pid} is using the home") as caught, Home(tmp_path).lock():
            pass
        assert caught.value.pid == holder.pid
        holder.kill()
    with Home(tmp_path).lock():
        pass


def test_a_lock_file_with_garbage_names_no_process(tmp_path: Path) -> None:
    with Home(tmp_path).lock():
        (tmp_path / "lock").write_bytes(b"\x1b[2Jrm -rf")
        with pytest.raises(HomeBusy, match="another process") as caught, Home(tmp_path).lock():
            pass
    assert caught.value.pid is None


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with Home(tmp_path).lock():
        child = os.fork()
        if child == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
    try:
        with Home(tmp_path).lock():
            pass
    finally:
        os.close(write_end)
        os.waitpid(child, 0)
        os.close(read_end)


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(HomeError), Home(tmp_path).lock():
        pass
    assert (tmp_path / "target").read_text() == "precious"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom nothing gives a home folder, as in a container with a number for a user."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "PLASM_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_folder_is_told_what_to_set() -> None:
    with pytest.raises(NoHome, match="there is no home folder for user") as caught:
        default_home()
    assert "PLASM_HOME" in caught.value.mend
    assert "--profile private" in caught.value.mend


@pytest.mark.usefixtures("homeless")
def test_a_profile_that_writes_nothing_needs_no_home() -> None:
    assert Context(profile="private").plan({"runtime"}).home == Home(None)
    with pytest.raises(NoHome):
        Context(profile="internet").plan({"runtime"})
