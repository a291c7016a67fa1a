"""A node that has no descriptor left fails jobs with a reason, goes on, and works again when there are some."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from plasm_wasmtime.artifacts import Artifact, ArtifactFolder, HeldArtifacts, memory_file
from plasm_wasmtime.children import Children

from plasm.ports import Digest, RuntimeFailed

_PROGRAM = textwrap.dedent("""
    import hashlib, os, resource, sys
    from pathlib import Path
    import anyio
    from plasm.ports import Digest, Invocation, Limits, RuntimeFailed, Verdict
    from plasm.testing import make_scope
    from plasm_wasmtime.options import WasmtimeOptions
    from plasm_wasmtime.runtime import open_runtime

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
        async with open_runtime(make_scope(home=Path(sys.argv[3])), options) as runtime:
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


@pytest.mark.anyio
async def test_every_lack_of_descriptors_is_a_runtime_failure_and_leaves_none_behind(tmp_path: Path) -> None:
    children = Children()
    folder = ArtifactFolder(tmp_path, "engine", 1 << 20)
    digest = Digest("sha256:" + "1" * 64)
    artifact = _artifact()
    folder.store(digest, artifact)
    held = HeldArtifacts(1 << 20)
    held.add(digest, artifact)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.listdir("/proc/self/fd")
    failures = []
    # A process gets the lowest descriptor that is free, and none from the limit on.
    lowest = os.dup(0)
    os.close(lowest)
    try:
        for free in range(5):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, hard))
            try:
                await children.end(await children.start("once", 20))
            except RuntimeFailed as error:
                failures.append(str(error))
            if not free:
                with pytest.raises(RuntimeFailed):
                    folder.load(digest)
                with pytest.raises(RuntimeFailed):
                    memory_file("test", b"content")
                with pytest.raises(RuntimeFailed):
                    held.get(digest)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(failures) >= 3, failures
    assert os.listdir("/proc/self/fd") == before
    assert folder.has(digest), "a compiled module that cannot be read now is not removed"
    await children.end(await children.start("once", 20))
    held.clear()


def test_small_modules_do_not_take_all_descriptors() -> None:
    held = HeldArtifacts(1 << 30)
    digests = [Digest(f"sha256:{number:064x}") for number in range(200)]
    before = len(os.listdir("/proc/self/fd"))
    for digest in digests:
        held.add(digest, _artifact())
    assert len(os.listdir("/proc/self/fd")) - before == 128
    assert [digest in held for digest in digests] == [False] * 72 + [True] * 128
    held.clear()
    assert len(os.listdir("/proc/self/fd")) == before


def _artifact() -> Artifact:
    return Artifact(memory_file("test", b"content"), 7, starts=False)
