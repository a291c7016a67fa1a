"""Attackers of each kind, from forty addresses and on half a core, while an honest client has jobs run."""
