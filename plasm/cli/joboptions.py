"""The options that say what is to be run, shared by ``run``, ``execute-job`` and ``submit``."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from plasm.cli import completers, parameters
from plasm.cli.context import Context
from plasm.cli.files import InputUnusable, read_file
from plasm.cli.jobfiles import MAX_LOCAL_FILES, InputBounds, read_inputs
from plasm.cli.stdin import read_stdin
from plasm.jobs.conversation import Submission
from plasm.jobs.manifest import (
    DEFAULT_FILE_BYTES,
    DEFAULT_HOST_CALLS,
    DEFAULT_OUTPUT_BYTES,
    MAX_MODULE_BYTES,
    InvalidJob,
    Job,
    Manifest,
    input_files,
    sha256,
)
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
    output_bytes: int | None
    """``None``, as of `file_bytes`, where nothing was said of it."""
    file_bytes: int | None
    host_calls: int
    runtime: str | None

    def submission(self, *, arch: str | None = None, wait_seconds: float = 600, here: bool = False) -> Submission:
        """The job with what a node needs of it; `here`, it may be larger than what goes to others.

        Raises :exc:`InputUnusable`.
        """
        job = Job(
            manifest=Manifest(
                module_hash=self.digest,
                memory_mb=self.memory,
                timeout_seconds=self.timeout,
                output_bytes=DEFAULT_OUTPUT_BYTES if self.output_bytes is None else self.output_bytes,
                fuel=self.fuel,
                file_bytes=DEFAULT_FILE_BYTES if self.file_bytes is None else self.file_bytes,
                host_calls=self.host_calls,
                capabilities=self.capabilities,
            ),
            args=self.args,
            env=self.env,
            stdin=sha256(self.stdin),
            inputs=input_files(self.inputs),
        )
        try:
            job.check_form() if here else job.check_as_received()
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


def job_options(command: Callable[..., Any], *, here: bool = False) -> Callable[..., Any]:
    """Adds the options and arguments of a job; the command gets them as one ``job``, a :class:`JobOptions`.

    Where the job runs `here`, for nobody else, memory alone bounds its input.
    """

    @click.option(
        "--stdin",
        "stdin_file",
        metavar="FILE",
        help="Standard input of the program. Without it, or with -, the standard input of this command is read to its"
        " end first, unless it is a terminal; --timeout does not count that.",
    )
    @click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="PATH=FILE",
        help="A file, or a folder with all that is in it, that the program finds at /PATH; repeatable.",
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
        help="How much memory the program may use.",
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
        "--output",
        "output_bytes",
        callback=parameters.size,
        metavar="SIZE",
        show_default="an eighth of the memory" if here else "16MB",
        help="What the program may write to stdout, stderr and /out together, such as 64MB.",
    )
    @click.option(
        "--files",
        "file_bytes",
        callback=parameters.size,
        metavar="SIZE",
        show_default="an eighth of the memory" if here else "64MB",
        help="What the program's own files may hold while it runs, and inputs that it changes.",
    )
    @click.option(
        "--host-calls",
        default=DEFAULT_HOST_CALLS,
        type=click.IntRange(1, 2**53 - 1),
        metavar="N",
        show_default=True,
        help="How many system calls the program may make.",
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
        output_bytes: int | None,
        file_bytes: int | None,
        host_calls: int,
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
        by_digest = _names_digest(wasm)
        most = _bounds_here() if here else InputBounds()
        module = b"" if by_digest else read_file(Path(wasm), MAX_MODULE_BYTES)
        job = JobOptions(
            name=wasm[:_SHOWN_OF_DIGEST] if by_digest else Path(wasm).name,
            digest=Digest(wasm) if by_digest else sha256(module),
            module=module,
            args=args,
            env=read_variables(variables),
            stdin=_read_stdin(stdin_file, most.size, quiet=bool(rest.get("quiet"))),
            inputs=read_inputs(inputs, most),
            capabilities=tuple(sorted(set(capabilities))),
            memory=memory,
            timeout=timeout,
            fuel=fuel,
            output_bytes=output_bytes,
            file_bytes=file_bytes,
            host_calls=host_calls,
            runtime=runtime,
        )
        return command(job=job, **rest)

    return wrapped


local_job_options = functools.partial(job_options, here=True)
"""As :func:`job_options`, for what runs on this machine for its user alone."""


def _names_digest(wasm: str) -> bool:
    """Whether WASM names a module by its digest, and no file.

    Raises :exc:`click.UsageError` for what was meant as an option or as a digest. Options that the command does not
    know are taken as arguments, since those after WASM are the program's; one in place of WASM is a slip.
    """
    if wasm.startswith("-"):
        context = click.get_current_context()
        name = wasm.partition("=")[0]
        known = [each for parameter in context.command.params for each in parameter.opts if each.startswith("--")]
        raise click.NoSuchOption(name, possibilities=get_close_matches(name, known), ctx=context)
    if not wasm.startswith("sha256:"):
        return False
    if not _DIGEST.fullmatch(wasm):
        raise click.BadParameter(
            f"invalid digest {wasm[:80]!a}: expected sha256: and 64 digits of 0-9 and a-f", param_hint="WASM"
        )
    return True


def _bounds_here() -> InputBounds:
    context = click.get_current_context().find_object(Context)
    assert context is not None
    return InputBounds(files=MAX_LOCAL_FILES, size=context.settings().node.memory_mb * 2**20)


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
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Write the files that the program left in /out into this folder.",
    )(command)


def _read_stdin(file: str | None, most: int, *, quiet: bool) -> bytes:
    if file is not None and file != "-":
        return read_file(Path(file), most)
    if file is None and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        return b""
    return read_stdin(most, quiet=quiet)
