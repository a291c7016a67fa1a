"""A client believes what its pinned root leads to."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from plasm_fetching.artifact import Artifact
from plasm_fetching.http import Unreachable
from plasm_trust.client import PINNED, Reason, TrustClient, TrustRefused, pin
from plasm_trust.published import Published


def test_what_was_signed_is_what_is_believed(client):
    digest = hashlib.sha256(b"a kernel").hexdigest()
    assert client.refresh().artifact("stable/x86_64/kernel") == Artifact(
        path="stable/x86_64/kernel",
        size=8,
        sha256=digest,
        pieces=(digest,),
        kind="kernel",
        version="6.1",
        cmdline="quiet",
    )


def test_an_architecture_has_two_names_and_one_meaning(client):
    trust = client.refresh()
    assert trust.artifact("beta/aarch64/kernel") == trust.artifact("beta/arm64/kernel")
    assert trust.artifacts("beta", "aarch64") == trust.artifacts("beta", "arm64") != ()
    assert trust.artifacts("stable", "arm64") == ()


@pytest.mark.parametrize("path", ["stable/x86_64/initramfs", "nightly/x86_64/kernel", "../x86_64/kernel", "kernel", ""])
def test_what_is_not_signed_is_refused(client, path: str):
    with pytest.raises(TrustRefused) as refused:
        client.refresh().artifact(path)
    assert refused.value.reason is Reason.WRONG_TARGET


def test_only_the_channel_that_is_asked_for_is_fetched(client, provider):
    client.refresh().artifact("stable/x86_64/kernel")
    assert "metadata/1.stable.json" in provider.requests
    assert "metadata/1.beta.json" not in provider.requests


def test_what_is_kept_is_not_fetched_again(client, provider):
    client.refresh().artifact("stable/x86_64/kernel")
    provider.requests.clear()
    client.refresh().artifact("stable/x86_64/kernel")
    assert provider.requests == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_without_a_provider_what_was_kept_counts_until_it_expires(client, provider, publisher):
    client.refresh().artifact("stable/x86_64/kernel")
    provider.requests.clear()
    assert client.restarted().artifact("stable/x86_64/kernel").size == 8
    assert provider.requests == []
    client.now = Published.load(publisher.folder).expires
    with pytest.raises(TrustRefused) as refused:
        client.restarted().artifact("stable/x86_64/kernel")
    assert refused.value.reason is Reason.FROZEN


def test_what_was_never_fetched_is_not_made_up(client):
    client.refresh().artifact("stable/x86_64/kernel")
    with pytest.raises(TrustRefused) as refused:
        client.restarted().artifact("beta/arm64/kernel")
    assert refused.value.reason is Reason.INCOMPLETE


def test_a_provider_that_does_not_answer_is_no_liar(client):
    def unreachable(url: str, max_bytes: int) -> bytes:
        raise Unreachable("nobody listens")

    client.refresh().artifact("stable/x86_64/kernel")
    client.trust.read = unreachable
    with pytest.raises(Unreachable, match="nobody listens"):
        client.trust.refresh("http://elsewhere/")
    assert client.trust.artifact("stable/x86_64/kernel").size == 8


def test_a_file_that_is_missing_at_a_provider_is_its_fault_alone(client, provider):
    del provider.files["metadata/1.snapshot.json"]
    with pytest.raises(Exception, match="not there") as raised:
        client.refresh()
    assert not isinstance(raised.value, TrustRefused)


def test_a_refusal_leaves_what_was_believed(client, provider):
    trust = client.refresh()
    trust.artifact("stable/x86_64/kernel")
    provider.files["metadata/timestamp.json"] = b"{}"
    with pytest.raises(TrustRefused):
        trust.refresh("http://provider.test/")
    assert trust.artifact("stable/x86_64/kernel").size == 8


def test_without_a_pinned_root_nothing_is_believed(tmp_path: Path, provider):
    with pytest.raises(TrustRefused, match="--root") as refused:
        TrustClient(tmp_path / "new", provider.read)
    assert refused.value.reason is Reason.NOT_PINNED


def test_pinning_tells_the_fingerprint_and_pinning_again_is_fine(tmp_path: Path, publisher):
    root = (publisher.folder / "metadata/1.root.json").read_bytes()
    assert pin(tmp_path / "new", root) == hashlib.sha256(root).hexdigest() == pin(tmp_path / "new", root)
    assert (tmp_path / "new" / PINNED).read_bytes() == root
    assert os.listdir(tmp_path / "new") == [PINNED]


def test_another_root_does_not_replace_the_pinned_one(client, make_publisher):
    other = make_publisher("other", root=(9,))
    other.held.add(9)
    other.publish()
    with pytest.raises(TrustRefused, match=client.fingerprint) as refused:
        pin(client.folder, (other.folder / "metadata/1.root.json").read_bytes())
    assert refused.value.reason is Reason.OTHER_ROOT
    client.refresh()


@pytest.mark.parametrize("change", ["truncated", "unsigned", "another type", "not JSON", "endless"])
def test_what_is_no_root_cannot_be_pinned(tmp_path: Path, publisher, change: str):
    root = (publisher.folder / "metadata/1.root.json").read_bytes()
    document = json.loads(root)
    match change:
        case "truncated":
            root = root[:-10]
        case "unsigned":
            document["signatures"] = []
            root = json.dumps(document).encode()
        case "another type":
            root = (publisher.folder / "metadata/timestamp.json").read_bytes()
        case "not JSON":
            root = b"\xff" * 100
        case "endless":
            root = root + b" " * 512_000
    with pytest.raises(TrustRefused):
        pin(tmp_path / "new", root)
    assert not (tmp_path / "new" / PINNED).exists()


def test_many_processes_pin_at_once_and_one_root_stays(tmp_path: Path, publisher):
    root = (publisher.folder / "metadata/1.root.json").read_bytes()
    folder = tmp_path / "new"
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                pin(folder, root)
            finally:
                os._exit(0 if (folder / PINNED).read_bytes() == root else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert os.listdir(folder) == [PINNED]
