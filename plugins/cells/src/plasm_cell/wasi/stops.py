"""The ways in which a run ends inside a host call."""

from __future__ import annotations


class Stop(Exception):
    """The run ends here."""


class Exit(Stop):
    """The guest called ``proc_exit``; `code` is its low eight bits."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class OutputFull(Stop):
    """The guest wrote more to stdout and stderr than it may; what fits was kept."""


class HostCallsSpent(Stop):
    """The guest made as many host calls as it may."""
