"""``python -m tests.bench``: how fast, in one run beside the yardstick."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import anyio

from plasm.errors import leaves
from tests.bench.bare import WrongResult
from tests.bench.measuring import FULL, QUICK, measure
from tests.bench.processes import ChildFailed


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Plasm beside Dask's LocalCluster.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and a smaller fleet")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plasm-bench-") as folder:
        try:
            report = anyio.run(measure, QUICK if arguments.quick else FULL, Path(folder), _say)
        except KeyboardInterrupt:
            return 130
        except Exception as error:
            cause = next(leaves(error))
            if not isinstance(cause, ChildFailed | WrongResult):
                raise
            _say(str(cause))
            return 1
    print(report.as_table())
    document = json.dumps(report.as_document(), indent=1)
    if arguments.json is not None:
        arguments.json.write_text(document + "\n")
    else:
        print(document)
    return 0


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
