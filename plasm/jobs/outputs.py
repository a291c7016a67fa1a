"""Outputs under their names, ``stdout``, ``stderr`` and ``out/PATH``, and how they travel: one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

from plasm.jobs.paths import InvalidPath, check_no_file_in_place_of_a_folder, check_path

STDOUT, STDERR = "stdout", "stderr"
_STREAMS = {STDOUT, STDERR}
OUT_PREFIX = "out/"
"""Before the path of a file in ``/out``."""
MAX_OUT_PATH_BYTES = 200


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """An output of a job, as `outputs` names it."""

    name: Annotated[str, msgspec.Meta(max_length=256)]
    size: Annotated[int, msgspec.Meta(ge=0, le=2**40)]


def names_in_order(names: Iterable[str]) -> list[str]:
    """stdout, stderr, then the files by the UTF-8 bytes of their names."""
    return sorted(names, key=lambda name: (name != STDOUT, name != STDERR, name))


def check_names(names: Sequence[str]) -> None:
    """Refuse what are not the names of all outputs of one job, in whatever order.

    They are stdout, stderr and files of ``/out`` that can all be written into one folder, each name once. Raises
    :exc:`~plasm.jobs.paths.InvalidPath`.
    """
    if len(set(names)) != len(names) or not {STDOUT, STDERR} <= set(names):
        raise InvalidPath("the outputs are stdout, stderr and files of /out, each name once")
    if len(names) == 2:
        return
    paths = []
    for name in names:
        if name in (STDOUT, STDERR):
            continue
        if not name.startswith(OUT_PREFIX):
            raise InvalidPath("it is not below out/")
        paths.append(check_path(name.removeprefix(OUT_PREFIX), MAX_OUT_PATH_BYTES))
    check_no_file_in_place_of_a_folder(paths)


def in_order(outputs: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """As they travel, with both streams there, be they empty."""
    if outputs.keys() <= _STREAMS:
        # Most jobs leave nothing else.
        return [(STDOUT, outputs.get(STDOUT, b"")), (STDERR, outputs.get(STDERR, b""))]
    return [(name, outputs.get(name, b"")) for name in names_in_order({STDOUT, STDERR, *outputs})]


def table_of(outputs: Mapping[str, bytes]) -> tuple[Output, ...]:
    """What cuts the outputs apart again."""
    return tuple(Output(name=name, size=len(content)) for name, content in in_order(outputs))


def joined(outputs: Mapping[str, bytes]) -> bytes:
    """The outputs as they travel."""
    # One that is alone is not copied, large as it may be.
    return b"".join(content for _, content in in_order(outputs) if content)


def cut(table: Sequence[Output], data: bytes) -> dict[str, bytes]:
    """The outputs by their names.

    Raises :exc:`ValueError` where `data` is not as long as they are together, and where they are not stdout, stderr and
    the files in their order. A job without a result has none.
    """
    names = [output.name for output in table]
    if names and names != names_in_order({STDOUT, STDERR, *names}):
        raise ValueError("the outputs are not stdout, stderr and the files of /out, each once and in order")
    if sum(output.size for output in table) != len(data):
        raise ValueError("the outputs are not as long as was said")
    outputs, start = {}, 0
    for output in table:
        outputs[output.name] = data[start : start + output.size]
        start += output.size
    return outputs


def files_of(outputs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of ``/out`` by their paths below it."""
    return {name.removeprefix(OUT_PREFIX): content for name, content in outputs.items() if name.startswith(OUT_PREFIX)}
