"""Whether an engine can be had here, before anything of it is imported; imports on any system itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from plasm.drivers import DriverUnavailable


def require_linux(runtime: str) -> None:
    """Raises :exc:`DriverUnavailable` where no cell can be started."""
    if sys.platform != "linux":
        raise DriverUnavailable(f"the runtime {runtime} needs Linux (pidfd, memfd)", "use a Linux machine or container")


def find_engine(package: str, mend: str) -> Path:
    """The file that importing `package` reads first. Raises :exc:`DriverUnavailable` with `mend`."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise DriverUnavailable(f"the engine {package} is not installed", mend)
    return Path(found.origin)
