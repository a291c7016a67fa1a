"""What providers that lie, and thieves of keys, can make a client believe: nothing. Each is refused with its reason."""

from __future__ import annotations

import msgspec
import pytest
from plasm_trust.client import Reason, TrustRefused
from plasm_trust.tufapi import MetaFile

ROOT, TARGETS, ONLINE, STABLE, BETA = 1, 2, 3, 4, 5
KERNEL = "stable/x86_64/kernel"


def refused(client, path: str = KERNEL) -> Reason:
    with pytest.raises(TrustRefused) as raised:
        client.refresh().artifact(path)
    message = str(raised.value)
    assert message.isprintable()
    assert len(message) < 2000
    return raised.value.reason


def meta(data: bytes, version: int) -> dict[str, object]:
    return MetaFile.from_data(version, data, ["sha256"]).to_dict()


# --- rollback -------------------------------------------------------------------------------------------------------


def test_an_old_timestamp_is_not_played_again(client, provider, publisher):
    old = provider.files["metadata/timestamp.json"]
    provider.serve(publisher.publish({KERNEL: b"a newer kernel"}))
    client.refresh()
    provider.files["metadata/timestamp.json"] = old
    assert refused(client) is Reason.ROLLBACK


def test_a_mirror_of_last_month_is_refused_by_who_knows_better(client, provider, publisher):
    last_month = dict(provider.files)
    provider.serve(publisher.publish({KERNEL: b"a newer kernel"}))
    assert client.refresh().artifact(KERNEL).size == 14
    provider.files = last_month
    assert refused(client) is Reason.ROLLBACK
    provider.serve(publisher.publish())
    assert client.refresh().artifact(KERNEL).size == 14


def test_stolen_online_keys_do_not_bring_back_an_old_channel(client, provider, publisher):
    provider.serve(publisher.publish({KERNEL: b"a newer kernel"}))
    client.refresh().artifact(KERNEL)
    older = (publisher.folder / "metadata/1.stable.json").read_bytes()

    def name_the_old_channel(signed):
        signed["version"] += 1
        signed["meta"]["stable.json"] = meta(older, 1)

    snapshot = provider.edit("2.snapshot.json", name_the_old_channel, signed_by=[ONLINE], under="3.snapshot.json")

    def name_the_snapshot(signed):
        signed["version"] += 1
        signed["meta"]["snapshot.json"] = meta(snapshot, 3)

    provider.edit("timestamp.json", name_the_snapshot, signed_by=[ONLINE])
    assert refused(client) is Reason.ROLLBACK


def test_stolen_online_keys_do_not_make_a_channel_vanish(client, provider, publisher):
    client.refresh().artifact(KERNEL)

    def forget_the_channel(signed):
        signed["version"] += 1
        del signed["meta"]["stable.json"]

    snapshot = provider.edit("1.snapshot.json", forget_the_channel, signed_by=[ONLINE], under="2.snapshot.json")

    def name_the_snapshot(signed):
        signed["version"] += 1
        signed["meta"]["snapshot.json"] = meta(snapshot, 2)

    provider.edit("timestamp.json", name_the_snapshot, signed_by=[ONLINE])
    assert refused(client) is Reason.ROLLBACK


def test_an_old_root_under_a_new_name_is_refused(client, provider):
    provider.files["metadata/2.root.json"] = provider.files["metadata/1.root.json"]
    assert refused(client) is Reason.ROLLBACK


# --- freeze ---------------------------------------------------------------------------------------------------------


def test_a_timestamp_that_has_expired_freezes_nobody(client, provider, publisher):
    client.refresh()
    publisher.later(days=8)
    client.now = publisher.now
    assert refused(client) is Reason.FROZEN


def hold_longer(settings, role: str):
    roles = {**settings.roles, role: msgspec.structs.replace(settings.roles[role], valid_days=1000)}
    return msgspec.structs.replace(settings, roles=roles)


@pytest.mark.parametrize(("role", "days"), [("stable", 91), ("targets", 366), ("root", 366), ("snapshot", 31)])
def test_whatever_expires_counts_no_longer(client, provider, publisher, role: str, days: int):
    """Fresh signatures of those who are still there do not help."""
    if role == "targets":
        with publisher.open() as repository:
            repository.settings = hold_longer(repository.settings, "root")
            repository.stage(renewed=["root"])
        provider.serve(publisher.publish())
    client.refresh()
    publisher.later(days=days)
    client.now = publisher.now

    def hold_on(signed):
        signed["version"] += 1
        signed["expires"] = "2036-01-01T00:00:00Z"

    if role == "snapshot":
        provider.edit("timestamp.json", hold_on, signed_by=[ONLINE])
    else:
        snapshot = provider.edit("1.snapshot.json", hold_on, signed_by=[ONLINE], under="2.snapshot.json")

        def name_the_snapshot(signed):
            hold_on(signed)
            signed["meta"]["snapshot.json"] = meta(snapshot, 2)

        provider.edit("timestamp.json", name_the_snapshot, signed_by=[ONLINE])
    with pytest.raises(TrustRefused, match=f"{'targets' if role == 'stable' else role} 1 expired on") as raised:
        client.refresh().artifact(KERNEL)
    assert raised.value.reason is Reason.FROZEN
    assert "the clock is wrong" in str(raised.value)


