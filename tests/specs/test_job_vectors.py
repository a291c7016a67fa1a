"""The code holds to the vectors of jobs: documents, digests and ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import pytest

from plasm.jobs.manifest import InvalidJob, Job, Manifest, canonical_json, job_id, result_digest, sha256
from plasm.jobs.receipt import input_digest
from plasm.ports import Digest, PeerId

Vectors = Callable[[str], dict[str, Any]]


def test_jobs_have_their_documents_and_digests(vectors: Vectors) -> None:
    for vector in vectors("jobs")["valid"]:
        job = msgspec.convert(vector["job"], Job)
        job.check()
        assert job.canonical().decode() == vector["canonical"], vector["name"]
        assert job.digest() == vector["digest"] == sha256(vector["canonical"].encode())
        assert input_digest(job) == vector["input_digest"]


def test_documents_are_what_the_schema_says(
    vectors: Vectors, schema: Callable[..., jsonschema.Draft202012Validator]
) -> None:
    for vector in vectors("jobs")["valid"]:
        schema("job").validate(json.loads(vector["canonical"]))
        schema("messages", "job").validate(vector["job"])


def test_what_is_no_job_is_refused(vectors: Vectors) -> None:
    for vector in vectors("jobs")["invalid"]:
        with pytest.raises((msgspec.ValidationError, InvalidJob)):
            msgspec.convert(vector["job"], Job).check()
            pytest.fail(vector["why"])


def test_arguments_have_a_bound_together() -> None:
    manifest = Manifest(module_hash=sha256(b""))
    Job(manifest=manifest, args=("x" * 65535,)).check()
    with pytest.raises(InvalidJob):
        Job(manifest=manifest, args=("x" * 65536,)).check()
    with pytest.raises(InvalidJob):
        Job(manifest=manifest, env={"x": "ü" * 32768}).check()


def test_job_ids_come_from_client_nonce_and_job(vectors: Vectors) -> None:
    ids = vectors("jobs")["job_ids"]
    for vector in ids:
        computed = job_id(PeerId(vector["client"]), bytes.fromhex(vector["nonce"]), Digest(vector["job_digest"]))
        assert computed == vector["job_id"]
    assert len({vector["job_id"] for vector in ids}) == len(ids)


def test_results_have_their_digests(vectors: Vectors) -> None:
    for vector in vectors("jobs")["results"]:
        assert sha256(vector["canonical"].encode()) == vector["digest"]
        assert canonical_json(json.loads(vector["canonical"])).decode() == vector["canonical"]
        assert result_digest(vector["verdict"], vector["exit_code"], vector["outputs"]) == vector["digest"]
