"""One table from what an engine saw to the verdict, for every engine."""

from __future__ import annotations

from typing import Any

import pytest
from plasm_cell import wasi
from plasm_cell.engine import TRAPS, Ending, GaveUp
from plasm_cell.verdicts import verdict


def _layer(stop: wasi.Stop | None = None, stdout: bytes = b"") -> wasi.Wasi:
    layer = wasi.Wasi(
        args=[],
        env=[],
        stdin=b"",
        output_bytes=10,
        host_calls=10,
        clock=wasi.VirtualClock(bytes(32)),
        random=wasi.SeededRandom(bytes(32)),
    )
    layer.stop = stop
    layer.stdout += stdout
    return layer


@pytest.mark.parametrize(
    ("ending", "stop", "found"),
    [
        (Ending(), None, {"verdict": "exited", "exit_code": 0}),
        (Ending(trap="other", error="stopped"), wasi.Exit(3), {"verdict": "exited", "exit_code": 3}),
        (Ending(trap="other"), wasi.OutputFull(), {"verdict": "output_limit"}),
        (Ending(trap="other"), wasi.HostCallsSpent(), {"verdict": "host_call_limit"}),
        (Ending(trap="other", out_of_fuel=True), None, {"verdict": "out_of_fuel"}),
        (Ending(trap="unreachable"), None, {"verdict": "trapped", "trap": "unreachable"}),
        (Ending(trap="unreachable", refused_memory=True), None, {"verdict": "out_of_memory"}),
        (
            Ending(trap="integer_division_by_zero", refused_memory=True),
            None,
            {"verdict": "trapped", "trap": "integer_division_by_zero"},
        ),
        (Ending(refused_memory=True), None, {"verdict": "exited", "exit_code": 0}),
        (Ending(instantiated=False, error="no room", refused_memory=True), None, {"verdict": "out_of_memory"}),
        (Ending(instantiated=False, error="a table is too large"), None, {"verdict": "out_of_memory"}),
        (Ending(trap="other"), None, {"verdict": "trapped", "trap": "other", "detail": TRAPS["other"]}),
    ],
)
def test_each_ending_has_its_verdict(ending: Ending, stop: wasi.Stop | None, found: dict[str, Any]) -> None:
    given = verdict(ending, _layer(stop), 10)
    assert {name: given.get(name) for name in found} == found
    assert ("exit_code" in given) == (given["verdict"] == "exited")
    assert ("trap" in given) == (given["verdict"] == "trapped")


@pytest.mark.parametrize("ending", [Ending(error="something else"), Ending(trap="a trap of its own")])
def test_an_ending_that_is_no_trap_and_no_limit_has_no_verdict(ending: Ending) -> None:
    with pytest.raises(GaveUp, match=r"something else|a trap of its own"):
        verdict(ending, _layer(), 10)


def test_what_does_not_fit_into_the_output_is_the_output_limit_whatever_else_happened() -> None:
    assert verdict(Ending(), _layer(wasi.Exit(0), b"x" * 11), 10)["verdict"] == "output_limit"
    assert verdict(Ending(), _layer(wasi.Exit(0), b"x" * 10), 10)["verdict"] == "exited"
