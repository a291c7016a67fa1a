"""The command line: one file a command, imported when it is called."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from plasm import __version__
from plasm.streams import open_standard_streams


def version_text(as_json: bool = False) -> str:
    """What ``plasm version`` prints."""
    if not as_json:
        return f"plasm {__version__}"
    import json

    return json.dumps({"name": "plasm", "version": __version__, "python": sys.version.split()[0]})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (those of the process) name and return its exit code."""
    open_standard_streams()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What stdout cannot encode is shown as ?, and ends no command.
        sys.stdout.reconfigure(errors="replace")
    # Answered without click, whose import takes several times as long as starting Python does.
    if arguments in (["version"], ["--version"], ["version", "--json"]):
        try:
            print(version_text("--json" in arguments), flush=True)
        except BrokenPipeError as error:
            from plasm.cli.failures import report

            return report(error, verbose=False)
        return 0
    from plasm.cli.root import run

    return run(arguments)
