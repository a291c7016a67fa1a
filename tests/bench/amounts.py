"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Amounts:
    """How often and how much, each by itself."""

    rounds: int
    jobs: int
    """One after another, in each round."""
    node_jobs: int
    """In each round in a node's own process, several at once; five times as many in reused cells."""
    program_rounds: int
    modules: int
    """That are compiled and then loaded from the cache."""
    functions: int
    """Of each of those modules."""
    writes: int
    """Calls of ``fd_write`` in one run."""
    clients: int
    jobs_each: int
    """Of each of the clients that work at once."""
    commands: int
    connections: int
    memory_jobs: int
    """While the node's memory is watched."""
    looks: int
    fleet: int
    killed: int


FULL = Amounts(
    rounds=5,
    jobs=400,
    node_jobs=800,
    program_rounds=5,
    modules=5,
    functions=3000,
    writes=100_000,
    clients=4,
    jobs_each=200,
    commands=3,
    connections=20,
    memory_jobs=20_000,
    looks=5,
    fleet=20,
    killed=6,
)
QUICK = Amounts(
    rounds=1,
    jobs=30,
    node_jobs=100,
    program_rounds=1,
    modules=1,
    functions=1000,
    writes=10_000,
    clients=4,
    jobs_each=20,
    commands=1,
    connections=3,
    memory_jobs=500,
    looks=1,
    fleet=3,
    killed=1,
)
