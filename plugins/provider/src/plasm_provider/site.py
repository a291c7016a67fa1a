"""What a provider answers under which URL: ``docs/provider-api.md``.

A path from a request is looked up among names that are signed. It never becomes part of the path of a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from functools import partial
from typing import Final

import msgspec
from plasm_trust import layout
from plasm_trust.metadata_folder import version_of
from plasm_trust.published import Published

from plasm_provider.catalog import Catalog
from plasm_provider.files import identity_of, open_beneath, same_content
from plasm_provider.health import Health, health_document
from plasm_provider.httpd.messages import Request, Response, refusal
from plasm_provider.httpd.representation import FOREVER, REVALIDATE, Representation
from plasm_provider.meter import Exposition
from plasm_provider.offer import Holding, Offer, State
from plasm_provider.report import Reporter

_JSON: Final = "application/json"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HASHED_NAME: Final = re.compile(r"([0-9a-f]{64})\.(.+)", re.ASCII | re.DOTALL)
_NOT_YET: Final = (("Retry-After", "1"),)


class Site:
    """Answers requests from what the catalog offers at that moment. All of it runs on the server's thread."""

    def __init__(
        self, catalog: Catalog, default: tuple[str, str], health: Health, reporter: Reporter, exposition: Exposition
    ) -> None:
        self._catalog = catalog
        self._default = default
        self._health = health
        self._reporter = reporter
        self._exposition = exposition

    def __call__(self, request: Request) -> Response:
        offer = self._catalog.offer
        match request.path:
            case ("",):
                return _live(self._reporter.about())
            case ("health",):
                checks = self._health.checks()
                return _live(health_document(checks), 200 if checks.healthy else 503)
            case ("status",):
                return _live(self._reporter.status())
            case ("metrics",):
                return _uncached(200, self._exposition.text(), self._exposition.media_type)
            case (layout.MANIFEST,):
                return _manifest(request, offer, *self._default)
            case (layout.METADATA, name):
                return _metadata(request, offer, name)
            case ("sha256", digest) if _DIGEST.fullmatch(digest):
                return self._artifact(request, offer, offer.by_sha256.get(digest), FOREVER)
            case (layout.TARGETS, channel, arch, name):
                return self._target(request, offer, channel, arch, name)
            case (channel, arch, layout.MANIFEST):
                return _manifest(request, offer, channel, arch)
            case (channel, arch, name):
                return self._artifact(request, offer, _holding(offer, channel, arch, name), REVALIDATE)
        return refusal(404, "there is nothing under this path")

    def _target(self, request: Request, offer: Offer, channel: str, arch: str, name: str) -> Response:
        hashed = _HASHED_NAME.fullmatch(name)
        if hashed is None:
            return self._artifact(request, offer, _holding(offer, channel, arch, name), REVALIDATE)
        holding = _holding(offer, channel, arch, hashed[2])
        if holding is None or holding.artifact.sha256 != hashed[1]:
            holding = offer.retired.get("/".join((channel, arch, name)))
        return self._artifact(request, offer, holding, FOREVER)

    def _artifact(self, request: Request, offer: Offer, holding: Holding | None, caching: str) -> Response:
        if holding is None:
            return refusal(404, "no artifact of that name is signed")
        artifact = holding.artifact
        match holding.state:
            case State.MISSING:
                return refusal(404, f"{artifact.path} is signed, but it is not here")
            case State.CHANGED:
                return refusal(503, f"{artifact.path} is not what was signed; it must be signed again")
            case State.WAITING:
                return refusal(503, f"{artifact.path} is being checked{self._how_far(artifact.path)}", _NOT_YET)
        assert offer.targets is not None
        assert holding.identity is not None
        is_retired = offer.holdings.get(artifact.path) is not holding
        representation = Representation(
            size=artifact.size,
            sha256=artifact.sha256,
            caching=caching,
            fields=(("X-Artifact-Hash", f"sha256:{artifact.sha256}"), ("X-Content-Type-Options", "nosniff")),
            # When one of before was signed is not known any longer.
            modified=None if is_retired else _modified(offer.published, artifact.path.partition("/")[0]),
        )
        try:
            descriptor = open_beneath(offer.targets, holding.parts)
        except OSError:
            return refusal(404, f"{artifact.path} is signed, but it cannot be read here")
        # That of before may have lost its other name since, which leaves its content as it was.
        unchanged = partial(same_content, identity=holding.identity)
        if not (unchanged(descriptor) if is_retired else identity_of(descriptor) == holding.identity):
            os.close(descriptor)
            return refusal(503, f"{artifact.path} has changed since it was checked", _NOT_YET)
        settled = representation.not_modified(request)
        if settled is not None:
            os.close(descriptor)
            return settled
        return representation.file(request, descriptor, unchanged)

    def _how_far(self, path: str) -> str:
        hashing = self._catalog.hashing
        if hashing is None or hashing.path != path:
            return ""
        return f": {100 * hashing.done // max(hashing.total, 1)} %"


def _live(document: msgspec.Struct, status: int = 200) -> Response:
    return _uncached(status, msgspec.json.encode(document), _JSON)


def _uncached(status: int, content: bytes, media_type: str) -> Response:
    return Response(status, content, (("Content-Type", media_type), ("Cache-Control", "no-store")))


def _document(request: Request, content: bytes | None, caching: str, absent: str, modified: int | None) -> Response:
    if content is None:
        return refusal(404, absent)
    digest = hashlib.sha256(content).hexdigest()
    representation = Representation(
        size=len(content), sha256=digest, media_type=_JSON, caching=caching, modified=modified
    )
    return representation.document(request, content)


def _manifest(request: Request, offer: Offer, channel: str, arch: str) -> Response:
    try:
        where = (layout.channel_name(channel), layout.arch_name(arch))
    except layout.BadName as error:
        return refusal(404, str(error))
    content = offer.published.manifests.get(where) if offer.published is not None else None
    modified = _modified(offer.published, where[0])
    return _document(request, content, REVALIDATE, f"there is no manifest of {where[0]} for {where[1]}", modified)


def _metadata(request: Request, offer: Offer, name: str) -> Response:
    content = offer.published.metadata.get(name) if offer.published is not None else None
    # What has a version in its name never changes.
    caching = FOREVER if name[0:1].isdigit() else REVALIDATE
    modified = None
    if content is not None and offer.published is not None:
        role, version = version_of(name)
        if version in (0, offer.published.versions.get(role)):
            modified = _modified(offer.published, role)
    return _document(request, content, caching, "there is no such metadata", modified)


def _modified(published: Published | None, role: str) -> int | None:
    """When the present version of `role` was signed; ``None`` where that is not known or not over."""
    at = published.signed_at.get(role) if published is not None else None
    # What comes from here is of now at the latest (RFC 9110, section 8.8.2.1).
    return int(at.timestamp()) if at is not None and at.timestamp() <= time.time() else None


def _holding(offer: Offer, channel: str, arch: str, name: str) -> Holding | None:
    try:
        path = layout.TargetPath(layout.channel_name(channel), layout.arch_name(arch), layout.artifact_name(name))
    except layout.BadName:
        return None
    return offer.holdings.get(str(path))
