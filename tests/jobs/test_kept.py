"""What is held in memory of jobs that have ended."""

from __future__ import annotations

import tracemalloc

from plasm.jobs.kept import Kept, KeptEndings
from plasm.shares import origin_of

_MOST_BYTES_A_JOB = 330
"""A hundred thousand are remembered, so that this is some thirty megabytes."""


def test_a_job_that_has_ended_takes_little_memory_whoever_sent_it():
    number = 20_000
    kept = KeptEndings(1 << 40, number)
    tracemalloc.start()
    try:
        for each in range(number):
            # Each offer brings an origin of its own, equal to those of others.
            kept.add(
                each.to_bytes(16, "big"), origin_of("192.0.2.1", f"peer {each % 8}"), Kept(3000 + each, float(each))
            )
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / number < _MOST_BYTES_A_JOB


def test_an_origin_is_forgotten_with_its_last_ending():
    kept = KeptEndings(1 << 40, 10)
    for each in range(2):
        kept.add(bytes([each]), origin_of("192.0.2.1", "peer"), Kept(1, 0.0))
    for each in range(2):
        kept.remove(bytes([each]))
    assert (len(kept), kept.held_bytes, kept._alike, kept._endings) == (0, 0, {}, {})
