"""Several people on several machines sign one after the other; what is half signed is staged and never served."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from plasm_trust.changes import changes
from plasm_trust.published import Published
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.repository import Repository

from plasm.testing import FakeSigner

ALICE, BOB, CAROL = 11, 12, 13
TARGETS, ONLINE, STABLE, BETA = 2, 3, 4, 5


@pytest.fixture
def three(make_publisher):
    """Two of three root keys must sign; of them only Alice's is here."""
    made = make_publisher(root=(ALICE, BOB, CAROL), threshold=2)
    made.held = {ALICE, TARGETS, ONLINE, STABLE, BETA}
    return made


def test_one_of_two_publishes_nothing(three):
    with pytest.raises(TrustRefused) as refused:
        three.publish()
    assert refused.value.reason is Reason.BAD_SIGNATURE
    assert not (three.folder / "metadata").exists()
    with pytest.raises(TrustRefused, match="no repository"):
        Published.load(three.folder)


def test_who_is_missing_is_known(three):
    with three.open() as repository:
        repository.sign(three.signers)
        root = repository.wanted()[0]
    assert (root.role, root.missing, root.signed) == ("root", 1, (three.did(ALICE),))
    assert set(root.unsigned) == {three.did(BOB), three.did(CAROL)}


@pytest.mark.parametrize("other", [BOB, CAROL])
def test_a_second_signature_from_another_machine_publishes(three, tmp_path: Path, other: int):
    with three.open() as repository:
        repository.sign(three.signers)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(three.folder, elsewhere)
    with Repository.open(elsewhere, three.now) as repository:
        assert [added.role for added in repository.sign([FakeSigner(other)])] == ["root"]
        with pytest.raises(TrustRefused, match="online keys"):
            repository.publish([FakeSigner(other)])
    assert not (elsewhere / "metadata").exists()
    shutil.rmtree(three.folder)
    shutil.copytree(elsewhere, three.folder)
    published = three.publish()
    assert published.versions["root"] == 1


def test_the_same_key_does_not_sign_twice(three):
    with three.open() as repository:
        repository.sign(three.signers)
        assert repository.sign(three.signers) == ()
        assert repository.choice() is None


def test_only_the_roles_that_are_named_are_signed(three):
    with three.open() as repository:
        assert {added.role for added in repository.sign(three.signers, ["root"])} == {"root"}


def test_what_is_complete_is_published_while_the_rest_waits(three):
    three.held |= {BOB}
    three.publish({"stable/x86_64/kernel": b"one"})
    three.held = {ALICE, TARGETS, ONLINE, STABLE}
    with three.open() as repository:
        repository.stage(renewed=["root", "beta"])
    published = three.publish({"stable/x86_64/kernel": b"two"})
    assert {role: published.versions[role] for role in ("root", "stable", "beta")} == {
        "root": 1,
        "stable": 2,
        "beta": 1,
    }
    with three.open() as repository:
        assert {wanted.role for wanted in repository.wanted()} == {"root", "beta"}
    three.held |= {CAROL, BETA}
    published = three.publish()
    assert {role: published.versions[role] for role in ("root", "stable", "beta")} == {
        "root": 2,
        "stable": 2,
        "beta": 2,
    }


def test_a_draft_that_somebody_published_elsewhere_is_forgotten(three, tmp_path: Path):
    three.held |= {BOB}
    three.publish()
    with three.open() as repository:
        repository.stage(renewed=["root"])
    staged = tmp_path / "staged"
    shutil.copytree(three.folder / "staged", staged)
    assert three.publish().versions["root"] == 2
    shutil.rmtree(three.folder / "staged")
    shutil.copytree(staged, three.folder / "staged")
    with three.open() as repository:
        assert repository.wanted() == ()


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 10_000, b" " * 600_000])
def test_what_comes_from_another_machine_is_not_taken_on_trust(three, data: bytes):
    (three.folder / "staged/metadata/root.json").write_bytes(data)
    with pytest.raises((TrustRefused, OSError), match=r"staged/.*root\.json"), three.open():
        pass


def test_a_draft_that_was_exchanged_is_seen_by_whoever_signs(three):
    with three.open() as repository:
        before = changes(repository.staging, repository.current())
    assert f"  root: + {three.did(BOB)}" in before
    assert "  root: 2 of 3 must sign" in before
    three.held |= {BOB}
    three.publish({"stable/x86_64/kernel": b"one"})
    with three.open() as repository:
        assert changes(repository.staging, repository.current()) == ()


def test_two_processes_do_not_work_on_one_repository(three):
    with three.open(), pytest.raises(Exception, match="another process"), three.open():
        pass
