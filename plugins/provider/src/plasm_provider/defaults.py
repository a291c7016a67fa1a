"""What this machine is, and where it has its artifacts, where nobody says."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from plasm_trust import layout


def machine_arch() -> str:
    """This machine's architecture as it stands in paths. Raises :exc:`plasm_trust.layout.BadName` for another one."""
    return layout.arch_name(platform.machine())


def artifacts_folder() -> Path:
    """The platform's folder of boot artifacts."""
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/plasm/artifacts"
    return Path("/var/lib/plasm/boot-artifacts")
