"""How long a client waits for nodes, and for how many at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The client's deadlines in seconds, and its bounds on how many nodes it asks at once.

    A stranger may take every question and answer none. So the less a node has said, the shorter it is waited for, and
    no node that says nothing keeps another one from being asked.
    """

    answer_seconds: float = 30.0
    """For the next sign of life of a node that has accepted a job: three of its heartbeats."""
    first_answer_seconds: float = 10.0
    """For the first answer on a stream, and for the answer to an offer: the node has to write it down, and no more."""
    description_seconds: float = 3.0
    """For what a node says of itself, on a stream that is open; it needs neither a disk nor a runtime for that."""
    reach_seconds: float = 10.0
    """For a node to be dialed, at all of its addresses together, and to say what it is: eight round trips of a link by
    satellite and the answer."""
    place_seconds: float = 1.0
    """After this a node that has not answered yet gives its place to the next one, and is waited for beside it."""
    places: int = 64
    """Nodes that are asked at once what they are."""
    places_at_once: int = 16
    """Of these are asked without a pause."""
    pause_seconds: float = 0.01
    """Before each further one: a connection costs some milliseconds of CPU at either end, and the first that answers
    should not have to wait for those of all others."""
    most_waited_for: int = 256
    """Nodes that were asked and have not answered, those that gave their places away included."""
    head_start_seconds: float = 0.3
    """Once some node has answered, the preferred one among all that were found is waited for so much longer at most."""
    least_head_start_seconds: float = 0.05
    """At least; in between twice as long as the first answer took, since who takes longer than that is far away."""
    give_up_seconds: float = 2.0
    """For a node to hear that nobody waits for its job any longer: two round trips on a connection that is up."""
    look_again_seconds: float = 20.0
    """For a node that has a job of ours, and is not where it was, to be found elsewhere; one that was restarted
    announces itself within some seconds."""
    follow_seconds: float = 5.0
    """The same where the job can still go to the next node."""

    def head_start(self, first_seconds: float) -> float:
        """How long the preferred node is waited for, once another one has answered within `first_seconds`."""
        return min(max(2 * first_seconds, self.least_head_start_seconds), self.head_start_seconds)
