"""``python -m plasm``."""

from plasm.cli import main

main()
