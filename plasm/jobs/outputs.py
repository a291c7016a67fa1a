"""Outputs under their names, ``stdout``, ``stderr`` and ``out/PATH``, and how they travel: one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

STDOUT, STDERR = "stdout", "stderr"
OUT_PREFIX = "out/"
"""Before the path of a file in ``/out``."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """An output of a job, as `outputs` names it."""

    name: Annotated[str, msgspec.Meta(max_length=256)]
    size: Annotated[int, msgspec.Meta(ge=0, le=2**40)]


def in_order(outputs: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """As they travel: stdout, stderr, then the files by the UTF-8 bytes of their names."""
    streams = [(name, outputs.get(name, b"")) for name in (STDOUT, STDERR)]
    return streams + sorted((name, content) for name, content in outputs.items() if name not in (STDOUT, STDERR))


def table_of(outputs: Mapping[str, bytes]) -> tuple[Output, ...]:
    """What cuts the outputs apart again."""
    return tuple(Output(name=name, size=len(content)) for name, content in in_order(outputs))


def joined(outputs: Mapping[str, bytes]) -> bytes:
    """The outputs as they travel."""
    return b"".join(content for _, content in in_order(outputs))


def cut(table: Sequence[Output], data: bytes) -> dict[str, bytes]:
    """The outputs by their names. Raises :exc:`ValueError` where `data` is not as long as they are together."""
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
