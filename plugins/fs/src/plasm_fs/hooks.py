"""What this distribution offers to Plasm."""
