"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from plasm.drivers import Driver, Options, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Discovery

PLASM_API = 1


class MdnsOptions(Options, frozen=True, kw_only=True):
    """Options of the discovery ``mdns``."""

    interfaces: tuple[str, ...] = ()
    """Names (``eth0``) or addresses of the interfaces to use; empty for all, loopback too."""
    poll_seconds: float = 1.0
    """How often the node's own addresses are looked at; a change is announced at once."""
    interface_poll_seconds: float = 15.0
    """How often the machine's interfaces are looked at."""
    max_found: int = 256
    """How many providers of one search are remembered, so that they are not reported twice; beyond it those of the
    network that holds most make room."""


def open_mdns(scope: Scope, options: MdnsOptions) -> AbstractAsyncContextManager[Discovery]:
    """Discovery on the links of this machine. Raises as :func:`plasm_mdns.discovery.mdns_discovery`."""
    from plasm_mdns.discovery import mdns_discovery

    return mdns_discovery(scope, options)


def check_library() -> None:
    """Raises :exc:`ImportError` where `zeroconf` cannot be loaded."""
    import zeroconf  # noqa: F401


@hookimpl
def plasm_discoveries() -> Sequence[Driver[Discovery]]:
    return (
        Driver(
            name="mdns",
            open=open_mdns,
            needs=frozenset({"signer"}),
            offers=frozenset({"lan"}),
            options=MdnsOptions,
            check=check_library,
            summary="nodes on the local link, by multicast DNS",
        ),
    )
