"""A node that has no descriptor left fails jobs with a reason, goes on, and works again when there are some."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_PROGRAM = textwrap.dedent("""
    import hashlib, os, resource, sys
    from pathlib import Path
    import anyio
    from plasm.ports import Digest, Invocation, Limits, RuntimeFailed, Verdict
    from plasm.testing import make_scope
    from plasm_wasmtime.hooks import open_wasmtime
    from plasm_wasmtime.options import WasmtimeOptions

    hello = Path(sys.argv[2]).read_bytes()

    def another(number):
        # The same program with a custom section of its own.
        content = b"\\x01n" + number.to_bytes(2, "big")
        return hello + b"\\0" + bytes([len(content)]) + content

    def digest_of(module):
        return Digest("sha256:" + hashlib.sha256(module).hexdigest())

    def used():
        return len(os.listdir("/proc/self/fd"))

    async def run(runtime, module):
        await runtime.prepare(digest_of(module), module)
        invocation = Invocation(module=digest_of(module), stdin=b"olleh", limits=Limits(wall_seconds=20))
        outcome = await runtime.run(invocation)
        assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, b"hello"), outcome

    def take_all():
        taken = []
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                return taken

    async def main():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        options = WasmtimeOptions(slots=2, spares=1)
        async with open_wasmtime(make_scope(home=Path(sys.argv[3])), options) as runtime:
            await run(runtime, another(0))
            refused = 0
            for free in range(12):
                taken = take_all()
                for descriptor in taken[:free]:
                    os.close(descriptor)
                for module in (another(0), another(1 + free)):
                    try:
                        await run(runtime, module)
                    except RuntimeFailed:
                        refused += 1
                for descriptor in taken[free:]:
                    os.close(descriptor)
            assert refused >= 2, refused
            with anyio.fail_after(20):
                await run(runtime, another(0))
                await run(runtime, another(1000))
            # One socket and one pidfd for each process, one memory file for each module.
            assert used() < 40, os.listdir("/proc/self/fd")

    anyio.run(main, backend=sys.argv[1])
""")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_runtime_without_descriptors_refuses_jobs_and_recovers(
    backend: str, hello_file: Path, tmp_path: Path
) -> None:
    arguments = [sys.executable, "-c", _PROGRAM, backend, str(hello_file), str(tmp_path)]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr[-4000:]
