"""Closed standard streams are open on /dev/null before a program opens anything else."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOW = "import os; print(*(os.readlink(f'/proc/self/fd/{number}') for number in range(4)), sep='\\n', file=out)"
PROGRAM = f"""
import os, sys
out = open(os.environ["OUT"], "w")
os.dup2(out.fileno(), 9)
out.close()
out = open(9, "w")
for number in map(int, os.environ["CLOSED"]):
    os.close(number)
    setattr(sys, ("stdin", "stdout", "stderr")[number], None)
from plasm.streams import open_standard_streams
open_standard_streams()
os.open("/proc/self/status", os.O_RDONLY)
print("said")
print("said", file=sys.stderr)
assert sys.stdin.read() == ""
{SHOW}
"""


@pytest.mark.parametrize("closed", ["", "0", "1", "2", "02", "12", "012"])
def test_nothing_else_gets_the_number_of_a_closed_stream(tmp_path, closed):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"OUT": str(tmp_path / "out"), "CLOSED": closed},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    streams = (tmp_path / "out").read_text().splitlines()
    for number in map(int, closed):
        assert streams[number] == "/dev/null"
    assert streams[3].endswith("/status")


PROGRAMS = {
    "plasm": "from plasm.cli import main; main(['version'])",
    "phase-verify": "from plasm_boot.verify import main; main()",
    "phase-fetch": "from plasm_boot.fetch import main; main()",
    "phase-discover": "from plasm_boot.discover import main; main()",
    "plasm-tuf-client": "from plasm_trust.conformance import main; main()",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_opens_them_first(name):
    program = f"""
import os, sys
sys.argv = [{name!r}, "--help"]
os.close(2)
sys.stderr = None
try:
    {PROGRAMS[name]}
finally:
    print(os.readlink("/proc/self/fd/2"), flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.splitlines()[-1] == "/dev/null"
