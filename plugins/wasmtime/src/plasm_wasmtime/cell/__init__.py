"""What runs inside a child process: the engine, the WASI layer and the limits. Standard library and engine only.

The node never imports :mod:`plasm_wasmtime.cell.engine` or the engine itself; it shares :mod:`.frames` and
:mod:`.settings` with its children.
"""
