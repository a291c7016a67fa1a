"""Keys of every role are exchanged and revoked, and clients that pinned the first root follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from plasm_trust import manifest
from plasm_trust.client import Reason, TrustRefused
from plasm_trust.keyids import key_id
from plasm_trust.published import Published
from plasm_trust.settings import Settings

from plasm.testing import FakeSigner

ROOT, TARGETS, ONLINE, STABLE, BETA = 1, 2, 3, 4, 5
NEW = 40
KERNEL = "stable/x86_64/kernel"
ROLES = {"root": ROOT, "targets": TARGETS, "snapshot": ONLINE, "timestamp": ONLINE, "stable": STABLE}


def with_keys(role: str, *dids: str, threshold: int = 1) -> Callable[[Settings], Settings]:
    def change(settings: Settings) -> Settings:
        table = "roles" if role in settings.roles else "channels"
        roles = dict(getattr(settings, table))
        roles[role] = msgspec.structs.replace(roles[role], keys=dids, threshold=threshold)
        return msgspec.structs.replace(settings, **{table: roles})

    return change


@pytest.fixture
def rotate(publisher):
    def rotate(role: str, *numbers: int, threshold: int = 1) -> Published:
        """Give `role` the keys of these numbers, and publish."""
        publisher.held |= set(numbers)
        publisher.configure(with_keys(role, *map(publisher.did, numbers), threshold=threshold))
        return publisher.publish()

    return rotate


@pytest.mark.parametrize("role", ROLES)
def test_a_new_key_takes_the_place_of_the_old_one(client, provider, publisher, rotate, role: str):
    client.refresh().artifact(KERNEL)
    rotate(role, NEW)
    publisher.held.discard(ROLES[role])
    publisher.held |= {ONLINE} if role in ("snapshot", "timestamp") else set()
    provider.serve(publisher.publish({KERNEL: b"what the new key signs"}))
    assert client.refresh().artifact(KERNEL).size == 22


@pytest.mark.parametrize("role", ROLES)
def test_a_client_that_comes_late_follows_over_all_rotations(make_client, provider, rotate, role: str):
    for number in range(NEW, NEW + 3):
        provider.serve(rotate(role, number))
    assert make_client("late").refresh().artifact(KERNEL).size == 8


def sign_alone(provider, role: str, key: int) -> None:
    """What whoever holds `key` can make of what is published, with the online keys of the time to help."""

    def next_version(signed: Any) -> None:
        signed["version"] += 1

    names = {name for name in provider.files if name.endswith(f".{role}.json")} or {f"metadata/{role}.json"}
    name = max(names).removeprefix("metadata/")
    version = int(name.split(".")[0]) if name[0].isdigit() else 0
    provider.edit(name, next_version, signed_by=[key], under=f"{version + 1}.{role}.json" if version else name)


@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_a_revoked_key_signs_nothing_more(client, provider, rotate, role: str):
    provider.serve(rotate(role, NEW))
    sign_alone(provider, role, ROLES[role])
    with pytest.raises(TrustRefused) as refused:
        client.refresh()
    assert refused.value.reason in (Reason.BAD_SIGNATURE, Reason.WRONG_ROLE)


@pytest.mark.parametrize("role", ["snapshot", "targets", "stable"])
def test_what_a_revoked_key_has_signed_is_no_part_of_a_new_publication(provider, publisher, rotate, role: str):
    before = Published.load(publisher.folder)
    after = rotate(role, NEW)
    assert after.versions[role] == before.versions[role] + 1
    assert set(after.artifacts) == set(before.artifacts)
    assert set(after.manifests) == set(before.manifests)


def test_a_revoked_channel_key_does_not_sign_its_manifest_either(publisher, rotate):
    after = rotate("stable", NEW)
    new, old = FakeSigner(NEW).public_key, FakeSigner(STABLE).public_key
    data = after.manifests["stable", "x86_64"]
    assert manifest.verify(data, {key_id(new): new}).artifacts["kernel"].size == 8
    with pytest.raises(TrustRefused):
        manifest.verify(data, {key_id(old): old})


def test_a_key_is_revoked_without_another_in_its_place(client, provider, publisher, rotate):
    rotate("stable", STABLE, NEW)
    provider.serve(rotate("stable", NEW))
    assert client.refresh().artifact(KERNEL).size == 8
    publisher.held.discard(NEW)
    with publisher.open() as repository:
        repository.stage(renewed=["stable"])
        repository.sign(publisher.signers)
        assert [wanted.missing for wanted in repository.wanted()] == [1]


def test_a_new_root_needs_enough_of_the_old_keys_and_enough_of_the_new(client, provider, publisher):
    publisher.configure(with_keys("root", publisher.did(NEW)))
    with publisher.open() as repository:
        (wanted,) = repository.wanted()
        assert set(wanted.unsigned) == {publisher.did(ROOT), publisher.did(NEW)}
        repository.sign([signer for signer in publisher.signers if publisher.did(ROOT) in wanted.unsigned])
        (wanted,) = repository.wanted()
        assert (wanted.missing, wanted.unsigned) == (1, (publisher.did(NEW),))
        repository.publish(publisher.signers)
    assert Published.load(publisher.folder).versions["root"] == 1
    publisher.held |= {NEW}
    provider.serve(publisher.publish())
    assert Published.load(publisher.folder).versions["root"] == 2
    assert client.refresh().artifact(KERNEL).size == 8


@pytest.mark.parametrize("alone", [ROOT, NEW])
def test_neither_the_old_nor_the_new_keys_alone_publish_a_new_root(publisher, alone: int):
    publisher.configure(with_keys("root", publisher.did(NEW)))
    with publisher.open() as repository:
        repository.sign([FakeSigner(alone)])
        assert "root" not in repository.choice().new
        repository.publish(publisher.signers)
    assert Published.load(publisher.folder).versions["root"] == 1


def test_a_threshold_that_is_raised_holds_for_what_is_published_next(client, provider, publisher, rotate):
    provider.serve(rotate("stable", STABLE, NEW, threshold=2))
    assert client.refresh().artifact(KERNEL).size == 8
    publisher.held.discard(NEW)
    with publisher.open() as repository:
        repository.stage(renewed=["stable"])
        repository.sign(publisher.signers)
        assert [wanted.missing for wanted in repository.wanted()] == [1]
        repository.publish(publisher.signers)
    assert Published.load(publisher.folder).versions["stable"] == 2


def test_a_change_that_is_taken_back_leaves_nothing_staged(publisher):
    with publisher.open() as repository:
        settings = repository.settings
        repository.configure(with_keys("timestamp", publisher.did(NEW))(settings))
        assert [wanted.role for wanted in repository.wanted()] == ["root"]
        repository.configure(settings)
        assert repository.wanted() == ()


def test_a_draft_keeps_its_signatures_while_nothing_about_it_changes(publisher):
    publisher.configure(with_keys("root", publisher.did(ROOT), publisher.did(NEW), threshold=2))
    with publisher.open() as repository:
        repository.sign(publisher.signers)
        repository.stage()
        (wanted,) = repository.wanted()
        assert wanted.signed == (publisher.did(ROOT),)
        repository.configure(
            with_keys("root", publisher.did(ROOT), publisher.did(NEW), publisher.did(41), threshold=2)(
                repository.settings
            )
        )
        (wanted,) = repository.wanted()
        assert wanted.signed == ()
