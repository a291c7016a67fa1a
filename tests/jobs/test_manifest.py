"""The job and its digest: the same for everyone, whatever language they wrote it in."""

from __future__ import annotations

import hashlib
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.jobs.manifest import (
    MAX_ARGUMENTS,
    MAX_TEXT_BYTES,
    InputFile,
    InvalidJob,
    Job,
    Manifest,
    canonical_json,
    digest_bytes,
    input_files,
    job_id,
    result_digest,
    sha256,
)
from plasm.testing import FakeSigner

MODULE = sha256(b"module")


def job(**changes):
    return Job(manifest=Manifest(module_hash=MODULE), **changes)


def jcs(value) -> str:
    """RFC 8785 by its text alone, for the values that a job's document holds."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
        return '"' + "".join(short.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 0x20 else c) for c in value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(jcs, value)) + "]"
    members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
    return "{" + ",".join(f"{jcs(name)}:{jcs(inner)}" for name, inner in members) + "}"


def test_the_digest_of_a_known_job_does_not_change():
    known = Job(
        manifest=Manifest(
            module_hash="sha256:" + "ab" * 32, timeout_seconds=5, fuel=1000, capabilities=("random", "clock")
        ),
        args=("-v", "grüße\n"),
        env={"B": "2", "A": "1"},
        stdin=sha256(b"in"),
    )
    text = (
        '{"args":["-v","grüße\\n"],"capabilities":["clock","random"],"env":[["A","1"],["B","2"]],"inputs":[],'
        '"limits":{"cpuCores":1,"fileBytes":67108864,"fuel":1000,"hostCalls":10000000,"memoryMb":256,"outputBytes":16777216,'
        '"timeoutSeconds":5},"module":"sha256:' + "ab" * 32 + '",'
        '"stdin":"sha256:582967534d0f909d196b97f9e6921342777aea87b46fa52df165389db1fb8ccf","type":"urn:phase:job:1"}'
    )
    assert known.canonical().decode() == text
    assert known.digest() == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_the_environment_and_of_capabilities_does_not_change_the_digest():
    one = Job(manifest=Manifest(module_hash=MODULE, capabilities=("clock", "random")), env={"a": "1", "b": "2"})
    other = Job(manifest=Manifest(module_hash=MODULE, capabilities=("random", "clock")), env={"b": "2", "a": "1"})
    assert one.digest() == other.digest()


@pytest.mark.parametrize(
    "changed",
    [
        job(args=("a",)),
        job(args=("a", "")),
        job(env={"a": ""}),
        job(stdin=sha256(b"x")),
        job(inputs=input_files({"a": b""})),
        job(inputs=input_files({"a": b"1"})),
        job(inputs=input_files({"b": b"1"})),
        Job(manifest=Manifest(module_hash=sha256(b"other"))),
        *(
            Job(manifest=Manifest(module_hash=MODULE, **{field: value}))
            for field, value in {
                "cpu_cores": 2,
                "memory_mb": 2,
                "timeout_seconds": 2,
                "output_bytes": 2,
                "file_bytes": 2,
                "fuel": 2,
                "host_calls": 2,
                "capabilities": ("clock",),
            }.items()
        ),
    ],
)
def test_whatever_changes_what_runs_changes_the_digest(changed):
    assert changed.digest() != job().digest()


def test_a_job_knows_neither_nonce_nor_client():
    assert not {"nonce", "client"} & {*Job.__struct_fields__, *Manifest.__struct_fields__}


def test_one_job_has_another_id_for_every_client_and_nonce():
    digest = job().digest()
    ids = {job_id(FakeSigner(seed).peer, bytes([nonce]) * 16, digest) for seed in range(3) for nonce in range(3)}
    assert len(ids) == 9
    assert all(len(each) == 32 and set(each) <= set("0123456789abcdef") for each in ids)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(texts, max_size=5), st.dictionaries(texts, texts, max_size=5))
def test_the_canonical_form_is_that_of_rfc_8785(args, env):
    mine = Job(manifest=Manifest(module_hash=MODULE), args=tuple(args), env=env).canonical()
    assert mine.decode() == jcs(msgspec.json.decode(mine))
    document = msgspec.json.decode(mine)
    assert document["args"] == args
    assert dict(map(tuple, document["env"])) == env


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("abcXYZ019_", max_size=4), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_our_json_is_that_of_an_independent_writer(document):
    assert canonical_json(document).decode() == jcs(document)


def test_names_outside_the_basic_plane_are_sorted_by_their_bytes():
    both = {"\uffff": "1", "\U00010000": "2"}
    names = [name for name, _ in msgspec.json.decode(job(env=both).canonical())["env"]]
    assert names == sorted(both, key=str.encode)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (job(args=("a\0b",)), "NUL stands in the arguments"),
        (job(env={"a\0": "b"}), "NUL stands in the environment"),
        (job(env={"a": "\0"}), "NUL stands in the environment"),
        (job(args=("\ud800",)), "cannot be written as UTF-8"),
        (job(env={"a": "\udfff"}), "cannot be written as UTF-8"),
        (job(args=("x" * MAX_TEXT_BYTES,)), "are allowed"),
        (job(args=("ü" * (MAX_TEXT_BYTES // 2),)), "are allowed"),
        (job(env={"a": "x" * MAX_TEXT_BYTES}), "are allowed"),
        (job(env={"": "b"}), "name is empty"),
        (job(env={"a=b": "c"}), "equals sign"),
        (Job(manifest=Manifest(module_hash=MODULE, capabilities=("clock", "clock"))), "named twice"),
    ],
)
def test_a_job_that_no_program_could_be_given_is_refused_in_one_line(bad, why):
    with pytest.raises(InvalidJob, match=why) as caught:
        bad.check()
    assert str(caught.value).isprintable()


def test_arguments_up_to_the_limit_are_fine():
    job(args=("x" * (MAX_TEXT_BYTES - 1),), env={"a": "x" * (MAX_TEXT_BYTES - 3)}).check()


@pytest.mark.parametrize(
    "change",
    [
        {"args": ["x"] * (MAX_ARGUMENTS + 1)},
        {"env": {str(number): "" for number in range(MAX_ARGUMENTS + 1)}},
        {"stdin": "sha256:short"},
        {"manifest": {"module_hash": MODULE, "cpu_cores": 65}},
        {"manifest": {"module_hash": MODULE, "cpu_cores": 0}},
        {"manifest": {"module_hash": MODULE, "memory_mb": 32769}},
        {"manifest": {"module_hash": MODULE, "timeout_seconds": 3601}},
        {"manifest": {"module_hash": MODULE, "output_bytes": 256 * 2**20 + 1}},
        {"manifest": {"module_hash": MODULE, "fuel": 2**53}},
        {"manifest": {"module_hash": MODULE, "fuel": 0}},
        {"manifest": {"module_hash": MODULE, "capabilities": ["network"]}},
        {"manifest": {"module_hash": MODULE, "version": 2}},
        {"manifest": {"module_hash": MODULE + "\n"}},
    ],
)
def test_a_job_that_arrives_outside_the_bounds_is_refused(change):
    arrived = msgspec.to_builtins(job()) | change
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(arrived, Job)


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "md5:" + "a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 63, "a" * 64]
)
def test_what_is_no_digest_has_no_bytes(digest):
    with pytest.raises(InvalidJob):
        digest_bytes(digest)


def test_the_result_digest_covers_verdict_exit_code_and_outputs():
    outputs = {"stdout": sha256(b"o"), "stderr": sha256(b"e")}
    same = result_digest("exited", 0, dict(reversed(outputs.items())))
    assert result_digest("exited", 0, outputs) == same
    assert same not in {
        result_digest("exited", 1, outputs),
        result_digest("trapped", None, outputs),
        result_digest("exited", 0, outputs | {"stdout": sha256(b"p")}),
    }


def test_text_that_is_not_unicode_has_no_canonical_form():
    with pytest.raises(ValueError):
        canonical_json({"a": "\ud800"})


def test_deep_paths_of_input_files_take_no_more_memory_than_they_have_bytes():
    deep = job(
        inputs=tuple(
            InputFile(path=f"{number:03d}/" + "a/" * 505 + "a", digest=sha256(b""), size=0) for number in range(250)
        )
    )
    tracemalloc.start()
    try:
        deep.check()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # All paths together have a quarter of a megabyte; their folders, each written out, sixty times that.
    assert most < 4_000_000


@pytest.mark.parametrize(
    ("paths", "refused"),
    [
        (["a", "a-b", "a/b"], True),
        (["a/b", "a/b/c/d"], True),
        (["a-b", "a/b", "a0"], False),
        (["a/b", "a/b-c", "a/bc"], False),
    ],
)
def test_a_file_in_the_place_of_a_folder_is_found_whatever_sorts_between_them(paths, refused):
    beside = job(inputs=input_files(dict.fromkeys(paths, b"")))
    if refused:
        with pytest.raises(InvalidJob, match="another one needs a folder"):
            beside.check()
    else:
        beside.check()
