"""Conformance suites, one per port: each test is a sentence of the docstrings in :mod:`plasm.ports`.

They are strict where the port speaks and tolerant where it is silent. `patience` is how many seconds a suite waits for
what must come; a subclass for a slow driver raises it.
"""
