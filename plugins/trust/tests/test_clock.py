"""A clock that is wrong is noticed, said, and no way to believe what has expired."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from plasm_trust.client import Reason, TrustRefused
from plasm_trust.clock import signed_at, stamp
from plasm_trust.tufapi import Timestamp

ONLINE = 3
KERNEL = "stable/x86_64/kernel"


def test_a_clock_that_is_right_is_not_spoken_of(client):
    assert client.refresh().clock_note is None


def test_a_clock_years_behind_counts_as_the_newest_time_that_is_proven(client, publisher, provider):
    client.now = datetime(1970, 1, 1, tzinfo=UTC)
    assert client.refresh().artifact(KERNEL).size == 8
    assert "1970-01-01 00:00 UTC" in client.trust.clock_note
    assert "2026-03-01 12:00 UTC" in client.trust.clock_note


def test_a_clock_years_behind_does_not_revive_what_had_expired_before_the_build(client, provider):
    client.now = datetime(1970, 1, 1, tzinfo=UTC)
    client.build_time = datetime(2026, 4, 1, tzinfo=UTC)
    with pytest.raises(TrustRefused) as refused:
        client.refresh()
    assert refused.value.reason is Reason.FROZEN
    assert "when this software was built" in client.trust.clock_note


def test_a_clock_years_behind_does_not_revive_what_had_expired_when_something_newer_was_seen(
    client, publisher, provider
):
    old = provider.files["metadata/timestamp.json"]
    publisher.later(days=10)
    client.now = publisher.now
    provider.serve(publisher.publish())
    client.refresh()
    client.now = datetime(1970, 1, 1, tzinfo=UTC)
    provider.files["metadata/timestamp.json"] = old
    with pytest.raises(TrustRefused) as refused:
        client.refresh()
    assert refused.value.reason is Reason.ROLLBACK
    assert "when timestamp 2 was signed" in client.trust.clock_note


def test_without_a_provider_the_clock_is_held_against_what_is_kept(client, publisher, provider):
    publisher.later(days=1)
    provider.serve(publisher.publish())
    client.refresh().artifact(KERNEL)
    client.now = datetime(1970, 1, 1, tzinfo=UTC)
    assert client.restarted().artifact(KERNEL).size == 8
    assert "when timestamp 2 was signed" in client.trust.clock_note


def test_a_clock_years_ahead_is_named_as_what_may_be_wrong(client):
    client.now = datetime(2060, 1, 1, tzinfo=UTC)
    with pytest.raises(TrustRefused, match="2060-01-01 00:00 UTC") as refused:
        client.refresh()
    assert refused.value.reason is Reason.FROZEN
    assert "or the clock is wrong" in str(refused.value)
    assert "date of this machine" in refused.value.mend


def test_a_clock_that_was_ahead_is_forgotten_when_it_is_put_right(client):
    right = client.now
    client.now = datetime(2060, 1, 1, tzinfo=UTC)
    with pytest.raises(TrustRefused):
        client.refresh()
    client.now = right
    assert client.refresh().artifact(KERNEL).size == 8


def test_a_time_that_stolen_keys_have_signed_is_forgotten_with_them(client, publisher, provider, begin):
    """Else whoever has stolen an online key once could end a client's trust for good."""

    def next_year(signed):
        signed["version"] += 1
        signed["x-phase-signed"] = (begin + timedelta(days=300)).strftime("%Y-%m-%dT%H:%M:%SZ")
        signed["expires"] = "2036-01-01T00:00:00Z"

    provider.edit("timestamp.json", next_year, signed_by=[ONLINE])
    with pytest.raises(TrustRefused) as refused:
        client.refresh()
    assert refused.value.reason is Reason.FROZEN
    provider.serve(publisher.publish())
    with pytest.raises(TrustRefused):
        client.refresh()

    publisher.held |= {30}
    new, old = publisher.did(30), publisher.did(ONLINE)

    def rotate(settings):
        roles = {
            name: msgspec.structs.replace(role, keys=(new,)) if role.keys == (old,) else role
            for name, role in settings.roles.items()
        }
        return msgspec.structs.replace(settings, roles=roles)

    publisher.configure(rotate)
    provider.serve(publisher.publish())
    assert client.refresh().artifact(KERNEL).size == 8


@pytest.mark.parametrize("text", ["2030-01-01", "2126-01-01T00:00:00Z", 7, None, "2027-13-01T00:00:00Z", "x" * 20])
def test_a_time_that_cannot_be_proves_nothing(client, provider, text: object):
    """No time at all, or one at which the root no longer held."""
    provider.edit("timestamp.json", lambda signed: signed.update({"x-phase-signed": text}), signed_by=[ONLINE])
    assert client.refresh().artifact(KERNEL).size == 8
    assert client.trust.clock_note is None


def test_a_time_at_which_the_root_will_not_hold_proves_nothing(client, provider):
    """Whoever has an online key can put any end to what it signs, but not to the root."""

    def far_ahead(signed):
        signed |= {"x-phase-signed": "2126-01-01T00:00:00Z", "expires": "2130-01-01T00:00:00Z"}

    provider.edit("timestamp.json", far_ahead, signed_by=[ONLINE])
    assert client.refresh().artifact(KERNEL).size == 8
    assert client.trust.clock_note is None


def test_nothing_was_signed_after_its_own_end(begin):
    timestamp = Timestamp(expires=begin)
    stamp(timestamp, begin)
    assert signed_at(timestamp) is None
    stamp(timestamp, begin - timedelta(seconds=1))
    assert signed_at(timestamp) == begin - timedelta(seconds=1)


def test_a_publisher_whose_clock_is_behind_does_not_go_back(publisher, begin):
    first = publisher.publish()
    publisher.now = datetime(1970, 1, 1, tzinfo=UTC)
    again = publisher.publish()
    assert again.expires >= first.expires > begin
