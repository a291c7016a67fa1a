"""``python -m plasm``."""

import sys

from plasm.cli import main

sys.exit(main())
