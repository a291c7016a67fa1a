"""The long versions of the fault tests: what ``hatch run soak`` does."""
