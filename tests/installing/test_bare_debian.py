"""The README's commands, typed word for word into minimal Debian releases.

Making the trees takes a minute each and the network: ``PLASM_BARE=1`` has the first command tried, ``PLASM_BARE=2`` the
second one too, which takes as long there as it does anywhere.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.processes import ROOT
from tests.e2e.test_readme import commands
from tests.installing.debian import clone, make_tree, missing, typed

DEMO_SECONDS = 300.0
TEST_SECONDS = 3600.0
_ASKED = int(os.environ.get("PLASM_BARE", "0"))

pytestmark = [
    pytest.mark.skipif(not _ASKED, reason="PLASM_BARE=1 makes trees of Debian and types the README's commands there"),
    pytest.mark.skipif(bool(missing()), reason=f"this machine lacks {', '.join(missing())}"),
    pytest.mark.timeout(2 * TEST_SECONDS),
]


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_the_readmes_commands_end_well_on_a_bare_debian(tmp_path: Path, release: str) -> None:
    tree = tmp_path / release
    make_tree(release, tree)
    clone(ROOT, tree)
    demo, test = commands("README.md")[:2]
    done = typed(tree, demo, DEMO_SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Receipt verified" in done.stdout
    if _ASKED > 1:
        done = typed(tree, test, TEST_SECONDS)
        assert done.returncode == 0, done.stdout[-4000:]
