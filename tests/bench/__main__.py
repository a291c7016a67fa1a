"""``python -m tests.bench``: how fast, in one run beside the yardsticks."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio

from plasm.errors import leaves
from tests.bench.amounts import FULL, QUICK
from tests.bench.bare import WrongResult
from tests.bench.measuring import PARTS, measure
from tests.bench.processes import ChildFailed

_LEAST_MEMORY_JOBS = 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Plasm beside Dask, Ray, nginx and curl.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and a smaller fleet")
    parser.add_argument("--only", choices=PARTS, help="one part: jobs, or booting")
    parser.add_argument("--memory-jobs", type=int, metavar="N", help="while memory is watched; 0 leaves that out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    amounts = QUICK if arguments.quick else FULL
    if arguments.memory_jobs is not None:
        if arguments.memory_jobs and arguments.memory_jobs < _LEAST_MEMORY_JOBS:
            parser.error(f"--memory-jobs is 0 or at least {_LEAST_MEMORY_JOBS}")
        amounts = replace(amounts, memory_jobs=arguments.memory_jobs)
    with tempfile.TemporaryDirectory(prefix="plasm-bench-") as folder:
        try:
            parts = (arguments.only,) if arguments.only else PARTS
            report = anyio.run(measure, amounts, Path(folder), _say, parts)
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
