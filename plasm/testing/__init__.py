"""For authors of plugins: a scope to open a driver in, fakes of every port, and a conformance suite per port.

The fakes need nothing but plasm. The suites need pytest, which is imported with the first of them. A driver passes its
suite where a subclass says how to make one::

    class TestMine(StoreSuite):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda: open_mine(make_scope(home=tmp_path), MineOptions())

What `make` takes and gives is said in the docstring of each suite. The tests run once for each back end that the
subclass, or anyio's own fixture, names in `anyio_backend`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from plasm.testing.fakes.discovery import StaticDirectory, StaticDiscovery, static_driver
from plasm.testing.fakes.plugin import FakePlugin
from plasm.testing.fakes.runtime import ScriptedRuntime, scripted_driver
from plasm.testing.fakes.signer import FakeSigner, fake_signer_driver
from plasm.testing.fakes.store import DictStore, dict_driver
from plasm.testing.fakes.transport import MemoryNetwork, MemoryTransport, memory_driver, open_memory_transport
from plasm.testing.scope import any_address, loopback_only, make_scope

if TYPE_CHECKING:
    from plasm.testing.suites.discovery import DiscoverySuite, Participant
    from plasm.testing.suites.runtime import RuntimeSuite
    from plasm.testing.suites.signer import SignerSuite
    from plasm.testing.suites.store import StoreSuite
    from plasm.testing.suites.transport import TransportSuite

__all__ = [
    "DictStore",
    "DiscoverySuite",
    "FakePlugin",
    "FakeSigner",
    "MemoryNetwork",
    "MemoryTransport",
    "Participant",
    "RuntimeSuite",
    "ScriptedRuntime",
    "SignerSuite",
    "StaticDirectory",
    "StaticDiscovery",
    "StoreSuite",
    "TransportSuite",
    "any_address",
    "dict_driver",
    "fake_signer_driver",
    "loopback_only",
    "make_scope",
    "memory_driver",
    "open_memory_transport",
    "scripted_driver",
    "static_driver",
]

_NEED_PYTEST = {
    "DiscoverySuite": "discovery",
    "Participant": "discovery",
    "RuntimeSuite": "runtime",
    "SignerSuite": "signer",
    "StoreSuite": "store",
    "TransportSuite": "transport",
}


def __getattr__(name: str) -> object:
    if name not in _NEED_PYTEST:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"plasm.testing.suites.{_NEED_PYTEST[name]}"), name)
