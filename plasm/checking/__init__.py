"""Nodes checked against each other: what two receipts say of one job, and what follows from that.

It knows ports and :mod:`plasm.jobs`, and neither a driver nor a command. ``specs/checking.md`` has the rules.
"""
