"""How fast: the measurements behind ``hatch run bench``."""
