"""What a node's log says of runs whose cell died, held against the kills."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(?P<thousandths>\d{3}) \w+ \S+ job (?P<job>[0-9a-f]{32}):?"
    r" (?:attempt \d+ follows: (?P<problem>.*)|ended: cell_died)"
)
_DIED = "the cell died"
_LATEST_SECONDS = 10.0
"""Between a kill and the line about it, on a machine that has other things to do."""
_CLOCKS_SECONDS = 0.01


@dataclass(frozen=True)
class Deaths:
    """Of runs, in the order of the log: when (seconds of ``time.time``) and of which job."""

    runs: Sequence[tuple[float, str]]
    other: Sequence[tuple[str, str]]
    """Of which job an attempt was made again though no run had died, and why."""

    @property
    def attempts(self) -> Counter[str]:
        """Of each job those that came to nothing."""
        return Counter(job for _, job in self.runs) + Counter(job for job, _ in self.other)

    def unexplained(self, kills: Sequence[float]) -> list[str]:
        """The deaths for which there is no kill, each kill explaining one; `kills` are in order."""
        found, left = [], list(kills)
        for at, job in self.runs:
            while left and left[0] < at - _LATEST_SECONDS:
                del left[0]
            if left and left[0] <= at + _CLOCKS_SECONDS:
                del left[0]
            else:
                found.append(f"the cell of job {job} died, and nobody had killed it")
        return found


def read_deaths(log: Path) -> Deaths:
    """What the log of a node says."""
    runs, other = [], []
    with log.open(errors="replace") as lines:
        for line in lines:
            match = _LINE.match(line)
            if match is None:
                continue
            if match["problem"] in (None, _DIED):
                seconds = time.mktime(time.strptime(match["at"], "%Y-%m-%d %H:%M:%S"))
                runs.append((seconds + int(match["thousandths"]) / 1000, match["job"]))
            else:
                other.append((match["job"], match["problem"]))
    return Deaths(runs, other)
