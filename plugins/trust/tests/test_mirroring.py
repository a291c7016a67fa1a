"""A mirror serves what a publisher signed, byte for byte, without a key of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from plasm_fetching.http import FetchError
from plasm_trust.client import Reason, TrustRefused
from plasm_trust.mirroring import MirrorBounds, mirror
from plasm_trust.published import Published
from plasm_trust.tufapi import MetaFile

ROOT, ONLINE, STABLE, BETA, NEW = 1, 3, 4, 5, 30
KERNEL = "stable/x86_64/kernel"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


def test_a_mirror_has_what_the_publisher_has(client, publisher, base, copy):
    mirrored = mirror(client.trust, base, copy)
    assert mirrored == Published.load(publisher.folder) == Published.load(copy)


def test_a_client_and_a_second_mirror_are_served_by_a_mirror_alone(make_client, provider, base, copy, tmp_path: Path):
    mirrored = mirror(make_client("first").trust, base, copy)
    provider.serve(mirrored)
    second = mirror(make_client("second").trust, base, tmp_path / "again")
    provider.serve(second)
    assert second == mirrored
    assert make_client("third").refresh().artifact(KERNEL).size == 8


def test_a_mirror_follows_its_publisher(client, publisher, provider, base, copy):
    mirror(client.trust, base, copy)
    publisher.held |= {NEW}
    publisher.publish({KERNEL: b"a newer kernel"})
    publisher.publish({KERNEL: b"the newest kernel"})
    provider.serve(Published.load(publisher.folder))
    mirrored = mirror(client.restarted(), base, copy)
    assert mirrored.artifacts[KERNEL].size == 17
    assert mirrored.manifests == Published.load(publisher.folder).manifests


def test_nothing_is_published_before_the_artifacts_are_there(client, publisher, base, copy):
    def interrupted(published: Published) -> None:
        assert published.artifacts[KERNEL].size == 8
        assert ("stable", "x86_64") in published.manifests
        raise ConnectionError("the artifacts cannot be had")

    with pytest.raises(ConnectionError):
        mirror(client.trust, base, copy, before=interrupted)
    assert not copy.exists()


def test_a_mirror_with_a_new_client_does_not_go_back(make_client, publisher, provider, base, copy):
    old = dict(provider.files)
    provider.serve(publisher.publish({KERNEL: b"a newer kernel"}))
    before = mirror(make_client("first").trust, base, copy)
    provider.files = old
    with pytest.raises(TrustRefused) as refused:
        mirror(make_client("second").trust, base, copy)
    assert refused.value.reason is Reason.ROLLBACK
    assert Published.load(copy) == before


def test_a_mirror_with_a_new_client_does_not_go_back_in_one_channel(make_client, publisher, provider, base, copy):
    """Whoever has stolen the online keys names an old channel in a new snapshot."""
    old = provider.files["metadata/1.stable.json"]
    provider.serve(publisher.publish({KERNEL: b"a newer kernel"}))
    mirror(make_client("first").trust, base, copy)
    named = MetaFile.from_data(1, old, ["sha256"]).to_dict()
    snapshot = provider.edit(
        "2.snapshot.json",
        lambda signed: signed["meta"].update({"stable.json": named}) or signed.update(version=3),
        signed_by=[ONLINE],
        under="3.snapshot.json",
    )
    newest = MetaFile.from_data(3, snapshot, ["sha256"]).to_dict()
    provider.edit(
        "timestamp.json",
        lambda signed: signed["meta"].update({"snapshot.json": newest}) or signed.update(version=3),
        signed_by=[ONLINE],
    )
    del provider.files["stable/x86_64/manifest.json"]
    with pytest.raises(TrustRefused, match="stable 1 is served") as refused:
        mirror(make_client("second").trust, base, copy)
    assert refused.value.reason is Reason.ROLLBACK


def test_a_mirror_does_not_become_that_of_another_publisher(client, make_publisher, base, copy):
    mirror(client.trust, base, copy)
    other = make_publisher("other", root=(9,))
    other.held.add(9)
    other.publish()
    root = (other.folder / "metadata/1.root.json").read_bytes()
    for path in copy.rglob("*.json"):
        path.unlink()
    (copy / "metadata/1.root.json").write_bytes(root)
    for path in (other.folder / "metadata").iterdir():
        (copy / "metadata" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(TrustRefused) as refused:
        mirror(client.restarted(), base, copy)
    assert refused.value.reason is Reason.OTHER_ROOT


def test_a_channel_that_cannot_be_believed_keeps_no_other_from_being_mirrored(client, provider, base, copy):
    provider.files["metadata/1.beta.json"] = b"{}"
    mirrored = mirror(client.trust, base, copy)
    assert set(mirrored.artifacts) == {KERNEL}
    assert set(mirrored.refused) == {"beta"}


def test_channels_above_the_bound_are_left_out(client, base, copy, caplog):
    mirrored = mirror(client.trust, base, copy, bounds=MirrorBounds(most_channels=1))
    assert len({name for name in mirrored.versions if name in ("stable", "beta")}) == 1
    assert len(mirrored.refused) == 1
    assert "there are too many" in caplog.text


def test_a_channel_that_is_too_large_beside_the_others_is_left_out(client, provider, base, copy):
    whole = sum(len(data) for name, data in provider.files.items() if name.startswith("metadata/"))
    mirrored = mirror(client.trust, base, copy, bounds=MirrorBounds(metadata_bytes=whole - 1))
    assert len(mirrored.refused) == 1


def test_metadata_above_the_bound_is_not_mirrored(client, base, copy):
    with pytest.raises(TrustRefused, match="more than 1000 bytes of metadata") as refused:
        mirror(client.trust, base, copy, bounds=MirrorBounds(metadata_bytes=1000))
    assert refused.value.reason is Reason.ENDLESS_DATA
    assert not copy.exists()


def test_more_manifests_than_that_are_not_mirrored(client, base, copy):
    with pytest.raises(TrustRefused, match="more than 0 manifests"):
        mirror(client.trust, base, copy, bounds=MirrorBounds(most_manifests=0))
    assert not copy.exists()


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * 300_000])
def test_a_manifest_that_is_none_is_not_mirrored(client, provider, base, copy, data: bytes):
    provider.files["stable/x86_64/manifest.json"] = data
    with pytest.raises((TrustRefused, FetchError)):
        mirror(client.trust, base, copy)
    assert not copy.exists()


def test_a_manifest_of_another_publication_is_waited_for(client, provider, publisher, base, copy):
    """The publisher publishes while a mirror reads: the metadata is of one state, the manifest of the next."""
    later = publisher.publish({KERNEL: b"a newer kernel"})
    provider.files["stable/x86_64/manifest.json"] = later.manifests["stable", "x86_64"]
    read = provider.read

    def publishing(url: str, max_bytes: int) -> bytes:
        data = read(url, max_bytes)
        if url.endswith("/stable/x86_64/manifest.json"):
            provider.serve(later)
        return data

    client.read = publishing
    assert mirror(client.restarted(), base, copy).artifacts[KERNEL].size == 14


def test_a_provider_without_manifests_is_mirrored_without_them(client, provider, base, copy):
    for name in [name for name in provider.files if name.endswith("manifest.json")]:
        del provider.files[name]
    assert mirror(client.trust, base, copy).manifests == {}


def test_a_mirror_that_pinned_a_later_root_serves_those_who_pinned_an_earlier_one(
    make_client, publisher, provider, base, copy, tmp_path: Path
):
    first = make_client("first")
    publisher.held |= {NEW}
    with publisher.open() as repository:
        repository.stage(renewed=["root"])
    provider.serve(publisher.publish())
    late = type(first)(tmp_path / "late", (publisher.folder / "metadata/2.root.json").read_bytes(), provider.read)
    mirrored = mirror(late.trust, base, copy)
    assert {"1.root.json", "2.root.json"} <= set(mirrored.metadata)
    provider.requests.clear()
    mirror(late.restarted(), base, copy)
    assert "metadata/1.root.json" not in provider.requests
    provider.serve(mirrored)
    assert first.refresh().artifact(KERNEL).size == 8


def test_an_earlier_root_that_does_not_lead_to_the_pinned_one_is_left_out(
    make_client, publisher, provider, base, copy, tmp_path: Path, make_publisher
):
    other = make_publisher("other", root=(9,))
    other.held.add(9)
    other.publish()
    with publisher.open() as repository:
        repository.stage(renewed=["root"])
    provider.serve(publisher.publish())
    late = type(make_client("first"))(
        tmp_path / "late", (publisher.folder / "metadata/2.root.json").read_bytes(), provider.read
    )
    provider.files["metadata/1.root.json"] = (other.folder / "metadata/1.root.json").read_bytes()
    assert "1.root.json" not in mirror(late.trust, base, copy).metadata


def test_what_is_no_longer_asked_for_is_removed(client, publisher, provider, base, copy):
    for number in range(6):
        provider.serve(publisher.publish({KERNEL: b"kernel %d" % number}))
        mirror(client.restarted(), base, copy)
    stable = sorted(path.name for path in (copy / "metadata").glob("*.stable.json"))
    assert stable == ["5.stable.json", "6.stable.json", "7.stable.json"]
    assert sorted(path.name for path in (copy / "manifests/stable/x86_64").iterdir()) == [
        "7.manifest.json",
        "manifest.json",
    ]
