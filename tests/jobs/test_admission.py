"""Admission: each reason for which an offer is turned down, and that nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plasm.jobs.admission import Admission, OfferRejected
from plasm.jobs.manifest import Job, Manifest, sha256
from plasm.jobs.messages import INLINE_BYTES, REASONS
from plasm.jobs.records import OWN as USER
from plasm.shares import Origin, Shares, origin_of
from plasm.testing import FakeSigner
from tests.jobs.world import offer_for, submission

OWN, LISTED, STRANGER = (FakeSigner(seed).peer for seed in range(3))
OPEN = Admission(
    allow=None,
    own=OWN,
    arch="x86_64",
    runtimes=("first", "second"),
    cores=2,
    memory_mb=512,
    timeout_seconds=60,
    module_bytes=1000,
    input_bytes=100_000,
    output_bytes=16 * 2**20,
    file_bytes=2**29,
    host_calls=10**9,
    max_queue=3,
    max_per_peer=2,
)


def rejected(offer, reason: str, why: str) -> None:
    with pytest.raises(OfferRejected, match=why) as caught:
        OPEN.check_offer(offer)
    assert caught.value.reason == reason
    assert reason in REASONS


def test_an_offer_within_all_bounds_gets_the_first_runtime():
    assert OPEN.check_offer(offer_for(submission(stdin=b"in"))) == "first"


def test_an_offer_gets_the_runtime_that_it_names():
    assert OPEN.check_offer(offer_for(submission(), runtime="second", arch="x86_64")) == "second"


def test_what_is_asked_may_be_just_what_there_is():
    most = submission(
        cpu_cores=2, memory_mb=512, timeout_seconds=60, output_bytes=16 * 2**20, file_bytes=2**29, host_calls=10**9
    )
    assert OPEN.check_offer(offer_for(most, module_size=1000)) == "first"


@pytest.mark.parametrize(
    ("submitted", "change", "what"),
    [
        (submission(cpu_cores=3), {}, "3 cores asked, 2 at most"),
        (submission(memory_mb=513), {}, "513 MB of memory asked, 512 at most"),
        (submission(timeout_seconds=61), {}, "61 seconds asked, 60 at most"),
        (submission(output_bytes=16 * 2**20 + 1), {}, "bytes of output asked"),
        (submission(file_bytes=2**29 + 1), {}, "536870913 bytes of files asked, 536870912 at most"),
        (submission(host_calls=10**9 + 1), {}, "1000000001 host calls asked, 1000000000 at most"),
        (submission(), {"module_size": 1001}, "1001 bytes of module asked, 1000 at most"),
        (submission(stdin=bytes(100_001)), {}, "100001 bytes of input asked"),
    ],
)
def test_a_job_larger_than_the_node_is_turned_down_with_what_there_is(submitted, change, what):
    rejected(offer_for(submitted, **change), "InsufficientResources", what)


def test_another_architecture_is_turned_down():
    rejected(offer_for(submission(), arch="arm64"), "ArchMismatch", "this is x86_64")


def test_a_runtime_that_is_not_here_is_turned_down_with_those_that_are():
    rejected(offer_for(submission(), runtime="third"), "RuntimeNotSupported", "first, second")


def test_a_node_without_a_runtime_turns_everything_down():
    with pytest.raises(OfferRejected, match="no runtime"):
        replace(OPEN, runtimes=()).check_offer(offer_for(submission()))


def test_a_digest_that_is_not_the_jobs_is_turned_down():
    rejected(offer_for(submission(), digest=sha256(b"x")), "InvalidRequest", "job digest")


def test_a_job_that_no_program_could_be_given_is_turned_down():
    rejected(offer_for(submission(args=["a\0b"])), "InvalidRequest", "NUL")


@pytest.mark.parametrize("size", [0, 1, 3, INLINE_BYTES])
def test_input_of_another_size_than_is_said_is_turned_down(size):
    rejected(offer_for(submission(stdin=b"in"), input_size=size), "InvalidRequest", "size")


def test_input_that_is_not_the_one_that_the_job_names_is_turned_down():
    rejected(offer_for(submission(stdin=b"in"), input=b"on"), "InvalidRequest", "digest")


def test_no_input_where_the_job_names_some_is_turned_down():
    rejected(offer_for(submission(stdin=b"in"), input=None, input_size=0), "InvalidRequest", "digest")


def test_an_environment_with_no_name_is_turned_down():
    job = Job(manifest=Manifest(module_hash=sha256(b"")), env={"": "x"})
    rejected(offer_for(submission(), job=job, digest=job.digest()), "InvalidRequest", "name")


def test_anyone_may_send_jobs_where_that_is_the_policy():
    OPEN.check_sender(STRANGER)
    assert "anyone" in OPEN.describe_policy()


def test_only_listed_peers_may_send_jobs_where_there_is_a_list():
    listed = replace(OPEN, allow=frozenset({LISTED}))
    listed.check_sender(LISTED)
    with pytest.raises(OfferRejected, match="NotAllowed"):
        listed.check_sender(STRANGER)
    assert "1 listed" in listed.describe_policy()


def test_nobody_may_send_jobs_where_that_is_the_policy():
    closed = replace(OPEN, allow=frozenset())
    for peer in (LISTED, STRANGER):
        with pytest.raises(OfferRejected, match="NotAllowed"):
            closed.check_sender(peer)
    assert "nobody" in closed.describe_policy()


def test_a_nodes_own_jobs_are_always_taken():
    replace(OPEN, allow=frozenset()).check_sender(OWN)


GREEDY, SAME_NETWORK, ELSEWHERE = (origin_of(ip, "p") for ip in ("192.0.2.1", "192.0.2.2", "198.51.100.1"))


def waiting(*origins: Origin) -> Shares:
    places = Shares()
    for origin in origins:
        places.take(origin)
    return places


def test_a_full_queue_turns_down_whoever_fills_it():
    OPEN.check_load(STRANGER, GREEDY, waiting(GREEDY, GREEDY), {})
    with pytest.raises(OfferRejected, match="QueueFull: 3 jobs are waiting"):
        OPEN.check_load(STRANGER, GREEDY, waiting(GREEDY, GREEDY, GREEDY), {})


def test_a_full_queue_has_a_place_for_a_network_that_has_none_yet():
    OPEN.check_load(STRANGER, ELSEWHERE, waiting(GREEDY, GREEDY, GREEDY), {})


def test_other_identities_of_whoever_fills_the_queue_get_no_place():
    wide = replace(OPEN, max_queue=100)
    places = waiting(*(origin_of("192.0.2.1", f"p{number}") for number in range(100)))
    for number in range(1000):
        another = origin_of("192.0.2.1", f"another{number}")
        with pytest.raises(OfferRejected, match="QueueFull"):
            wide.check_load(STRANGER, another, places, {})


def test_the_nodes_own_user_has_a_place_in_a_full_queue():
    OPEN.check_load(OWN, USER, waiting(GREEDY, GREEDY, GREEDY), {OWN: {"a", "b", "c"}})


def test_a_peer_over_its_quota_is_turned_down_and_the_next_one_is_not():
    held = {STRANGER: {"a", "b"}}
    with pytest.raises(OfferRejected, match="QuotaExceeded"):
        OPEN.check_load(STRANGER, GREEDY, Shares(), held)
    OPEN.check_load(LISTED, GREEDY, Shares(), held)
