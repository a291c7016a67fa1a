"""Publishes copies of a repository and is killed at each of their writes: ``killed_publisher.py REPOSITORY FOLDER``.

For each number N, from 0 on, a child process publishes ``FOLDER/N`` and is killed with SIGKILL at its N-th rename.
Prints how many copies there are; the last child was not killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from plasm_trust.repository import Repository

from plasm.testing import FakeSigner


def publish(folder: Path, fatal: int) -> None:
    count = 0
    rename, link = os.rename, os.link

    def counting(*arguments: object, **keywords: object) -> None:
        nonlocal count
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    def replace(self: Path, target: Path) -> Path:
        counting()
        rename(self, target)
        return target

    def linking(*arguments: object, **keywords: object) -> None:
        counting()
        link(*arguments, **keywords)  # type: ignore[arg-type]

    with Repository.open(folder, datetime(2026, 4, 1, tzinfo=UTC)) as repository:
        Path.replace = replace  # type: ignore[method-assign, assignment]
        os.link = linking  # type: ignore[assignment]
        repository.publish([FakeSigner(3), FakeSigner(30)])


def main() -> None:
    repository, folder = map(Path, sys.argv[1:])
    for number in range(100):
        shutil.copytree(repository, folder / str(number))
        child = os.fork()
        if child == 0:
            publish(folder / str(number), number)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            print(number, os.WEXITSTATUS(status))
            return


main()
