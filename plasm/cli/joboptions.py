"""The options that say what is to be run, shared by ``run``, ``execute-job`` and ``submit``."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from plasm.cli import completers
from plasm.cli.files import InputUnusable, read_file
from plasm.cli.jobfiles import read_inputs
from plasm.cli.stdin import read_stdin
from plasm.jobs.conversation import Submission
from plasm.jobs.manifest import MAX_INPUT_BYTES, MAX_MODULE_BYTES, InvalidJob, Job, Manifest, input_files, sha256
from plasm.ports import Digest

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_SHOWN_OF_DIGEST = 19


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What the command line says of a job."""

    name: str
    digest: Digest
    """Of the module."""
    module: bytes
    """Empty where only its digest was named."""
    args: tuple[str, ...]
    env: dict[str, str]
    stdin: bytes
    inputs: dict[str, bytes]
    capabilities: tuple[str, ...]
    memory: int
    timeout: int
    fuel: int | None
    runtime: str | None

    def submission(self, *, arch: str | None = None, wait_seconds: float = 600) -> Submission:
        """The job with what a node needs of it. Raises :exc:`InputUnusable`."""
        job = Job(
            manifest=Manifest(
                module_hash=self.digest,
                memory_mb=self.memory,
                timeout_seconds=self.timeout,
                fuel=self.fuel,
                capabilities=self.capabilities,
            ),
            args=self.args,
            env=self.env,
            stdin=sha256(self.stdin),
            inputs=input_files(self.inputs),
        )
        try:
            job.check_as_received()
        except InvalidJob as error:
            raise InputUnusable(f"this cannot be a job: {error}") from None
        return Submission(
            job=job,
            module=self.module,
            stdin=self.stdin,
            inputs=self.inputs,
            arch=arch,
            runtime=self.runtime,
            wait_seconds=wait_seconds,
        )


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and arguments of a job; the command gets them as one ``job``, a :class:`JobOptions`."""

    @click.option(
        "--stdin",
        "stdin_file",
        metavar="FILE",
        help="Standard input of the program. Without it, or with -, ours is read to its end first, unless it is a"
        " terminal; --timeout does not count that.",
    )
    @click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="PATH=FILE",
        help="A file, or a folder's files, that the program finds at /PATH, read-only; repeatable.",
    )
    @click.option(
        "--capability",
        "capabilities",
        multiple=True,
        type=click.Choice(("clock", "random")),
        help="The real clock, or real random bytes: the result can then not be reproduced. Repeatable.",
    )
    @click.option(
        "--env", "-e", "variables", multiple=True, metavar="NAME=VALUE", help="An environment variable; repeatable."
    )
    @click.option(
        "--memory",
        default=256,
        type=click.IntRange(1, 32768),
        metavar="MB",
        show_default=True,
        help="What the program may use.",
    )
    @click.option(
        "--timeout",
        default=60,
        type=click.IntRange(1, 3600),
        metavar="SECONDS",
        show_default=True,
        help="How long the program may run.",
    )
    @click.option(
        "--fuel",
        type=click.IntRange(1, 2**53 - 1),
        metavar="UNITS",
        show_default="no bound",
        help="What the program may use of the engine's units, where the engine counts them.",
    )
    @click.option(
        "--runtime", metavar="NAME", help="The runtime to use, such as wasmtime.", shell_complete=completers.runtimes
    )
    @functools.wraps(command)
    def wrapped(
        *,
        stdin_file: str | None,
        inputs: tuple[str, ...],
        capabilities: tuple[str, ...],
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
        by_digest = _DIGEST.fullmatch(wasm) is not None
        module = b"" if by_digest else read_file(Path(wasm), MAX_MODULE_BYTES)
        job = JobOptions(
            name=wasm[:_SHOWN_OF_DIGEST] if by_digest else Path(wasm).name,
            digest=Digest(wasm) if by_digest else sha256(module),
            module=module,
            args=args,
            env=read_variables(variables),
            stdin=_read_stdin(stdin_file, quiet=bool(rest.get("quiet"))),
            inputs=read_inputs(inputs),
            capabilities=tuple(sorted(set(capabilities))),
            memory=memory,
            timeout=timeout,
            fuel=fuel,
            runtime=runtime,
        )
        return command(job=job, **rest)

    return wrapped


def read_variables(texts: Sequence[str]) -> dict[str, str]:
    """The variables that ``NAME=VALUE`` give. Raises :exc:`click.BadParameter` for what is none."""
    env = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--env")
        env[name] = value
    return env


def out_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--out``; the command gets it as ``out``, a path or ``None``."""
    return click.option(
        "--out", type=click.Path(path_type=Path), metavar="DIR", help="Write the files that it left in /out there."
    )(command)


def _read_stdin(file: str | None, *, quiet: bool) -> bytes:
    if file is not None and file != "-":
        return read_file(Path(file), MAX_INPUT_BYTES)
    if file is None and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        return b""
    return read_stdin(MAX_INPUT_BYTES, quiet=quiet)