# --- mix and match --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["snapshot", "targets", "stable"])
def test_parts_of_two_publications_do_not_make_a_third(client, provider, publisher, role: str):
    old = dict(provider.files)
    publisher.configure(lambda settings: settings)
    with publisher.open() as repository:
        repository.stage(renewed=["targets", "stable"])
    provider.serve(publisher.publish())
    provider.files[f"metadata/2.{role}.json"] = old[f"metadata/1.{role}.json"]
    assert refused(client) is Reason.MIX_AND_MATCH


def test_another_channels_metadata_does_not_stand_in_for_one(client, provider):
    provider.files["metadata/1.stable.json"] = provider.files["metadata/1.beta.json"]
    assert refused(client) is Reason.MIX_AND_MATCH


def test_a_channel_that_the_snapshot_does_not_name_is_refused(client, provider):
    snapshot = provider.edit("1.snapshot.json", lambda signed: signed["meta"].pop("stable.json"), signed_by=[ONLINE])
    provider.edit(
        "timestamp.json", lambda signed: signed["meta"].update({"snapshot.json": meta(snapshot, 1)}), signed_by=[ONLINE]
    )
    assert refused(client) is Reason.MIX_AND_MATCH


# --- wrong role -----------------------------------------------------------------------------------------------------


def serve_channel(provider, channel: str, change, signers: list[int]) -> None:
    """Whoever has the online keys serves this as a channel's metadata."""
    data = provider.edit(f"1.{channel}.json", change, signed_by=signers)

    def name_the_channel(signed):
        signed["meta"][f"{channel}.json"] = meta(data, 1)

    snapshot = provider.edit("1.snapshot.json", name_the_channel, signed_by=[ONLINE])

    def name_the_snapshot(signed):
        signed["meta"]["snapshot.json"] = meta(snapshot, 1)

    provider.edit("timestamp.json", name_the_snapshot, signed_by=[ONLINE])


def claim_stable(signed) -> None:
    signed["targets"][KERNEL] = signed["targets"]["beta/arm64/kernel"]


def test_the_keys_of_beta_do_not_sign_for_stable(client, provider):
    serve_channel(provider, "stable", lambda signed: None, [BETA, ONLINE])
    assert refused(client) is Reason.WRONG_ROLE


def test_what_beta_claims_of_stable_is_not_asked(client, provider):
    serve_channel(provider, "beta", claim_stable, [BETA])
    assert client.refresh().artifact(KERNEL).size == 8


def test_a_channel_that_speaks_of_another_is_not_believed_at_all(client, provider):
    serve_channel(provider, "beta", claim_stable, [BETA])
    assert refused(client, "beta/arm64/kernel") is Reason.WRONG_ROLE


def test_top_level_targets_hold_no_artifacts(client, provider):
    def claim(signed):
        signed["targets"]["stable/x86_64/initramfs"] = {"length": 1, "hashes": {"sha256": "00" * 32}}

    serve_channel(provider, "targets", claim, [TARGETS])
    assert refused(client, "stable/x86_64/initramfs") is Reason.WRONG_TARGET


@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_metadata_of_one_role_is_not_taken_for_another(client, provider, name: str):
    provider.files[f"metadata/{name}"] = provider.files["metadata/1.targets.json"]
    assert refused(client) is Reason.WRONG_ROLE


def test_the_online_keys_do_not_sign_targets(client, provider):
    serve_channel(provider, "targets", lambda signed: None, [ONLINE])
    assert refused(client) is Reason.WRONG_ROLE


# --- signatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "stable"])
def test_a_strangers_signature_counts_nothing(client, provider, role: str):
    if role == "timestamp":
        provider.edit("timestamp.json", signed_by=[99])
    elif role == "snapshot":
        snapshot = provider.edit("1.snapshot.json", signed_by=[99])
        provider.edit(
            "timestamp.json",
            lambda signed: signed["meta"].update({"snapshot.json": meta(snapshot, 1)}),
            signed_by=[ONLINE],
        )
    else:
        serve_channel(provider, role, lambda signed: None, [99])
    assert refused(client) is Reason.BAD_SIGNATURE


def test_a_root_that_only_itself_has_signed_is_refused(client, provider):
    def take_over(signed):
        signed["version"] = 2
        key = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "11" * 32}}
        signed["keys"] = {"a": key}
        for role in signed["roles"].values():
            role["keyids"] = ["a"]

    provider.edit("1.root.json", take_over, signed_by=[99], under="2.root.json")
    assert refused(client) is Reason.BAD_SIGNATURE


