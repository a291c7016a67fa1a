"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence

from plasm.drivers import ProfileFile
from plasm.hookspecs import hookimpl

PLASM_API = 1


@hookimpl
def plasm_profiles() -> Sequence[ProfileFile]:
    return tuple(ProfileFile(name, "plasm_boot", f"profiles/{name}.toml") for name in ("internet", "local", "private"))
