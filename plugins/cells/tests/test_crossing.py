"""What crosses into a cell and back arrives whole, and what no cell sends ends its own job only."""

from __future__ import annotations

from typing import Any

import pytest

from plasm.ports import RuntimeFailed, Verdict

pytestmark = pytest.mark.anyio

READ_ALL = """
    layer.stdout += layer.given["stdin"]
    for path, content in sorted(layer.given["inputs"].items()):
        layer.stderr += b"%s=%d;" % (path.encode(), len(content))
    for content in (layer.given["stdin"], *layer.given["inputs"].values()):
        try:
            content[:1] = b"!"
        except TypeError:
            layer.stderr += b"."
"""
FORGE = """
    from plasm_cell import cell
    real = cell.CellSocket.send
    def send(self, header, *body):
        {change}
        real(self, header, *body)
    cell.CellSocket.send = send
"""


@pytest.mark.parametrize("size", [0, 10, 65_536, 65_537, 3_000_000])
@pytest.mark.parametrize("isolation", ["cell", "reused"])
async def test_stdin_and_inputs_of_any_size_arrive(bench: Any, size: int, isolation: str) -> None:
    stdin = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with bench.open(slots=1, isolation=isolation) as runtime:
        for _ in range(2):
            outcome = await bench.run(
                runtime, READ_ALL, stdin=stdin, inputs={"a": b"1", "b/c": stdin}, trusted=True, output_bytes=4_000_000
            )
            assert outcome.verdict is Verdict.EXITED, outcome
            assert outcome.stdout == stdin
            assert outcome.stderr == f"a=1;b/c={size};...".encode(), "and nothing of it can be changed"


async def test_empty_folders_arrive_by_their_slash(bench: Any) -> None:
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, READ_ALL, inputs={"a/b/": b"", "c": b"1"})
    assert outcome.stderr == b"a/b/=0;c=1;..."


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "a//b", "a/", "./a", "a\0b", "\udcff"])
async def test_inputs_at_impossible_places_are_refused(bench: Any, path: str) -> None:
    async with bench.open(slots=1) as runtime:
        with pytest.raises(RuntimeFailed, match="no input can be at"):
            await bench.run(runtime, "pass", inputs={path: b"x"})


@pytest.mark.parametrize(
    "change",
    [
        "header['files'] = [['../escaped', 0]]",
        "header['files'] = [['/escaped', 0]]",
        "header['files'] = [['a' * 201, 0]]",
        "header['files'] = [['a', 0], ['a', 0]]",
        "header['files'] = [['a', 5]]",
        "header['files'] = [[str(n), 0] for n in range(257)]",
        "header['stdout_bytes'] = 7",
        "header['verdict'] = 'timed_out'; del header['exit_code']",
        "header['trap'] = 'unreachable'",
        "header['exit_code'] = 256",
        "header['cpu_seconds'] = float('inf')",
        "header['more'] = 1",
        "body = (b'x' * 2_000_000,)",
    ],
)
async def test_a_forged_outcome_is_a_cell_that_died(bench: Any, change: str) -> None:
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, FORGE.replace("{change}", change), output_bytes=1_000_000)
        assert outcome.verdict is Verdict.CELL_DIED, outcome
        assert "no cell sends" in outcome.detail
        await bench.check_honest(runtime)


async def test_files_come_back_with_the_outcome(bench: Any) -> None:
    source = "layer.files = lambda: {'a': b'123', 'b/c': b''}\nlayer.stdout += b'out'; layer.stderr += b'err'"
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, source)
        assert (outcome.stdout, outcome.stderr) == (b"out", b"err")
        assert dict(outcome.files) == {"a": b"123", "b/c": b""}


async def test_a_job_that_limits_fuel_is_not_for_an_engine_that_counts_none(bench: Any) -> None:
    async with bench.open(slots=1) as runtime:
        with pytest.raises(RuntimeFailed, match="counts no fuel"):
            await bench.run(runtime, "pass", fuel=1000)
