from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's doing; which examples are tried is the same on each one.
settings.register_profile("plasm", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plasm")
