"""Whether there is anybody through whom a network can be joined, and what to do where there is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plasm.errors import PlasmError
from plasm.node import OpenPorts
from plasm.plan import Plan
from plasm.ports import Bootstrapped

OWN_JOBS: Final = "a node does not take its own jobs"


class NobodyKnown(PlasmError):
    """Looking would find nothing: all that looks joins a network through known peers, and none is known."""


def knows_nobody(plan: Plan, ports: OpenPorts, bootstrap: Sequence[str]) -> bool:
    """Whether every discovery joins through known peers and was told of none, by `bootstrap` or by its own options."""
    told = [
        address
        for each in plan.selected
        if each.registered.port == "discovery"
        for address in getattr(each.options, "bootstrap", ())
    ]
    joining = [isinstance(discovery, Bootstrapped) for _, discovery in ports.discoveries]
    return bool(joining) and all(joining) and not bootstrap and not told


def refuse_to_look(ports: OpenPorts) -> None:
    """Raises :exc:`NobodyKnown`."""
    names = " and ".join(name for name, _ in ports.discoveries)
    raise NobodyKnown(
        f"no node can be found: {names} joins a network through peers that it is told of, and there are none",
        "name a node with --peer ADDR, a way into the network with --bootstrap ADDR,"
        f" or look on the local network with --profile local; {OWN_JOBS}",
    )
