"""What this distribution offers to Plasm."""

from __future__ import annotations

PLASM_API = 1
