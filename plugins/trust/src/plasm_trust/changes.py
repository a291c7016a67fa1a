"""What is staged, in words: whoever signs should see what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from plasm_trust.channels import artifacts_of
from plasm_trust.clock import in_words
from plasm_trust.keys import did_of_key
from plasm_trust.tufapi import Key, Metadata, Role, Targets

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact

    from plasm_trust.choosing import Current
    from plasm_trust.staging import Staging


def changes(staging: Staging, current: Current, *, whole: bool = False) -> tuple[str, ...]:
    """The differences between what is published and what is staged, a line each; `whole` shows what stays, too.

    Raises :exc:`plasm_trust.refusal.TrustRefused` or :exc:`OSError`.
    """
    lines: list[str] = []
    if (root := staging.root()) is not None:
        before = current.root.signed if current.root is not None else None
        lines.append(_title("root", root))
        lines += _roles(before.roles if before else {}, before.keys if before else {}, root.signed, whole)
    if (targets := staging.targets("targets")) is not None:
        top = current.targets.get("targets")
        old = top.signed.delegations if top is not None else None
        lines.append(_title("targets", targets))
        if targets.signed.delegations is not None:
            lines += _roles(old.roles or {} if old else {}, old.keys if old else {}, targets.signed.delegations, whole)
    for name in staging.channels():
        if (channel := staging.targets(name)) is not None:
            lines.append(_title(name, channel))
            lines += _artifacts(_by_path(name, current.targets.get(name)), _by_path(name, channel), whole)
    return tuple(lines)


def _title(role: str, metadata: Metadata[Any]) -> str:
    return f"{role} {metadata.signed.version}, until {in_words(metadata.signed.expires)}"


def _roles(old: Mapping[str, Role], old_keys: Mapping[str, Key], delegator: Any, whole: bool) -> Iterator[str]:
    new: Mapping[str, Role] = delegator.roles or {}
    for name in sorted({*old, *new}):
        before, after = _dids(old.get(name), old_keys), _dids(new.get(name), delegator.keys)
        for did in sorted(after):
            if did not in before or whole:
                yield f"  {name}: {' ' if did in before else '+'} {did}"
        for did in sorted(before - after):
            yield f"  {name}: - {did}"
        terms, former = _terms(new.get(name)), _terms(old.get(name))
        if terms != former or whole:
            yield f"  {name}: {terms} must sign{f' (was {former})' if name in old and terms != former else ''}"


def _terms(role: Role | None) -> str:
    return f"{role.threshold} of {len(role.keyids)}" if role is not None else "nobody"


def _dids(role: Role | None, keys: Mapping[str, Key]) -> set[str]:
    return {did_of_key(keys[name]) for name in role.keyids if name in keys} if role is not None else set()


def _by_path(channel: str, metadata: Metadata[Targets] | None) -> dict[str, Artifact]:
    return {each.path: each for each in artifacts_of(channel, metadata.signed)} if metadata is not None else {}


def _artifacts(old: Mapping[str, Artifact], new: Mapping[str, Artifact], whole: bool) -> Iterator[str]:
    for path in sorted({*old, *new}):
        if path not in new:
            yield f"  - {path}"
        elif old.get(path) != new[path] or whole:
            mark = "+" if path not in old else " " if old[path] == new[path] else "~"
            yield f"  {mark} {_described(new[path])}"


def _described(artifact: Artifact) -> str:
    facts = [f"{artifact.size} bytes", f"sha256:{artifact.sha256}"]
    facts += [f"command line {artifact.cmdline!r}"] if artifact.cmdline else []
    named = " ".join(part for part in (artifact.path, artifact.kind, artifact.version) if part)
    return f"{named} ({', '.join(facts)})"
