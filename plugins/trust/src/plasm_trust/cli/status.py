"""``plasm repo status``: what is published, what is staged, and what expires when."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click

from plasm.exitcodes import NO, OK
from plasm_trust import settings
from plasm_trust.changes import changes
from plasm_trust.choosing import Current, current_of
from plasm_trust.cli.ceremony import staged_document, staged_text
from plasm_trust.cli.options import folder_option, json_option, now, tell
from plasm_trust.clock import to_text
from plasm_trust.expiring import Expiry, expiries, offline
from plasm_trust.repository import read_published
from plasm_trust.settings import Settings
from plasm_trust.signing import Wanted, wanted_signatures
from plasm_trust.staging import Staging
from plasm_trust.verifying import VerifiedMetadata


@click.command("status")
@folder_option
@json_option
def command(*, folder: Path, as_json: bool) -> None:
    """Show what is published and until when, and what is staged and who has yet to sign it.

    Exits 1 where something has expired, or will within its warning time, or a channel cannot be offered.
    """
    wanted = settings.load(folder)
    published = read_published(folder)
    staging = Staging(folder)
    current = current_of(published)
    expiring = expiries(wanted, published, now()) if published is not None else ()
    staged = wanted_signatures(staging, current)
    due = [each for each in expiring if each.due]
    tell(
        _document(wanted, published, expiring, staged),
        "\n".join(
            [*_published_lines(folder, published, expiring), *_staged_lines(staging, current, staged), *_mends(due)]
        ),
        as_json,
    )
    raise SystemExit(NO if due or (published is not None and published.refused) else OK)


def _published_lines(folder: Path, published: VerifiedMetadata | None, expiring: tuple[Expiry, ...]) -> list[str]:
    if published is None:
        return [f"nothing is published in {folder} yet"]
    lines = [f"root of trust, SHA-256: {hashlib.sha256(published.first_root).hexdigest()}"]
    lines += [
        f"{each.role} {each.version} {each.words}{': time to sign it anew' if each.due else ''}" for each in expiring
    ]
    return [*lines, *(f"{name} is not offered: {why}" for name, why in published.refused.items())]


def _staged_lines(staging: Staging, current: Current, staged: tuple[Wanted, ...]) -> list[str]:
    lines = ["staged:", *(f"  {line}" for line in changes(staging, current))] if staged else []
    for each in staged:
        lines.append(staged_text(each))
        lines += [f"    {did}" for did in each.unsigned if each.missing]
    return lines


def _mends(due: list[Expiry]) -> list[str]:
    people = [each.role for each in due if offline(each.role)]
    lines = [f"plasm repo renew {' '.join(people)}"] if people else []
    return lines or (["plasm repo renew"] if due else [])


def _document(
    wanted: Settings, published: VerifiedMetadata | None, expiring: tuple[Expiry, ...], staged: tuple[Wanted, ...]
) -> dict[str, Any]:
    return {
        "published": published is not None,
        "root_sha256": hashlib.sha256(published.first_root).hexdigest() if published is not None else None,
        "roles": [
            {
                "role": each.role,
                "version": each.version,
                "expires_at": to_text(each.expires),
                "seconds_left": int(each.left.total_seconds()),
                "due": each.due,
                "words": each.words,
            }
            for each in expiring
        ],
        "staged": [staged_document(each) for each in staged],
        "keys": [
            {"role": name, "key": did, "uri": wanted.keys.get(did, "")}
            for name, role in (*wanted.roles.items(), *wanted.channels.items())
            for did in role.keys
        ],
    }
