"""Whether an offer is accepted: who may send jobs, what a job may ask for, and how many a peer may have waiting."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from plasm.jobs.manifest import InvalidJob
from plasm.jobs.messages import Offer
from plasm.jobs.records import OWN
from plasm.ports import PeerId
from plasm.shares import Origin, Shares, has_room

QUEUE_CEILING: Final = 4
"""Times the queue's length: what waits at most, once networks that hold little get in beyond that length."""


class OfferRejected(Exception):
    """The offer is not accepted; `reason` is one of :data:`plasm.jobs.messages.REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What this node takes on. Sizes are in bytes, times in seconds."""

    allow: frozenset[PeerId] | None
    """The peers that may send jobs, ``None`` for anyone; this node's own jobs are always taken."""
    own: PeerId | None = None
    trust: frozenset[PeerId] | None = frozenset()
    """The peers whose jobs may share a process, ``None`` for anyone's."""
    arch: str
    runtimes: tuple[str, ...]
    cores: int
    memory_mb: int
    timeout_seconds: int
    module_bytes: int
    input_bytes: int
    output_bytes: int
    file_bytes: int
    host_calls: int
    max_queue: int
    max_per_peer: int

    def describe_policy(self) -> str:
        """Who may send jobs, for people."""
        if self.allow is None:
            return "takes jobs from anyone who can reach it"
        if not self.allow:
            return "takes jobs from nobody but its own user"
        return f"takes jobs from {len(self.allow)} listed peer{'' if len(self.allow) == 1 else 's'}"

    def check_sender(self, client: PeerId) -> None:
        """Raises :exc:`OfferRejected`."""
        if client == self.own or self.allow is None or client in self.allow:
            return
        raise OfferRejected("NotAllowed", "this node does not take jobs from you")

    def trusts(self, client: PeerId) -> bool:
        """Whether a job of `client` may run where other trusted jobs ran before."""
        return self.trust is None or client in self.trust

    def check_offer(self, offer: Offer) -> str:
        """The runtime that will do what the offer asks for, if there is enough of all. Raises :exc:`OfferRejected`."""
        manifest = offer.job.manifest
        try:
            offer.job.check()
        except InvalidJob as error:
            raise OfferRejected("InvalidRequest", str(error)) from None
        if offer.digest != offer.job.digest():
            raise OfferRejected("InvalidRequest", "the job digest is not that of the job")
        if offer.input is not None and len(offer.input) != offer.input_size:
            raise OfferRejected("InvalidRequest", "the input is not of the size that is given for it")
        whole = offer.input is not None or not offer.input_size
        if whole:
            try:
                offer.job.check_input(offer.input or b"")
            except InvalidJob as error:
                raise OfferRejected("InvalidRequest", str(error)) from None
        if offer.input_size < offer.job.files_size:
            raise OfferRejected("InvalidRequest", "the input is shorter than its files")
        if offer.arch is not None and offer.arch != self.arch:
            raise OfferRejected("ArchMismatch", f"this is {self.arch}")
        runtime = offer.runtime or (self.runtimes[0] if self.runtimes else "")
        if runtime not in self.runtimes:
            raise OfferRejected("RuntimeNotSupported", f"there is {', '.join(self.runtimes) or 'no runtime'} here")
        for what, asked, most in (
            ("cores", manifest.cpu_cores, self.cores),
            ("MB of memory", manifest.memory_mb, self.memory_mb),
            ("seconds", manifest.timeout_seconds, self.timeout_seconds),
            ("bytes of module", offer.module_size, self.module_bytes),
            ("bytes of input", offer.input_size, self.input_bytes),
            ("bytes of output", manifest.output_bytes, self.output_bytes),
            ("bytes of files", manifest.file_bytes, self.file_bytes),
            ("host calls", manifest.host_calls, self.host_calls),
        ):
            if asked > most:
                raise OfferRejected("InsufficientResources", f"{asked} {what} asked, {most} at most")
        return runtime

    def check_load(
        self, client: PeerId, origin: Origin, places: Shares, held: Mapping[PeerId, Collection[object]]
    ) -> None:
        """Hold the queue's length and the client's quota against their bounds. Raises :exc:`OfferRejected`.

        `places` are those in the queue; the node's own user has any number.
        """
        if origin is OWN:
            return
        if not has_room(places, origin, 1, most=self.max_queue, ceiling=QUEUE_CEILING * self.max_queue):
            raise OfferRejected("QueueFull", f"{places.total} jobs are waiting, and your network has its share of them")
        if len(held.get(client, ())) >= self.max_per_peer:
            raise OfferRejected("QuotaExceeded", f"{self.max_per_peer} of your jobs are not finished")
