"""What the distribution says of itself."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pluggy
import pytest
from plasm_libp2p import hooks

from plasm import hookspecs
from plasm.drivers import DriverUnavailable


def test_the_entry_point_leads_to_the_hooks() -> None:
    [entry] = entry_points(group="plasm", name="libp2p")
    assert entry.load() is hooks


def test_every_hook_is_one_that_plasm_calls() -> None:
    manager = pluggy.PluginManager("plasm")
    manager.add_hookspecs(hookspecs)
    manager.register(hooks)
    manager.check_pending()
    [[transport]] = manager.hook.plasm_transports()
    [[discovery]] = manager.hook.plasm_discoveries()
    assert (transport.name, transport.needs, transport.backends) == ("libp2p", {"signer"}, {"trio"})
    assert (discovery.name, discovery.needs, discovery.backends) == ("dht", {"transport:libp2p"}, {"trio"})
    assert transport.options() == hooks.Libp2pOptions()
    assert discovery.options() == hooks.DhtOptions()
    assert transport.check is not None
    transport.check()


def test_describing_the_drivers_imports_no_network_library() -> None:
    script = "import sys, plasm_libp2p.hooks as h; h.plasm_transports(); h.plasm_discoveries(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"libp2p", "trio", "multiaddr", "zeroconf"} & set(done.stdout.split())


def test_a_library_that_cannot_be_imported_is_told_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libp2p.kad_dht.kad_dht", None)
    with pytest.raises(DriverUnavailable) as failure:
        hooks.check_library()
    assert "libgmp-dev" in failure.value.mend