def test_one_byte_that_is_changed_is_noticed(client, provider):
    for name in ("timestamp.json", "1.snapshot.json", "1.targets.json", "1.stable.json"):
        honest = provider.files[f"metadata/{name}"]
        provider.files[f"metadata/{name}"] = honest.replace(b"2026", b"2027", 1)
        with pytest.raises(TrustRefused):
            client.refresh().artifact(KERNEL)
        provider.files[f"metadata/{name}"] = honest
    assert client.refresh().artifact(KERNEL).size == 8


# --- endless data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.stable.json"]
)
def test_endless_data_is_not_taken(client, provider, name: str):
    provider.files[f"metadata/{name}"] = b" " * 6_000_000
    assert refused(client) is Reason.ENDLESS_DATA


def test_no_signature_makes_a_client_take_more_than_the_specification_allows(client, provider):
    asked = []

    def read(url: str, max_bytes: int) -> bytes:
        asked.append(max_bytes)
        return provider.read(url, max_bytes)

    def endless(signed):
        signed["meta"]["snapshot.json"]["length"] = 2**60

    provider.edit("timestamp.json", endless, signed_by=[ONLINE])
    client.read = read
    assert refused(client) is Reason.MIX_AND_MATCH
    assert max(asked) <= 5_000_000


def test_a_reader_that_ignores_its_cap_is_not_trusted_either(client, provider):
    client.read = lambda url, max_bytes: provider.files.get(url, b" " * (max_bytes + 1))
    assert refused(client) is Reason.ENDLESS_DATA


# --- bytes of any form ----------------------------------------------------------------------------------------------


HOSTILE = [
    b"",
    b"null",
    b"[" * 100_000,
    b'{"signed": {}, "signatures": []}',
    b'{"signed": {"_type": "timestamp"}, "signatures": [{"keyid": [], "sig": 1}]}',
    b'{"signed": 1, "signatures": 1}',
    b"\x00\xff",
    b'{"signed": {"_type": "timestamp", "version": 1e400}}',
]


@pytest.mark.parametrize("data", HOSTILE)
def test_what_is_no_metadata_is_malformed(client, provider, data: bytes):
    provider.files["metadata/timestamp.json"] = data
    assert refused(client) in (Reason.MALFORMED, Reason.ENDLESS_DATA)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("length", -1),
        ("length", 2**53),
        ("length", True),
        ("hashes", {"sha256": "A" * 64}),
        ("hashes", {"md5": "0" * 32}),
        ("custom", []),
        ("custom", {"kind": "../kernel"}),
        ("custom", {"version": "6\n1"}),
        ("custom", {"version": "6" * 65}),
        ("custom", {"cmdline": "quiet\x1b[2J"}),
        ("custom", {"cmdline": "x" * 2049}),
        ("custom", {"cmdline": "né"}),
        ("custom", {"piece_bytes": 1}),
        ("custom", {"piece_bytes": 2**40}),
        ("custom", {"piece_bytes": "4194304"}),
        ("custom", {"pieces": ["0" * 64, "0" * 64]}),
        ("custom", {"pieces": ["0" * 63]}),
        ("custom", {"pieces": "0" * 64}),
        ("custom", {"pieces": [None]}),
    ],
)
def test_an_artifact_that_is_signed_in_a_form_that_is_none_is_refused(client, provider, member: str, value: object):
    serve_channel(provider, "stable", lambda signed: signed["targets"][KERNEL].update({member: value}), [STABLE])
    assert refused(client) is Reason.MALFORMED


def test_members_and_paths_that_are_unknown_are_passed_over(client, provider):
    """Publishers of later versions have more to say."""

    def say_more(signed):
        signed["targets"]["stable/riscv64/kernel"] = {"length": 1, "hashes": {"sha256": "00" * 32}}
        signed["targets"][KERNEL]["custom"]["more"] = {"a": 1}
        signed["x-more"] = [1]

    serve_channel(provider, "stable", say_more, [STABLE])
    trust = client.refresh()
    assert [artifact.path for artifact in trust.artifacts("stable", "x86_64")] == [KERNEL]


def test_an_artifact_without_custom_has_no_pieces(client, provider):
    serve_channel(provider, "stable", lambda signed: signed["targets"][KERNEL].pop("custom"), [STABLE])
    artifact = client.refresh().artifact(KERNEL)
    assert (artifact.size, artifact.pieces, artifact.kind) == (8, (), "")


def test_a_role_whose_name_is_none_of_a_channel_is_not_asked(client, provider):
    def delegate(signed):
        role = dict(signed["delegations"]["roles"][0])
        signed["delegations"]["roles"] = [role | {"name": name} for name in ("metadata", "../x", "stable")]

    serve_channel(provider, "targets", delegate, [TARGETS])
    assert client.refresh().channels() == ("stable",)
    assert refused(client, "metadata/x86_64/kernel") is Reason.WRONG_TARGET
