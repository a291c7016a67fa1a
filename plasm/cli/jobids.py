"""Job ids as people type them: the first digits of one are enough where no other begins so."""

from __future__ import annotations

import re
from typing import Final

import click

from plasm.errors import PlasmError
from plasm.jobservice import JobService

_SHORTEST = 6
_BEGINNING: Final = re.compile(rf"[0-9a-f]{{{_SHORTEST},31}}")
_TYPED: Final = re.compile(rf"[0-9a-f]{{{_SHORTEST},32}}")


class AmbiguousJob(PlasmError):
    """More than one job's id begins so."""


def typed_id(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """A job id, or the beginning of one that is long enough to be looked up."""
    if not _TYPED.fullmatch(text):
        raise click.BadParameter(
            f"invalid job id {text[:40]!a}: expected {_SHORTEST} to 32 digits of 0-9 and a-f, as plasm jobs lists them"
        )
    return text


async def whole_id(service: JobService, text: str) -> str:
    """The id that begins with `text`; `text` itself where it is no beginning of one that is known here."""
    if not _BEGINNING.fullmatch(text):
        return text
    sent, hosted = await service.jobs()
    known = {job.job_id for job in sent} | {job.job_id for job in hosted}
    found = sorted(job_id for job_id in known if job_id.startswith(text))
    if len(found) > 1:
        raise AmbiguousJob(f"{len(found)} jobs begin with {text}: {', '.join(found[:4])}", "give more of its digits")
    return found[0] if found else text
