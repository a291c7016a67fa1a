"""What runs inside a cell. Standard library only, Python 3.10 or later; the node shares :mod:`.frames` with it."""
