"""``phase-fetch``: boot artifacts from any number of strangers, as their publisher signed them or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from plasm.commands import Context, context_of, fail, run_script
from plasm.ports import BootTopic
from plasm_boot.options import HELP, arch_option, bootstrap_option, channel_option, plasm_options, timeout_option

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact
    from plasm_fetching.fetching import Fetched

    from plasm_boot.downloading import Wanted
    from plasm_boot.trustfolder import TrustFolder

MOST_RETRIES: Final = 100


@click.command("phase-fetch", context_settings=HELP)
@click.argument("manifest_urls", metavar="[MANIFEST_URL]…", nargs=-1)
@click.option("--discover", is_flag=True, help="Look for providers by mDNS and the DHT, besides those that are named.")
@channel_option
@arch_option("--arch")
@bootstrap_option
@timeout_option("How long to look for providers.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="The folder to put artifacts into; of a single one also its own path. Here where it is not given.",
)
@click.option("-a", "--artifact", "names", multiple=True, metavar="NAME", help="Fetch this artifact alone; repeatable.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Go on from what an earlier run left, or do not."
)
@click.option(
    "--retry",
    type=click.IntRange(0, MOST_RETRIES),
    default=3,
    show_default=True,
    metavar="N",
    help="How often a provider that does not answer is asked again.",
)
@click.option(
    "--root",
    "root_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Believe in this root of trust, and not in the pinned one.",
)
@click.option("--pin", metavar="FILE|URL", help="Pin this root of trust, for all that is fetched from now on.")
@click.option("--fingerprint", metavar="HEX", help="With --pin: the root's SHA-256; a URL needs it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was fetched as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, and nothing about providers.")
@plasm_options
@click.pass_context
def command(
    context: click.Context,
    *,
    manifest_urls: tuple[str, ...],
    discover: bool,
    channel: str,
    arch: str,
    bootstrap: tuple[str, ...],
    timeout: float,
    output: Path,
    names: tuple[str, ...],
    resume: bool,
    retry: int,
    root_file: Path | None,
    pin: str | None,
    fingerprint: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fetch boot artifacts from all providers at once, verified while they come.

    A MANIFEST_URL (http://HOST:PORT/CHANNEL/ARCH/manifest.json) only says where something is served. What is believed
    comes from a root of trust: the one that is pinned in the home, or --root. An artifact appears in its place whole
    and as its publisher signed it, or not at all; the same command goes on from where one was interrupted. Exits 1
    where nobody shows what is signed, or serves it.
    """
    own = context_of(context)
    if fingerprint is not None and pin is None:
        raise click.UsageError("--fingerprint is that of the root that --pin names")
    if pin is not None:
        pinned = _pin(own, pin, fingerprint)
        if not (manifest_urls or discover):
            _say_pinned(pinned, as_json)
            return
    base_urls, topic = _places(context, manifest_urls, discover, BootTopic(channel, arch))
    from plasm_boot.downloading import Wanted
    from plasm_boot.pinning import root_of_trust

    with root_of_trust(own, root_file, base_urls[0] if base_urls else "http://HOST:8080/") as folder:
        if discover:
            from plasm_boot.looking import look_for

            found = look_for(own, topic, bootstrap=bootstrap, seconds=timeout, nobody_is_fine=bool(base_urls))
            base_urls = list(dict.fromkeys([*base_urls, *(each.provider.base_url for each in found)]))
        wanted = Wanted(
            channel=topic.channel,
            arch=topic.arch,
            names=names,
            base_urls=tuple(base_urls),
            output=output,
            one_file=len(set(names)) == 1 and not output.is_dir(),
            resume=resume,
            retries=retry,
        )
        _fetch(own, wanted, folder, quiet=quiet, as_json=as_json)


def _pin(context: Context, source: str, fingerprint: str | None) -> TrustFolder:
    from plasm_boot.pinning import parse_fingerprint, pin_root

    return pin_root(context, source, None if fingerprint is None else parse_fingerprint(fingerprint))


def _say_pinned(folder: TrustFolder, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"root": folder.fingerprint, "folder": str(folder.path)}))
    else:
        print(f"pinned the root of trust with the SHA-256 {folder.fingerprint}")


def _places(
    context: click.Context, manifest_urls: Sequence[str], discover: bool, topic: BootTopic
) -> tuple[list[str], BootTopic]:
    """The base URLs of `manifest_urls`, and what they are about; without any, what `topic` says."""
    from plasm_fetching.http import InvalidUrl, parse_url
    from plasm_trust.layout import BadName, split_manifest_url

    if not (manifest_urls or discover):
        raise click.UsageError("name a MANIFEST_URL, or look for providers with --discover")
    base_urls: list[str] = []
    topics: dict[BootTopic, None] = {}
    for url in manifest_urls:
        try:
            parse_url(url)
            base_url, channel, arch = split_manifest_url(url)
        except (InvalidUrl, BadName) as error:
            raise click.UsageError(str(error)) from None
        base_urls.append(base_url)
        topics[BootTopic(channel, arch)] = None
    for name, said in (("channel", topic.channel), ("arch", topic.arch)):
        given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if given and any(getattr(each, name) != said for each in topics):
            raise click.UsageError(f"--{name} {said} is not what the MANIFEST_URL says")
    if len(topics) > 1:
        raise click.UsageError("these MANIFEST_URLs are of different channels or architectures: fetch one at a time")
    return base_urls, next(iter(topics), topic)


def _fetch(context: Context, wanted: Wanted, folder: TrustFolder, *, quiet: bool, as_json: bool) -> None:
    from plasm_fetching.standing import Standing

    from plasm_boot.downloading import download, signed_now
    from plasm_boot.progress import Progress

    allows = context.plan(()).allows
    standing = Standing(folder.providers)
    documents: list[dict[str, Any]] = []

    def there(artifact: Artifact, fetched: Fetched) -> None:
        documents.append(_document(artifact, fetched))
        if not as_json:
            print(fetched.target, flush=True)

    with Progress("phase-fetch", quiet=quiet) as progress:
        signed, artifacts = signed_now(wanted, folder, standing, allows, progress)
        _make_folder(wanted.output.parent if wanted.one_file else wanted.output)
        download(wanted, artifacts, signed.base_urls, standing, allows, progress, there)
    if as_json:
        dropped = [{"provider": each.source, "reason": each.reason} for each in progress.dropped]
        print(
            json.dumps(
                {
                    "channel": wanted.channel,
                    "arch": wanted.arch,
                    "root": folder.fingerprint,
                    "clock_note": signed.clock_note,
                    "providers": list(signed.base_urls),
                    "dropped": dropped,
                    "artifacts": documents,
                }
            )
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{folder} cannot be made: {error.strerror or error}", "-o names another place")


def _document(artifact: Artifact, fetched: Fetched) -> dict[str, Any]:
    return {
        "path": artifact.path,
        "file": str(fetched.target),
        "kind": artifact.kind,
        "version": artifact.version,
        "cmdline": artifact.cmdline,
        "size_bytes": artifact.size,
        "sha256": artifact.sha256,
        "resumed_bytes": fetched.resumed,
        "received_bytes": fetched.received,
        "seconds": round(fetched.seconds, 3),
        "by_provider": fetched.by_source,
    }


def main() -> None:
    """The program."""
    run_script(command, "phase-fetch")
