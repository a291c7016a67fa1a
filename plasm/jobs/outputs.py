"""Outputs under their names, ``stdout``, ``stderr`` and ``out/PATH``, and how they travel: one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

STDOUT, STDERR = "stdout", "stderr"
OUT_PREFIX = "out/"
"""Before the path of a file in ``/out``."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """An output of a job, as `outputs` names it."""

    name: Annotated[str, msgspec.Meta(max_length=256)]
    size: Annotated[int, msgspec.Meta(ge=0, le=2**40)]


def names_in_order(names: Iterable[str]) -> list[str]:
    """stdout, stderr, then the files by the UTF-8 bytes of their names."""
    return sorted(names, key=lambda name: (name != STDOUT, name != STDERR, name))


def in_order(outputs: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """As they travel, with both streams there, be they empty."""
    return [(name, outputs.get(name, b"")) for name in names_in_order({STDOUT, STDERR, *outputs})]


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
