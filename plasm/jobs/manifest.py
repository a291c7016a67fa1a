"""What is to be run: the manifest, the job and its digest.

The canonical encoding is the JSON Canonicalization Scheme (RFC 8785) over a document of strings, integers and lists, so
that any language can compute a job digest; ``specs/job-protocol.md`` gives the document and vectors.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from plasm.jobs.paths import MAX_PATH_BYTES, InvalidPath, check_no_file_in_place_of_a_folder, check_path, is_folder
from plasm.ports import Digest, Limits, PeerId

MAX_ARGUMENTS = 256
MAX_TEXT_BYTES = 64 * 1024
"""Of all arguments together, and of all environment variables together, encoded as UTF-8."""
MAX_MODULE_BYTES = 256 * 2**20
MAX_INPUT_BYTES = 64 * 2**20
"""Of standard input and all input files together."""
MAX_INPUT_FILES = 4096
"""Empty folders among them."""
MAX_INPUT_PATH_BYTES = 256 * 1024
"""Of the paths of all input files together."""
MAX_JOB_BYTES = 500 * 1024
"""Of a job as MessagePack: with an input of 64 KiB and what else an offer says it fits into one frame (576 KiB)."""
DEFAULT_OUTPUT_BYTES = 16 * 2**20
DEFAULT_FILE_BYTES = 64 * 2**20
DEFAULT_HOST_CALLS = 10_000_000
NONCE_BYTES = 16

_OF_THE_PROGRAM = (b"tmp", b"out")

DigestText = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
Capability = Annotated[str, msgspec.Meta(pattern=r"\A(clock|random)\Z")]


class InvalidJob(ValueError):
    """The job cannot be asked of anyone; the message is one line."""


def sha256(data: bytes) -> Digest:
    """The digest of `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_bytes(digest: str) -> bytes:
    """The 32 bytes of a digest. Raises :exc:`InvalidJob`."""
    algorithm, _, digits = digest.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise InvalidJob("a digest is sha256: and 64 lower-case hexadecimal digits")
    return bytes.fromhex(digits)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Resources, limits and capabilities of a job. The limits count the run alone."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    module_hash: DigestText
    cpu_cores: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    memory_mb: Annotated[int, msgspec.Meta(ge=1, le=32768)] = 256
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 60
    output_bytes: Annotated[int, msgspec.Meta(ge=0, le=256 * 2**20)] = DEFAULT_OUTPUT_BYTES
    fuel: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] | None = None
    file_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**30)] = DEFAULT_FILE_BYTES
    host_calls: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] = DEFAULT_HOST_CALLS
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=2)] = ()

    def limits(self) -> Limits:
        """The same as a runtime takes them."""
        return Limits(
            memory_bytes=self.memory_mb * 2**20,
            wall_seconds=float(self.timeout_seconds),
            output_bytes=self.output_bytes,
            file_bytes=self.file_bytes,
            fuel=self.fuel,
            host_calls=self.host_calls,
        )


class InputFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A file that the program finds at `path` below ``/``; its content is named by its digest.

    A path that ends with a slash is an empty folder.
    """

    path: Annotated[str, msgspec.Meta(max_length=MAX_PATH_BYTES)]
    digest: DigestText
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_INPUT_BYTES)]


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A module (by digest, in the manifest), a manifest and an input; standard input is named by its digest."""

    manifest: Manifest
    args: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_ARGUMENTS)] = ()
    env: Annotated[dict[str, str], msgspec.Meta(max_length=MAX_ARGUMENTS)] = {}
    stdin: DigestText = sha256(b"")
    inputs: Annotated[tuple[InputFile, ...], msgspec.Meta(max_length=MAX_INPUT_FILES)] = ()
    """Sorted by the UTF-8 bytes of their paths."""

    def check(self) -> None:
        """Hold the job against what its fields' types cannot say. Raises :exc:`InvalidJob`."""
        self.check_form()
        if sum(len(file.path.encode()) for file in self.inputs) > MAX_INPUT_PATH_BYTES:
            raise InvalidJob(f"the paths of the input files hold more than {MAX_INPUT_PATH_BYTES} bytes")
        if self.files_size > MAX_INPUT_BYTES:
            raise InvalidJob(f"the input files hold more than {MAX_INPUT_BYTES} bytes")

    def check_form(self) -> None:
        """The same, but for how many bytes the input has: on one's own machine memory bounds them.

        Raises :exc:`InvalidJob`.
        """
        # Most jobs have few of these, and each costs something to look at.
        if self.args:
            _check_texts("arguments", self.args)
        if self.env:
            _check_texts("environment", [*self.env, *self.env.values()])
        if any(not name or "=" in name for name in self.env):
            raise InvalidJob("a variable's name is empty or holds an equals sign")
        if len(set(self.manifest.capabilities)) != len(self.manifest.capabilities):
            raise InvalidJob("a capability is named twice")
        if self.inputs:
            self._check_inputs()

    def check_as_received(self) -> None:
        """Hold a job of our own making against all that holds for what comes from peers. Raises :exc:`InvalidJob`."""
        try:
            msgspec.convert(msgspec.to_builtins(self), Job)
        except msgspec.ValidationError as error:
            raise InvalidJob(str(error)) from None
        self.check()
        if (size := len(msgspec.msgpack.encode(self))) > MAX_JOB_BYTES:
            raise InvalidJob(
                f"arguments, environment and the table of input files take {size} bytes, {MAX_JOB_BYTES} are allowed"
            )

    def _check_inputs(self) -> None:
        try:
            paths = [check_path(file.path.removesuffix("/")) for file in self.inputs]
        except InvalidPath as error:
            raise InvalidJob(f"an input file: {error}") from None
        if any(is_folder(file.path) and (file.size or file.digest != sha256(b"")) for file in self.inputs):
            raise InvalidJob("an input whose path ends with a slash is an empty folder and has no content")
        for path in paths:
            if path.split(b"/")[0] in _OF_THE_PROGRAM:
                raise InvalidJob("an input file stands in /tmp or /out, which belong to the program")
        for path, following in itertools.pairwise(file.path.encode() for file in self.inputs):
            if path >= following:
                raise InvalidJob("the input files are not sorted by path, each path once")
        if len(set(paths)) < len(paths):
            raise InvalidJob("an input file stands where there is an empty folder")
        try:
            check_no_file_in_place_of_a_folder(paths)
        except InvalidPath as error:
            raise InvalidJob(f"an input file: {error}") from None

    @property
    def files_size(self) -> int:
        """Bytes of all input files."""
        return sum(file.size for file in self.inputs)

    def split_input(self, data: bytes) -> tuple[bytes, dict[str, bytes]]:
        """Standard input and the files, from how they travel: one after another, standard input first.

        Raises :exc:`InvalidJob` where there is too little of it.
        """
        start = len(data) - self.files_size
        if start < 0:
            raise InvalidJob("the input is shorter than its files")
        stdin, files = data[:start], {}
        for file in self.inputs:
            files[file.path] = data[start : start + file.size]
            start += file.size
        return stdin, files

    def check_input(self, data: bytes) -> None:
        """Hold an input, as it travels, against the digests. Raises :exc:`InvalidJob`."""
        stdin, files = self.split_input(data)
        if sha256(stdin) != self.stdin:
            raise InvalidJob("the input does not have the digest that the job names")
        if any(sha256(files[file.path]) != file.digest for file in self.inputs):
            raise InvalidJob("an input file does not have the digest that the job names")

    def canonical(self) -> bytes:
        """The canonical encoding. Neither nonce nor client is part of it: every replica has the same."""
        manifest = self.manifest
        limits = {
            "cpuCores": manifest.cpu_cores,
            "fileBytes": manifest.file_bytes,
            "hostCalls": manifest.host_calls,
            "memoryMb": manifest.memory_mb,
            "outputBytes": manifest.output_bytes,
            "timeoutSeconds": manifest.timeout_seconds,
        }
        if manifest.fuel is not None:
            limits["fuel"] = manifest.fuel
        return canonical_json(
            {
                "args": list(self.args),
                "capabilities": sorted(manifest.capabilities),
                "env": [list(pair) for pair in sorted(self.env.items(), key=lambda pair: pair[0].encode())],
                "inputs": [[file.path, file.digest] for file in self.inputs],
                "limits": limits,
                "module": manifest.module_hash,
                "stdin": self.stdin,
                "type": "urn:phase:job:1",
            }
        )

    def digest(self) -> Digest:
        """The job digest."""
        return sha256(self.canonical())


def input_files(files: Mapping[str, bytes]) -> tuple[InputFile, ...]:
    """What a job says of `files` (path → content), in its order."""
    return tuple(
        InputFile(path=path, digest=sha256(content), size=len(content))
        for path, content in sorted(files.items(), key=lambda pair: pair[0].encode("utf-8", "surrogatepass"))
    )


def join_input(job: Job, stdin: bytes, files: Mapping[str, bytes]) -> bytes:
    """The input as it travels; :meth:`Job.split_input` takes it apart."""
    return b"".join([stdin, *(files[file.path] for file in job.inputs)])


def _check_texts(what: str, texts: Sequence[str]) -> None:
    if any("\0" in text for text in texts):
        raise InvalidJob(f"a NUL stands in the {what}")
    try:
        size = sum(len(text.encode()) + 1 for text in texts)
    except UnicodeEncodeError:
        raise InvalidJob(f"the {what} cannot be written as UTF-8") from None
    if size > MAX_TEXT_BYTES:
        raise InvalidJob(f"the {what} hold {size} bytes, and {MAX_TEXT_BYTES} are allowed")


_canonical = msgspec.json.Encoder(order="sorted")


def canonical_json(document: object) -> bytes:
    """RFC 8785 for documents whose member names are ASCII and whose numbers are integers below 2^53.

    Raises :exc:`ValueError` for text that is not Unicode.
    """
    return _canonical.encode(document)


def job_id(client: PeerId, nonce: bytes, job_digest: Digest) -> str:
    """The name of one acceptance: 32 hexadecimal digits that client and node compute alike.

    It depends on the client that the transport has proven, so that nobody can name another's job, and asking again
    with the same nonce asks for the same job.
    """
    text = b"phase-job-id-1\0" + client.encode() + b"\0" + nonce + digest_bytes(job_digest)
    return hashlib.sha256(text).hexdigest()[:32]


def result_digest(verdict: str, exit_code: int | None, outputs: Mapping[str, Digest]) -> Digest:
    """SHA-256 over verdict, exit code and output digests alone: what two honest nodes agree on."""
    return sha256(
        canonical_json(
            {
                "exitCode": exit_code,
                "outputs": [list(pair) for pair in sorted(outputs.items())],
                "type": "urn:phase:result:1",
                "verdict": verdict,
            }
        )
    )
