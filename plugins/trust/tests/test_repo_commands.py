"""plasm repo: what it does, says and exits with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from plasm_trust.cli import options
from plasm_trust.commands import COMMANDS, repo
from plasm_trust.published import Published

from plasm.cli.root import run

KERNEL = "stable/x86_64/kernel"


@pytest.fixture
def plasm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command in the test's folder, and returns what it wrote to stdout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLASM_HOME", str(tmp_path / "home"))

    def plasm(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        found = run(arguments)
        written = capsys.readouterr()
        assert found == status, written
        plasm.stderr = written.err
        return written.out

    return plasm


@pytest.fixture
def answer(plasm) -> Callable[..., dict[str, Any]]:
    """The same of a command that is given --json."""
    return lambda *arguments, status=0: json.loads(plasm(*arguments, "--json", status=status))


@pytest.fixture
def made(plasm, tmp_path: Path) -> Path:
    plasm("repo", "init", "r")
    return tmp_path / "r"


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    (tmp_path / "vmlinuz").write_bytes(b"a kernel")
    return "vmlinuz"


def key(plasm, name: str) -> str:
    """Make a key in a file; its did:key."""
    return plasm("key", "generate", f"file:{name}").split()[-1]


def test_the_command_is_found_by_its_entry_point():
    (entry,) = entry_points(group="plasm.commands", name="repo")
    assert entry.load() is repo


def test_every_command_has_the_line_that_the_list_shows(plasm):
    listed = plasm("repo", "--help")
    for name, (_, line) in COMMANDS.items():
        assert name in listed
        assert line.split(",")[0].split(";")[0][:30] in " ".join(listed.split())
        assert "Usage: plasm repo" in plasm("repo", name, "--help")


def test_a_repository_is_made_signed_and_published_with_keys_of_its_own(plasm, tmp_path: Path):
    said = plasm("repo", "init", "r")
    published = Published.load(tmp_path / "r")
    assert published.root_fingerprint in said
    assert "1.root.json" in said
    assert {path.name for path in (tmp_path / "r-keys").iterdir()} == {"root.key", "online.key", "stable.key"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "r-keys").iterdir())


def test_offline_and_online_keys_are_apart(plasm, tmp_path: Path):
    key(plasm, "one.key")
    plasm("repo", "init", "r", "--root", "file:one.key", "--online", "file:one.key", status=125)
    assert "an online key is in more danger" in plasm.stderr
    assert not (tmp_path / "r").exists()


def test_a_key_that_is_not_there_is_not_made_by_mistake(plasm, tmp_path: Path):
    plasm("repo", "init", "r", "--root", "file:typo.key", status=125)
    plasm("repo", "init", "r", "--channel", "stable=file:typo.key", status=125)
    assert not (tmp_path / "typo.key").exists()
    assert not (tmp_path / "r").exists()
    assert not (tmp_path / "r-keys").exists()


def test_a_folder_that_holds_something_is_left_alone(plasm, made):
    plasm("repo", "init", "r", status=125)
    assert "not empty" in plasm.stderr


def test_an_artifact_is_added_signed_and_published(answer, made, kernel):
    added = answer("repo", "add", KERNEL, kernel, "--version", "6.1", "--cmdline", "quiet", "-r", "r")
    assert (added["path"], added["size_bytes"], added["kind"]) == (KERNEL, 8, "kernel")
    assert KERNEL not in Published.load(made).artifacts
    signed = answer("repo", "sign", "-r", "r")
    assert (signed["published"], signed["versions"]["stable"], signed["staged"]) == (True, 2, [])
    artifact = Published.load(made).artifacts[KERNEL]
    assert (artifact.version, artifact.cmdline) == ("6.1", "quiet")


def test_whoever_signs_sees_what(plasm, made, kernel):
    plasm("repo", "add", KERNEL, kernel, "--cmdline", "quiet", "-r", "r")
    plasm("repo", "sign", "-r", "r")
    assert f"+ {KERNEL} kernel (8 bytes, sha256:" in plasm.stderr
    assert "command line 'quiet'" in plasm.stderr


@pytest.mark.parametrize("path", ["kernel", "stable/x86_64/../kernel", "stable/mips/kernel", "Stable/x86_64/kernel"])
def test_what_is_no_target_path_is_wrong_usage(plasm, made, kernel, path: str):
    plasm("repo", "add", path, kernel, "-r", "r", status=2)


def test_a_channel_that_is_not_there_is_not_made_by_mistake(plasm, made, kernel):
    plasm("repo", "add", "stabel/x86_64/kernel", kernel, "-r", "r", status=125)
    assert "plasm repo channel" in plasm.stderr


@pytest.mark.parametrize("options", [["--cmdline", "a\nb"], ["--version", "é"], ["--cmdline", "x" * 3000]])
def test_what_no_client_would_take_is_not_signed(plasm, made, kernel, options: list[str]):
    plasm("repo", "add", KERNEL, kernel, *options, "-r", "r", status=125)
    assert "printable ASCII" in plasm.stderr


def test_a_symbolic_link_is_not_signed(plasm, made, kernel, tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / kernel)
    plasm("repo", "add", KERNEL, "link", "-r", "r", status=125)


def test_an_artifact_is_removed(plasm, made, kernel):
    plasm("repo", "add", KERNEL, kernel, "-r", "r")
    plasm("repo", "sign", "-r", "r")
    plasm("repo", "remove", KERNEL, "-r", "r")
    plasm("repo", "sign", "-r", "r")
    assert Published.load(made).artifacts == {}
    plasm("repo", "remove", KERNEL, "-r", "r", status=125)


def test_only_the_roles_that_are_named_are_signed(plasm, answer, made, kernel):
    plasm("repo", "add", KERNEL, kernel, "-r", "r")
    assert answer("repo", "sign", "--role", "root", "-r", "r")["signed"] == []
    plasm("repo", "sign", "--role", "timestamp", "-r", "r", status=2)
    assert len(answer("repo", "sign", "--role", "stable", "-r", "r")["signed"]) == 1


def test_nothing_staged_is_nothing_to_sign(plasm, made):
    assert "nothing to sign" in plasm("repo", "sign", "-r", "r")


def test_a_channel_is_added_with_keys_of_its_own(plasm, answer, made, kernel):
    did = key(plasm, "beta.key")
    plasm("repo", "channel", "beta", "--key", "file:beta.key", "-r", "r")
    plasm("repo", "add", "beta/arm64/kernel", kernel, "-r", "r")
    signed = answer("repo", "sign", "-r", "r")
    assert {"role": "beta", "key": did} in signed["signed"]
    assert "beta/arm64/kernel" in Published.load(made).artifacts


def test_signatures_of_several_machines_come_together(plasm, answer, tmp_path: Path):
    dids = {}
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()
        dids[name] = key(plasm, f"{name}/root.key")
    made = answer("repo", "init", "alice/r", "--root", f"file:{tmp_path}/alice/root.key", "--root", dids["bob"])
    assert made["published"] is False
    (root, *_) = made["staged"]
    assert (root["role"], root["missing"], root["unsigned"]) == ("root", 1, [dids["bob"]])
    assert made["absent"] == {dids["bob"]: "no URI is known here for it"}
    shutil.copytree(tmp_path / "alice/r", tmp_path / "bob/r")
    shutil.move(tmp_path / "alice/r-keys", tmp_path / "not-on-bobs-machine")
    signed = answer("repo", "sign", "-r", "bob/r", "--key", "file:bob/root.key")
    assert signed["published"] is False
    assert "online keys" in signed["hindrance"]
    shutil.move(tmp_path / "not-on-bobs-machine", tmp_path / "alice/r-keys")
    shutil.rmtree(tmp_path / "alice/r")
    shutil.copytree(tmp_path / "bob/r", tmp_path / "alice/r")
    assert answer("repo", "sign", "-r", "alice/r")["published"] is True


def test_a_key_is_rotated_by_its_uri(plasm, answer, made, kernel):
    did = key(plasm, "new.key")
    said = answer("repo", "rotate", f"file:{made}-keys/stable.key", "--to", "file:new.key", "-r", "r")
    assert said["new"] == did
    signed = answer("repo", "sign", "-r", "r")
    assert {"role": "stable", "key": did} in signed["signed"]
    assert (signed["versions"]["targets"], signed["versions"]["stable"]) == (2, 2)


def test_a_key_is_revoked(plasm, answer, made):
    key(plasm, "second.key")
    plasm("repo", "channel", "stable", "--key", f"file:{made}-keys/stable.key", "--key", "file:second.key", "-r", "r")
    plasm("repo", "sign", "-r", "r")
    plasm("repo", "rotate", "file:second.key", "--revoke", "-r", "r")
    assert answer("repo", "sign", "-r", "r")["versions"]["targets"] == 3


def test_the_last_key_of_a_role_is_not_revoked(plasm, made):
    plasm("repo", "rotate", f"file:{made}-keys/stable.key", "--revoke", "-r", "r", status=125)
    assert "needs 1 to 32 keys" in plasm.stderr


@pytest.mark.parametrize(
    "arguments",
    [["no such key", "--revoke"], ["x"], ["x", "--revoke", "--to", "file:y"], ["x", "--revoke", "--role", "y"]],
)
def test_rotating_what_is_not_there_is_wrong_usage(plasm, made, arguments: list[str]):
    if "--to" in arguments:
        key(plasm, "y")
    plasm("repo", "rotate", *arguments, "-r", "r", status=2)


def test_a_rotation_that_waits_for_signatures_holds_nothing_up(plasm, answer, made, kernel, tmp_path: Path):
    """The old online key publishes on, until the root that revokes it is signed."""
    new = key(plasm, "new.key")
    plasm("repo", "rotate", f"file:{made}-keys/online.key", "--to", "file:new.key", "-r", "r")
    (tmp_path / "r-keys/root.key").rename(tmp_path / "in-the-safe")
    plasm("repo", "add", KERNEL, kernel, "-r", "r")
    signed = answer("repo", "sign", "-r", "r")
    assert (signed["versions"]["stable"], signed["versions"]["root"]) == (2, 1)
    assert [each["role"] for each in signed["staged"]] == ["root"]
    (tmp_path / "in-the-safe").rename(tmp_path / "r-keys/root.key")
    assert answer("repo", "sign", "-r", "r")["versions"]["root"] == 2
    (tmp_path / "r-keys/online.key").unlink()
    assert answer("repo", "renew", "-r", "r")["published"] is True
    assert new in json.dumps(answer("repo", "status", "-r", "r")["keys"])


def test_the_timestamp_is_renewed_and_roles_when_they_are_named(plasm, answer, made):
    assert answer("repo", "renew", "-r", "r")["versions"]["timestamp"] == 2
    renewed = answer("repo", "renew", "root", "stable", "-r", "r")
    assert (renewed["versions"]["root"], renewed["versions"]["stable"], renewed["versions"]["targets"]) == (2, 2, 1)
    plasm("repo", "renew", "nothing", "-r", "r", status=2)


def test_without_the_online_keys_nothing_is_renewed(plasm, made, tmp_path: Path):
    (tmp_path / "r-keys/online.key").unlink()
    plasm("repo", "renew", "-r", "r", status=125)
    assert "online keys" in plasm.stderr


def test_status_says_in_words_what_expires_when(plasm, made):
    said = plasm("repo", "status", "-r", "r")
    for role, days in (("root", 364), ("targets", 364), ("snapshot", 29), ("timestamp", 6), ("stable", 89)):
        assert f"{role} 1 expires in {days} days (" in said


@pytest.mark.parametrize(
    ("days", "due", "mend"),
    [
        (4, [], ""),
        (6, ["timestamp"], "plasm repo renew"),
        (80, ["snapshot", "timestamp", "stable"], "plasm repo renew stable"),
        (400, ["root", "targets", "snapshot", "timestamp", "stable"], "plasm repo renew root targets stable"),
    ],
)
def test_status_exits_1_when_it_is_time(
    plasm, answer, made, monkeypatch: pytest.MonkeyPatch, days: int, due: list[str], mend: str
):
    later = datetime.now(UTC) + timedelta(days=days)
    monkeypatch.setattr("plasm_trust.cli.status.now", lambda: later)
    assert [
        each["role"] for each in answer("repo", "status", "-r", "r", status=bool(due))["roles"] if each["due"]
    ] == due
    said = plasm("repo", "status", "-r", "r", status=bool(due))
    assert said.endswith(f"{mend}\n")
    assert ("time to sign it anew" in said) is bool(due)


def test_status_shows_what_is_staged_and_who_is_missing(plasm, answer, made, kernel):
    plasm("repo", "add", KERNEL, kernel, "-r", "r")
    said = plasm("repo", "status", "-r", "r")
    assert f"+ {KERNEL} kernel" in said
    assert "stable 2 needs 1 more signature, of:" in said
    (staged,) = answer("repo", "status", "-r", "r")["staged"]
    assert (staged["role"], staged["missing"]) == ("stable", 1)


def test_status_names_a_channel_that_cannot_be_offered(plasm, made):
    (made / "metadata/1.stable.json").write_bytes(b"{}")
    assert "stable is not offered" in plasm("repo", "status", "-r", "r", status=1)


@pytest.mark.parametrize("command", [["status"], ["sign"], ["renew"], ["add", KERNEL, "vmlinuz"], ["remove", KERNEL]])
def test_where_there_is_no_repository_a_command_says_how_to_make_one(plasm, kernel, command: list[str]):
    plasm("repo", *command, status=125)
    assert "plasm repo init" in plasm.stderr
    assert len(plasm.stderr.splitlines()) == 1


def test_a_failure_is_told_in_json_too(answer, made):
    assert answer("repo", "sign", "-r", "nowhere", status=125)["error"]["mend"] == "plasm repo init makes one"


def test_time_is_read_when_it_is_needed():
    assert (options.now() - datetime.now(UTC)).total_seconds() < 60
