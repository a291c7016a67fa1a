"""How the end of a job is shown: the program's own bytes and exit code, and everything of ours on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from plasm.cli.files import write_whole
from plasm.cli.jobfiles import write_outputs
from plasm.cli.terminal import write_output
from plasm.errors import PlasmError
from plasm.exitcodes import exit_code
from plasm.jobs.conversation import Delivered
from plasm.jobs.manifest import sha256
from plasm.jobs.outputs import STDERR, STDOUT, files_of
from plasm.ports import NO_ROOM_FOR_FILES, Verdict

_SHOWN_PATHS = 5
_SENTENCES = {
    Verdict.TRAPPED: "the program trapped",
    Verdict.OUT_OF_FUEL: "the program ran out of fuel; --fuel grants more",
    Verdict.TIMED_OUT: "the program ran out of time; --timeout grants more",
    Verdict.OUT_OF_MEMORY: "the program ran out of memory; --memory grants more",
    Verdict.OUTPUT_LIMIT: "the program wrote more than it may; --output grants more",
    Verdict.HOST_CALL_LIMIT: "the program made more system calls than it may; --host-calls grants more",
    Verdict.CELL_DIED: "the process that ran the program died; the program itself may be fine: run it again",
    Verdict.NOT_RUNNABLE: "not a runnable module",
}


class Places:
    """The places that a result is written to, one after another: what one of them does not take the others still get.

    A run may have taken an hour, and nothing else has what came of it.
    """

    def __init__(self) -> None:
        self._failures: list[PlasmError] = []

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """What fails in the block is raised by :meth:`check`."""
        try:
            yield
        except PlasmError as error:
            self._failures.append(error)

    def check(self) -> None:
        """Raises :exc:`~plasm.errors.PlasmError` where a place took nothing."""
        if self._failures:
            raise PlasmError("; ".join(error.message for error in self._failures), self._failures[0].mend)


def finish(
    *,
    outputs: Mapping[str, bytes],
    out: Path | None,
    verdict: Verdict,
    own: int | None,
    detail: str,
    quiet: bool = False,
    places: Places | None = None,
) -> NoReturn:
    """Write what the program wrote, its files into `out`, say how it ended if not by itself, and exit as it did.

    Raises :exc:`~plasm.errors.PlasmError`, once all that can be is written, where one of the `places` took nothing.
    """
    places = places or Places()
    stdout, stderr = outputs[STDOUT], outputs[STDERR]
    with places.one():
        keep_files(files_of(outputs), out, quiet=quiet)
    sys.stdout.flush()
    write_output(sys.stdout.buffer, stdout)
    write_output(sys.stderr.buffer, stderr)
    if verdict is Verdict.EXITED and own and detail == NO_ROOM_FOR_FILES and not quiet:
        print(f"plasm: the program exited with {own}: {detail}; --files grants more", file=sys.stderr)
    if verdict is not Verdict.EXITED and not quiet:
        if stderr and not stderr.endswith(b"\n"):
            print(file=sys.stderr)
        say_ending(verdict, detail)
    places.check()
    raise SystemExit(exit_code(verdict, own))


def say_ending(verdict: Verdict, detail: str) -> None:
    """Say on stderr how the program ended, if not by itself."""
    if verdict is not Verdict.EXITED:
        print(f"plasm: {_SENTENCES[verdict]}{f' ({detail})' if detail else ''}", file=sys.stderr)


def keep_files(files: Mapping[str, bytes], out: Path | None, *, quiet: bool = False) -> None:
    """Write the files of ``/out`` into the folder `out`; where there is none, say that there were some."""
    if out is not None:
        left_out = write_outputs(out, files)
        if left_out:
            print(
                f"plasm: not written, since what is hidden in {out} steers other programs: {_some(left_out)};"
                " another --out DIR takes it",
                file=sys.stderr,
            )
    elif files and not quiet:
        count = "a file" if len(files) == 1 else f"{len(files)} files"
        print(f"plasm: the program left {count} in /out; --out DIR takes what it leaves there", file=sys.stderr)


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(map(ascii, paths[:_SHOWN_PATHS]))
    return shown if len(paths) <= _SHOWN_PATHS else f"{shown} and {len(paths) - _SHOWN_PATHS} more"


def finish_delivered(
    delivered: Delivered,
    *,
    receipt: Path | None,
    out: Path | None,
    as_json: bool,
    quiet: bool = False,
    places: Places | None = None,
) -> NoReturn:
    """As :func:`finish`, for a verified result, whose receipt is written to `receipt` first."""
    places = places or Places()
    predicate = delivered.statement.predicate
    try:
        if receipt is not None:
            with places.one():
                write_whole(receipt, delivered.receipt + b"\n")
        if as_json:
            # One document on stdout: the result, or what failed.
            places.check()
            keep_files(delivered.files, out, quiet=True)
            print(json.dumps(as_document(delivered)))
            raise SystemExit(exit_code(predicate.verdict, predicate.exit_code))
        finish(
            outputs=delivered.outputs,
            out=out,
            verdict=predicate.verdict,
            own=predicate.exit_code,
            detail=delivered.detail,
            quiet=quiet,
            places=places,
        )
    except PlasmError as error:
        # Its node keeps the result for a while: nothing has to run again.
        raise PlasmError(error.message, error.mend or f"plasm result {delivered.job_id} gets it again") from None


def as_document(delivered: Delivered) -> dict[str, Any]:
    """A verified result as JSON shows it. Output that is not UTF-8 has its bytes replaced, and is there in base64."""
    import base64

    predicate = delivered.statement.predicate
    return {
        "job_id": delivered.job_id,
        "node": delivered.node,
        "verdict": predicate.verdict.value,
        "exit_code": predicate.exit_code,
        "stdout": delivered.stdout.decode(errors="replace"),
        "stderr": delivered.stderr.decode(errors="replace"),
        "stdout_base64": base64.b64encode(delivered.stdout).decode(),
        "stderr_base64": base64.b64encode(delivered.stderr).decode(),
        "files": [
            {"path": path, "size": len(content), "digest": sha256(content)} for path, content in delivered.files.items()
        ],
        "trap": predicate.trap,
        "detail": delivered.detail,
        "engine": {"name": predicate.engine.name, "version": predicate.engine.version},
        "isolation": predicate.isolation,
        "guards": list(predicate.guards),
        "reproducible": predicate.reproducible,
        "usage": {
            "fuel": predicate.usage.fuel,
            "wall_microseconds": predicate.usage.wall_microseconds,
            "cpu_microseconds": predicate.usage.cpu_microseconds,
            "peak_memory_bytes": predicate.usage.peak_memory_bytes,
            "peak_process_bytes": predicate.usage.peak_process_bytes,
        },
        "receipt": json.loads(delivered.receipt),
        "verified": True,
    }
