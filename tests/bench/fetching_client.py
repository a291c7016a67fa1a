"""One fetch in a process of its own: ``fetching_client.py FACTS TARGET URL...``; prints what it took as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from plasm_fetching.artifact import Artifact
from plasm_fetching.fetching import fetch


def main() -> None:
    facts, target, *urls = sys.argv[1:]
    document = json.loads(Path(facts).read_text())
    artifact = Artifact(**{**document, "pieces": tuple(document["pieces"])})
    synced = 0.0
    sync = os.fsync

    def timed(descriptor: int) -> None:
        nonlocal synced
        began = time.monotonic()
        sync(descriptor)
        synced += time.monotonic() - began

    os.fsync = timed
    done = fetch(artifact, urls, Path(target))
    print(json.dumps({"seconds": done.seconds, "synced": synced, "by_source": done.by_source}))


if __name__ == "__main__":
    main()
