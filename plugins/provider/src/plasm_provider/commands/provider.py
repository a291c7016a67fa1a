"""``plasm provider``: what a provider says of itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from plasm.commands import fail
from plasm.errors import printable
from plasm_provider.commands.options import base_urls

if TYPE_CHECKING:
    from plasm_provider.documents import Status

DEFAULT_URL: Final = "http://127.0.0.1:8080/"
_MAX_BYTES: Final = 4 * 2**20
_NO: Final = 1

_addr_option = click.option(
    "--addr",
    default=DEFAULT_URL,
    show_default=True,
    metavar="URL",
    callback=lambda context, parameter, value: base_urls(context, parameter, (value,))[0],
    help="The provider's address.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("provider")
def provider() -> None:
    """Ask a boot provider how it is and what it offers. Nothing of the answer is verified."""


@provider.command("status")
@_addr_option
@_json_option
def status(*, addr: str, as_json: bool) -> int:
    """How it is; exits 0 where it is reachable and healthy, else 1."""
    import msgspec

    found = _status(addr)
    healthy = found.health.status == "healthy"
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        click.echo("\n".join(_lines(found)))
    return 0 if healthy else _NO


@provider.command("list")
@_addr_option
@_json_option
def list_offers(*, addr: str, as_json: bool) -> int:
    """The artifacts that it offers; exits 0 where it is reachable and healthy, else 1."""
    from plasm_trust import layout

    found = _status(addr)
    rows: list[dict[str, Any]] = []
    for offer in found.offers:
        manifest = _read(layout.manifest_url(_with_slash(addr), offer.channel, offer.arch))
        rows += _rows(offer.channel, offer.arch, manifest)
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            click.echo(f"{row['path']}  {row['size_bytes']}  {row['hash']}  {row['version']}".rstrip())
        if not rows:
            click.echo("nothing is offered", err=True)
    return 0 if found.health.status == "healthy" else _NO


def _status(addr: str) -> Status:
    import msgspec

    from plasm_provider.documents import Status

    data = _read(f"{_with_slash(addr)}status")
    try:
        return msgspec.json.decode(data, type=Status)
    except msgspec.MsgspecError as error:
        fail(f"{addr} is no provider of boot artifacts: {error}", code=_NO)


def _read(url: str) -> bytes:
    from plasm_fetching.http import FetchError, read

    try:
        return read(url, max_bytes=_MAX_BYTES)
    except FetchError as error:
        fail(f"the provider does not answer: {error}", "--addr URL names another", code=_NO)


def _with_slash(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"


def _lines(found: Status) -> list[str]:
    checks = found.health.checks
    failing = [
        words
        for holds, words in (
            (checks.artifacts_readable, "artifacts cannot be read"),
            (checks.disk_space_ok, "the disk is nearly full"),
            (checks.metadata_current, "the metadata has expired, or is not there yet"),
        )
        if not holds
    ]
    lines = [f"{found.health.status}: {'; '.join(failing)}" if failing else found.health.status]
    lines += [f"{each.channel}/{each.arch}, version {each.version}" for each in found.offers]
    lines.append("artifacts: " + ", ".join(f"{count} {state}" for state, count in found.artifacts.items()))
    if found.hashing is not None:
        lines.append(f"hashing {found.hashing.path}: {found.hashing.done_bytes} of {found.hashing.total_bytes} bytes")
    lines += [f"not offered: {path}, {why}" for path, why in found.refused.items()]
    if found.trust is not None:
        lines.append(f"root of trust {found.trust.root_sha256}, valid until {found.trust.expires}")
    lines += [f"{name}: {state}" for name, state in found.advertised.items()]
    lines.append(
        f"{found.metrics.requests_total} requests, {found.metrics.bytes_served_total} bytes,"
        f" {found.uptime_seconds:.0f} s"
    )
    return [printable(line) for line in lines]


def _rows(channel: str, arch: str, manifest: bytes) -> list[dict[str, Any]]:
    try:
        artifacts = json.loads(manifest)["artifacts"].items()
        return [
            {
                "path": printable(f"{channel}/{arch}/{name}"),
                "size_bytes": int(each["size_bytes"]),
                "hash": printable(str(each["hash"])),
                "version": printable(str(each.get("version", ""))),
            }
            for name, each in artifacts
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fail(f"the manifest of {channel} for {arch} is none: {error!r}", code=_NO)
