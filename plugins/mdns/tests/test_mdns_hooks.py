from __future__ import annotations

import subprocess
import sys

from plasm_mdns.hooks import plasm_discoveries


def test_describing_the_driver_imports_no_network_library() -> None:
    code = "import sys, plasm_mdns.hooks as h; h.plasm_discoveries(); sys.exit('zeroconf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_profile_can_ban_the_local_network() -> None:
    (driver,) = plasm_discoveries()
    assert driver.offers == {"lan"}
    assert driver.needs == {"signer"}
    assert driver.backends == {"asyncio", "trio"}
