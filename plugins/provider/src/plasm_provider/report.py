"""What a provider says about itself, at the moment at which it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from plasm_provider.catalog import Catalog
from plasm_provider.documents import About, HashingDocument, Metrics, Offered, Status, TrustDocument
from plasm_provider.health import Health, health_document
from plasm_provider.meter import Meter
from plasm_provider.offer import Offer


class Reporter:
    """Makes the documents of ``/`` and ``/status``, on the server's thread."""

    def __init__(self, version: str, default: tuple[str, str], catalog: Catalog, health: Health, meter: Meter) -> None:
        self._version = version
        self._channel, self._arch = default
        self._catalog = catalog
        self._health = health
        self._meter = meter
        self.advertised: Callable[[], Mapping[str, str]] = dict
        """By discovery: ``running``, or why it is not."""
        self.refused: Callable[[], Mapping[str, str]] = dict
        """What is there and is not offered → why."""

    def about(self) -> About:
        return About(
            version=self._version,
            channel=self._channel,
            arch=self._arch,
            uptime_seconds=round(self._meter.uptime, 3),
        )

    def status(self) -> Status:
        about = self.about()
        offer = self._catalog.offer
        hashing = self._catalog.hashing
        refused = dict(self.refused()) | (dict(offer.published.refused) if offer.published is not None else {})
        return Status(
            version=about.version,
            channel=about.channel,
            arch=about.arch,
            uptime_seconds=about.uptime_seconds,
            health=health_document(self._health.checks()),
            metrics=Metrics(requests_total=self._meter.requests, bytes_served_total=self._meter.bytes_served),
            offers=tuple(
                Offered(channel=channel, arch=arch, version=version)
                for (channel, arch), version in offer.channels.items()
            ),
            artifacts={state.value: count for state, count in offer.counts.items()},
            refused=refused,
            hashing=HashingDocument(path=hashing.path, done_bytes=hashing.done, total_bytes=hashing.total)
            if hashing is not None
            else None,
            trust=_trust(offer),
            advertised=dict(self.advertised()),
        )


def _trust(offer: Offer) -> TrustDocument | None:
    if offer.published is None:
        return None
    return TrustDocument(
        root_sha256=offer.published.root_fingerprint,
        root_path=f"metadata/{offer.first_root}",
        expires=offer.published.expires.isoformat(),
    )
