"""Runs the same programs on two runtimes and says where their outcomes differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plasm.ports import Invocation, Limits, NotRunnable, Outcome, Runtime
from plasm.testing.modules import digest_of

_ENDLESS = ("spin", "throw", "suite spin")
_LIMITS: dict[str, Any] = {"memory_bytes": 64 << 20, "output_bytes": 1 << 20, "host_calls": 20_000}


async def outcome(runtime: Runtime, name: str, module: bytes) -> Outcome | str:
    """What the job digest's result covers of one run, or why the runtime refuses the program."""
    digest = digest_of(module)
    try:
        await runtime.prepare(digest, module)
    except NotRunnable as refusal:
        return str(refusal)
    limits = Limits(wall_seconds=1.0 if name.startswith(_ENDLESS) else 30.0, **_LIMITS)
    return await runtime.run(Invocation(module=digest, args=("a", "b"), stdin=b"stdin", seed=b"\7" * 32, limits=limits))


def told(found: Outcome | str) -> tuple[object, ...]:
    """What two honest runs must have in common."""
    if isinstance(found, str):
        return ("refused",)
    return (
        found.verdict,
        found.exit_code,
        found.trap,
        found.stdout[-4096:],
        len(found.stdout),
        found.stderr,
        found.files,
    )


async def differences(
    reference: Runtime, runtime: Runtime, programs: Mapping[str, bytes], refused: Mapping[str, str]
) -> list[str]:
    """Where `runtime` ends otherwise than `reference`; `refused` has what it must refuse, and the reason."""
    found = []
    for name, module in programs.items():
        mine, wanted = await outcome(runtime, name, module), await outcome(reference, name, module)
        if name in refused:
            if not isinstance(mine, str) or refused[name] not in mine:
                found.append(f"{name}: refused with {refused[name]!r}, not {mine!r}")
        elif told(mine) != told(wanted):
            found.append(f"{name}: {told(wanted)} there and {told(mine)} here, {mine!r:.300}")
    return found
