"""Counts of what was served, also in the form that Prometheus reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from plasm_provider.offer import Offer


class Meter:
    """Counts for one provider; of the server's thread."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.bytes_served = 0
        self.open_connections = 0
        self.answers: Counter[int] = Counter()
        """By status."""

    @property
    def requests(self) -> int:
        return self.answers.total()

    @property
    def uptime(self) -> float:
        """Seconds."""
        return time.monotonic() - self.started

    def connected(self, count: int) -> None:
        self.open_connections = count

    def answered(self, status: int) -> None:
        self.answers[status] += 1

    def sent(self, count: int) -> None:
        self.bytes_served += count


class Exposition:
    """The text that ``/metrics`` answers with, from a registry of its own."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, meter: Meter, offer: Callable[[], Offer], healthy: Callable[[], bool]) -> None:
        self._meter = meter
        self._offer = offer
        self._healthy = healthy
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """In Prometheus's text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        requests = CounterMetricFamily("plasm_provider_requests", "Requests answered, by status.", labels=["status"])
        for status, count in sorted(self._meter.answers.items()):
            requests.add_metric([str(status)], count)
        yield requests
        yield CounterMetricFamily(
            "plasm_provider_served_bytes", "Bytes of answers, heads included.", value=self._meter.bytes_served
        )
        yield GaugeMetricFamily(
            "plasm_provider_connections", "Connections that are open.", value=self._meter.open_connections
        )
        yield GaugeMetricFamily("plasm_provider_uptime_seconds", "Since the start.", value=self._meter.uptime)
        yield GaugeMetricFamily("plasm_provider_healthy", "1 where /health says so.", value=int(self._healthy()))
        offer = self._offer()
        artifacts = GaugeMetricFamily("plasm_provider_artifacts", "Signed artifacts, by state.", labels=["state"])
        for state, count in offer.counts.items():
            artifacts.add_metric([state.value], count)
        yield artifacts
        if offer.published is not None:
            yield GaugeMetricFamily(
                "plasm_provider_metadata_expires_timestamp_seconds",
                "When the first part of the signed metadata expires, as seconds since the epoch.",
                value=offer.published.expires.timestamp(),
            )
