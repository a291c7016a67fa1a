"""Plasm's signers on key files, and ephemeral ones."""
