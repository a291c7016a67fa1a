"""Plasm: a node of Phase, an open network for verifiable computation."""

__version__ = "0.1.0"
