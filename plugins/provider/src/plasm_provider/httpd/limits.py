"""What one client, and all together, may take of the server."""

from __future__ import annotations

import resource
from dataclasses import dataclass, replace
from typing import Final

_RESERVED: Final = 128
"""Descriptors for everything else in the process."""
_EACH: Final = 2
"""Descriptors of a connection: its socket, and the file that is being sent."""
_FEWEST: Final = 16


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds and deadlines of :class:`plasm_provider.httpd.server.Server`."""

    connections: int = 1024
    connections_per_client: int = 512
    """Of one IPv4 address or one IPv6 network of 64 bits."""
    requests_per_second: float = 1000.0
    """Of one client, on the average; as many again at once."""
    clients_remembered: int = 4096
    head_bytes: int = 16 * 1024
    """Request line and fields together."""
    head_seconds: float = 10.0
    """From the first byte of a request's head to its last, and from connecting to the first."""
    idle_seconds: float = 30.0
    """Between an answer and the next request."""
    pace_seconds: float = 15.0
    """How often a client's rate is looked at while it is being sent something."""
    least_rate: float = 4096.0
    """Bytes per second that a client must take, over each of those times."""
    drain_seconds: float = 1.0
    """For answers that are being sent when the server ends."""

    def fitted(self) -> Limits:
        """These limits, with no more connections than the process may have descriptors for."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return self
        most = max(min(self.connections, (soft - _RESERVED) // _EACH), _FEWEST)
        return replace(self, connections=most, connections_per_client=min(self.connections_per_client, most))
