"""Compiled modules are kept, bounded, checked before use, and nobody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from plasm_cells.artifacts import Artifact, ArtifactFolder, HeldArtifacts, memory_file

from plasm.ports import Digest, Invocation, Limits

pytestmark = pytest.mark.anyio


def _stored(home: Path) -> list[Path]:
    """Of each module what is compiled, which is the larger, and its source."""
    return sorted((home / "compiled").iterdir(), key=lambda file: -file.stat().st_size)


async def test_a_compiled_module_survives_a_restart(bench: Any, tmp_path: Path) -> None:
    digest = bench.digest(bench.hello)
    async with bench.open(home=tmp_path) as runtime:
        assert not runtime.prepared(digest)
        await runtime.prepare(digest, bench.hello)
    async with bench.open(home=tmp_path) as runtime:
        assert runtime.prepared(digest)
        outcome = await runtime.run(Invocation(module=digest))
        assert outcome.stdout == b"dlroW ,olleH"


async def test_the_cache_is_private(bench: Any, tmp_path: Path) -> None:
    async with bench.open(home=tmp_path) as runtime:
        await bench.check_honest(runtime)
    files = _stored(tmp_path)
    assert stat.S_IMODE((tmp_path / "compiled").stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]


@pytest.mark.parametrize("position", [0, 8, 20, 5000, -1])
async def test_a_tampered_file_is_dropped_and_never_run(bench: Any, tmp_path: Path, position: int) -> None:
    digest = bench.digest(bench.hello)
    async with bench.open(home=tmp_path, spares=0) as runtime:
        await runtime.prepare(digest, bench.hello)
    file, source = _stored(tmp_path)
    _damage(file, position)
    async with bench.open(home=tmp_path, spares=0) as runtime:
        with pytest.raises(KeyError):
            await runtime.run(Invocation(module=digest))
        assert _stored(tmp_path) == [source]
        assert not runtime.prepared(digest)
        await bench.check_honest(runtime)


@pytest.mark.parametrize("position", [0, 8, 20, 100, -1])
async def test_a_tampered_source_is_dropped_and_never_compiled(bench: Any, tmp_path: Path, position: int) -> None:
    digest = bench.digest(bench.hello)
    async with bench.open(home=tmp_path, spares=0) as runtime:
        await runtime.prepare(digest, bench.hello)
    _, source = _stored(tmp_path)
    _damage(source, position)
    limited = Invocation(module=digest, limits=Limits(fuel=10**9))
    async with bench.open(home=tmp_path, spares=0) as runtime:
        with pytest.raises(KeyError):
            await runtime.run(limited)
        assert not runtime.prepared(digest)
        await runtime.prepare(digest, bench.hello)
        assert (await runtime.run(limited)).stdout == b"dlroW ,olleH"


def _damage(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


async def test_a_file_under_another_modules_name_is_not_believed(bench: Any, tmp_path: Path) -> None:
    digest, other = bench.digest(bench.hello), bench.digest(bench.module("trap"))
    async with bench.open(home=tmp_path, spares=0) as runtime:
        await runtime.prepare(digest, bench.hello)
        first, source = _stored(tmp_path)
        await runtime.prepare(other, bench.module("trap"))
        second = next(file for file in _stored(tmp_path) if file not in (first, source))
    second.replace(first)
    async with bench.open(home=tmp_path, spares=0) as runtime:
        with pytest.raises(KeyError):
            await runtime.run(Invocation(module=digest))


async def test_a_link_in_the_cache_is_not_followed(bench: Any, tmp_path: Path) -> None:
    digest = bench.digest(bench.hello)
    async with bench.open(home=tmp_path, spares=0) as runtime:
        await runtime.prepare(digest, bench.hello)
    file, _ = _stored(tmp_path)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    async with bench.open(home=tmp_path, spares=0) as runtime:
        with pytest.raises(KeyError):
            await runtime.run(Invocation(module=digest))


async def test_without_a_home_nothing_is_written(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with bench.open_without_home() as runtime:
        await bench.check_honest(runtime)
        assert runtime.prepared(bench.digest(bench.hello))
    assert not os.listdir(tmp_path)


def _artifact(size: int) -> Artifact:
    content = bytes([size % 256]) * size
    return Artifact(memory_file("test", content), size, starts=False)


def test_the_folder_is_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    folder = ArtifactFolder(tmp_path / "compiled", "engine 1", 10_000)
    folder.open()
    digests = [Digest(f"sha256:{number:064x}") for number in range(5)]
    artifact = _artifact(3000)
    for age, digest in enumerate(digests):
        folder.store(digest, artifact)
        for file in (tmp_path / "compiled").iterdir():
            os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 10 * (age + 1)))
    os.close(artifact.descriptor)
    assert [folder.has(digest) for digest in digests] == [False, False, True, True, True]
    assert sum(file.stat().st_size for file in (tmp_path / "compiled").iterdir()) <= 10_000
    loaded = folder.load(digests[4])
    assert loaded is not None
    assert os.pread(loaded.descriptor, 4000, 0) == bytes([3000 % 256]) * 3000
    os.close(loaded.descriptor)


def test_another_engine_does_not_find_what_this_one_compiled(tmp_path: Path) -> None:
    digest = Digest("sha256:" + "1" * 64)
    artifact = _artifact(10)
    ArtifactFolder(tmp_path, "engine 1", 10_000).store(digest, artifact)
    os.close(artifact.descriptor)
    assert ArtifactFolder(tmp_path, "engine 1", 10_000).has(digest)
    assert not ArtifactFolder(tmp_path, "engine 2", 10_000).has(digest)


def test_what_an_interrupted_write_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "x.compiled.1.partial").write_bytes(b"half")
    ArtifactFolder(tmp_path, "engine", 10_000).open()
    assert not list(tmp_path.iterdir())


def test_what_is_held_in_memory_is_bounded_and_cannot_be_changed() -> None:
    held = HeldArtifacts(5000)
    digests = [Digest(f"sha256:{number:064x}") for number in range(3)]
    for digest in digests:
        held.add(digest, _artifact(2000))
    assert [digest in held for digest in digests] == [False, True, True]
    artifact = held.get(digests[1])
    assert artifact is not None
    with pytest.raises(PermissionError):
        os.pwrite(artifact.descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(artifact.descriptor, 0)
    os.close(artifact.descriptor)
    held.clear()
