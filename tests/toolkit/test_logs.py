"""Log lines say nothing that a terminal obeys, whatever they quote."""

from __future__ import annotations

import subprocess
import sys

LOGS = r"""
import logging
from plasm.cli.logs import configure_logging
configure_logging(False)
log = logging.getLogger("plasm.test")
try:
    raise ValueError("\x1b[31mred\x1b[0m\nplasm: forged")
except ValueError:
    log.exception("a handler broke: %s", "\x1b[2J\r")
"""


def test_messages_and_tracebacks_are_escaped():
    done = subprocess.run([sys.executable, "-c", LOGS], capture_output=True, check=True)

    text = done.stderr.decode()
    assert "a handler broke: \\x1b[2J\\r" in text
    assert "\\x1b[31mred" in text
    assert all(line.isprintable() for line in text.splitlines())
