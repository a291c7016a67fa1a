"""The options that say what is to be run, shared by ``run``, ``execute-job`` and ``submit``."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from plasm.errors import PlasmError
from plasm.jobs.conversation import Submission
from plasm.jobs.manifest import MAX_MODULE_BYTES, MAX_STDIN_BYTES, InvalidJob, Job, Manifest, sha256


class InputUnusable(PlasmError):
    """A file, or standard input, cannot be taken as it is."""


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What the command line says of a job."""

    name: str
    module: bytes
    args: tuple[str, ...]
    env: dict[str, str]
    stdin: bytes
    memory: int
    timeout: int
    fuel: int | None
    runtime: str | None

    def submission(self, *, arch: str | None = None, wait_seconds: float = 600) -> Submission:
        """The job with what a node needs of it. Raises :exc:`InputUnusable`."""
        job = Job(
            manifest=Manifest(
                module_hash=sha256(self.module), memory_mb=self.memory, timeout_seconds=self.timeout, fuel=self.fuel
            ),
            args=self.args,
            env=self.env,
            stdin=sha256(self.stdin),
        )
        try:
            # The bounds that hold for what comes from peers hold for what goes to them.
            msgspec.convert(msgspec.to_builtins(job), Job)
            job.check()
        except (InvalidJob, msgspec.ValidationError) as error:
            raise InputUnusable(f"this cannot be a job: {error}") from None
        return Submission(
            job=job,
            module=self.module,
            stdin=self.stdin,
            arch=arch,
            runtime=self.runtime,
            wait_seconds=wait_seconds,
        )


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and arguments of a job; the command gets them as one ``job``, a :class:`JobOptions`."""

    @click.option("--stdin", "stdin_file", metavar="FILE", help="Standard input of the program; - passes ours on.")
    @click.option("--env", "-e", "variables", multiple=True, metavar="NAME=VALUE", help="A variable; repeatable.")
    @click.option("--memory", default=256, type=click.IntRange(1, 32768), metavar="MB", show_default=True)
    @click.option(
        "--timeout", default=60, type=click.IntRange(1, 3600), metavar="SECONDS", show_default=True, help="Of the run."
    )
    @click.option("--fuel", type=click.IntRange(1, 2**53 - 1), help="Units of the engine, where it counts them.")
    @click.option("--runtime", metavar="NAME", help="The runtime to use.")
    @functools.wraps(command)
    def wrapped(
        *,
        stdin_file: str | None,
        variables: tuple[str, ...],
        memory: int,
        timeout: int,
        fuel: int | None,
        runtime: str | None,
        wasm: str | None,
        args: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        if wasm is None:
            if not args:
                raise click.UsageError("Missing argument 'WASM'.")
            wasm, *others = args
            args = tuple(others)
        env = {}
        for variable in variables:
            name, equals, value = variable.partition("=")
            if not name or not equals:
                raise click.BadParameter(f"{variable!r} is not NAME=VALUE", param_hint="--env")
            env[name] = value
        job = JobOptions(
            name=Path(wasm).name,
            module=read_file(Path(wasm), MAX_MODULE_BYTES),
            args=args,
            env=env,
            stdin=_read_stdin(stdin_file),
            memory=memory,
            timeout=timeout,
            fuel=fuel,
            runtime=runtime,
        )
        return command(job=job, **rest)

    return wrapped


def read_file(path: Path, most: int) -> bytes:
    """The file's bytes, `most` of them at most. Raises :exc:`InputUnusable`."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputUnusable(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > most:
        raise InputUnusable(f"{path} is larger than {most} bytes, which is the most that is taken")
    return data


def _read_stdin(file: str | None) -> bytes:
    if file is not None and file != "-":
        return read_file(Path(file), MAX_STDIN_BYTES)
    if file is None and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        return b""
    try:
        data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    except OSError:
        return b""
    if len(data) > MAX_STDIN_BYTES:
        raise InputUnusable(f"standard input is longer than {MAX_STDIN_BYTES} bytes, which is the most that is taken")
    return data


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """A file that appears whole or not at all. Raises :exc:`InputUnusable`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputUnusable(f"{path} cannot be written: {error.strerror or error}") from None
