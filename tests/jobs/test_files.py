"""Input files go to the program, and what it leaves in /out comes back, proven."""

from __future__ import annotations

from dataclasses import replace

import anyio
import anyio.lowlevel
import msgspec
import pytest

from plasm.jobs.framing import FrameDecoder
from plasm.jobs.manifest import (
    MAX_INPUT_BYTES,
    MAX_INPUT_FILES,
    InputFile,
    InvalidJob,
    Job,
    Manifest,
    input_files,
    join_input,
    sha256,
)
from plasm.jobs.messages import INLINE_BYTES, Offer, decode_request, encode
from plasm.jobs.outputs import cut, in_order, joined, table_of
from plasm.jobs.paths import InvalidPath, check_path
from plasm.testing.fakes.scripts import ScriptedRun
from tests.jobs.world import ignore, submission

pytestmark = pytest.mark.anyio
MODULE = b"a module that copies its files"


async def copies(run: ScriptedRun) -> int:
    """Leaves each input file in /out, and its standard input in stdout."""
    await anyio.lowlevel.checkpoint()
    run.write(run.invocation.stdin)
    for path, content in run.invocation.inputs.items():
        run.leave("copy/" + path.replace("empty/", "folder"), content)
    return 0


def with_files(files: dict[str, bytes], stdin: bytes = b""):
    plain = submission(MODULE, stdin)
    job = msgspec.structs.replace(plain.job, inputs=input_files(files))
    return replace(plain, job=job, inputs=files)


@pytest.mark.parametrize("size", [10, INLINE_BYTES, 3 * 2**20])
async def test_files_go_there_and_come_back_whatever_their_size(world, size):
    files = {"data/a.bin": bytes(range(256)) * (size // 256 + 1), "b": b"", "data/ü": b"x", "empty/": b""}
    with anyio.fail_after(20):
        async with world.node({MODULE: copies}) as node, world.client() as client:
            delivered = await client.submit(with_files(files, b"in"), name="x", report=ignore, peers=[node.address])
    assert delivered.stdout == b"in"
    files["folder"] = files.pop("empty/")
    assert delivered.files == {"copy/" + path: content for path, content in files.items()}
    names = [subject.name for subject in delivered.statement.subject]
    assert names == ["out/copy/b", "out/copy/data/a.bin", "out/copy/data/ü", "out/copy/folder", "stderr", "stdout"]


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b", "x" * 256, "a/" * 600 + "a", "\ud800"],
)
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InvalidPath):
        check_path(path)


@pytest.mark.parametrize("path", ["a", "a/b", ".a", "...", "ü/😀", "a b", "x" * 255])
def test_a_path_is_taken_as_it_is(path):
    assert check_path(path) == path.encode()


@pytest.mark.parametrize(
    "files",
    [
        {"tmp/a": b""},
        {"out": b""},
        {"a": b"", "a/b": b""},
        {"a/b/c": b"", "a/b": b"", "a/b-": b""},
        {"tmp/": b""},
        {"a": b"", "a/": b""},
        {"a/": b"", "a/b": b""},
        {"a/": b"", "a/b/": b""},
        {"a/": b"x"},
        {"/": b""},
        {"a//": b""},
    ],
)
def test_files_that_are_in_each_others_way_or_the_programs_are_refused(files):
    with pytest.raises(InvalidJob):
        Job(manifest=Manifest(module_hash=sha256(MODULE)), inputs=input_files(files)).check()


def test_thousands_of_files_fit_into_one_offer():
    files = {f"share/{number:04}.v": b"" for number in range(MAX_INPUT_FILES)}
    job = Job(manifest=Manifest(module_hash=sha256(MODULE)), inputs=input_files(files))
    job.check_as_received()
    offer = Offer(
        job=job, digest=job.digest(), nonce=bytes(16), module_size=1, input_size=INLINE_BYTES, input=bytes(INLINE_BYTES)
    )
    decoder = FrameDecoder()
    decoder.feed(encode(offer))
    body = decoder.next_frame()
    assert body is not None
    assert decode_request(body) == offer
    one_more = msgspec.structs.replace(job, inputs=input_files(files | {"one": b""}))
    with pytest.raises(InvalidJob, match="4096"):
        one_more.check_as_received()


def test_a_job_that_fits_into_no_offer_is_refused_before_it_is_offered():
    files = {f"{number:04}/" + "x" * 50: b"" for number in range(MAX_INPUT_FILES)}
    job = Job(manifest=Manifest(module_hash=sha256(MODULE)), inputs=input_files(files))
    job.check()
    with pytest.raises(InvalidJob, match="table of input files"):
        job.check_as_received()


def test_paths_have_a_bound_together():
    files = {f"{number:03}/" + "x" * 200 + "/" + "y" * 100: b"" for number in range(900)}
    with pytest.raises(InvalidJob, match="paths of the input files"):
        Job(manifest=Manifest(module_hash=sha256(MODULE)), inputs=input_files(files)).check()


def test_on_ones_own_machine_the_size_of_the_input_is_not_the_jobs_to_bound():
    size = MAX_INPUT_BYTES + 1
    large = InputFile(path="a", digest=sha256(MODULE), size=size)
    job = Job(manifest=Manifest(module_hash=sha256(MODULE)), inputs=(large,))
    job.check_form()
    with pytest.raises(InvalidJob, match="hold more"):
        job.check()


def test_input_is_cut_as_it_was_joined():
    files = {"b": b"22", "a": b"1", "c/d": b"", "e/": b""}
    job = Job(manifest=Manifest(module_hash=sha256(MODULE)), stdin=sha256(b"in"), inputs=input_files(files))
    job.check()
    data = join_input(job, b"in", files)
    assert data == b"in122"
    job.check_input(data)
    assert job.split_input(data) == (b"in", files)
    for other in (b"", b"in12", b"in123", b"on122", b"in1222"):
        with pytest.raises(InvalidJob):
            job.check_input(other)


def test_outputs_are_cut_as_they_were_joined():
    outputs = {"out/b": b"2", "stdout": b"o", "stderr": b"ee", "out/a/c": b""}
    assert [name for name, _ in in_order(outputs)] == ["stdout", "stderr", "out/a/c", "out/b"]
    assert cut(table_of(outputs), joined(outputs)) == outputs
    with pytest.raises(ValueError, match="not as long"):
        cut(table_of(outputs), joined(outputs)[:-1])
