"""A node inside a program of your own, and jobs for one beside it. Public: ``specs/plugins.md``, section 15."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from plasm.config import NodeSettings
from plasm.control.remote import RemoteJobs
from plasm.errors import PlanError, PlasmError
from plasm.home import Home
from plasm.host import Node, open_node
from plasm.jobs.conversation import Event, Submission
from plasm.jobs.manifest import (
    DEFAULT_FILE_BYTES,
    DEFAULT_HOST_CALLS,
    DEFAULT_OUTPUT_BYTES,
    InvalidJob,
    Job,
    Manifest,
    input_files,
    sha256,
)
from plasm.jobservice import JobService, OpenJobs
from plasm.node import open_plan
from plasm.plan import Plan, make_plan
from plasm.ports import PeerId, Verdict
from plasm.registry import load_registry

__all__ = ["EmbeddedNode", "JobResult", "Jobs", "NodeSettings", "PlasmError", "embedded_node", "jobs_of"]

_PORTS = ("signer", "store", "transport", "discovery", "runtime")


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What came of a job: proven by the receipt, which was verified against the node, the job and the output."""

    node: PeerId
    verdict: Verdict
    exit_code: int | None
    """The program's own; ``None`` with every verdict but ``exited``."""
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    """What the program left in ``/out``, by path."""
    receipt: bytes = field(repr=False)


class Jobs:
    """Sends jobs to nodes."""

    def __init__(self, service: JobService) -> None:
        self._service = service

    async def submit(
        self,
        module: bytes,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        inputs: Mapping[str, bytes] | None = None,
        memory_mb: int = 256,
        timeout_seconds: int = 60,
        output_bytes: int = DEFAULT_OUTPUT_BYTES,
        file_bytes: int = DEFAULT_FILE_BYTES,
        host_calls: int = DEFAULT_HOST_CALLS,
        peers: Sequence[str] = (),
        look_seconds: float = 30,
        report: Callable[[str, str], None] = lambda kind, node: None,
    ) -> JobResult:
        """Have `module` run by one of `peers` (multiaddrs ending in ``/p2p/PEER``), else by any node that is found.

        `inputs` are files that the program finds at their paths below ``/``; a path that ends with a slash is an empty
        folder. `output_bytes` are those of stdout, stderr and ``/out`` together, `file_bytes` those of the program's
        files while it runs.

        `report` is told of events on the way by kind (``"found"``, ``"running"``) and node. Raises
        :exc:`PlasmError`, also where no node was found within `look_seconds`. How the program ended is no error: look
        at the verdict.
        """
        manifest = Manifest(
            module_hash=sha256(module),
            memory_mb=memory_mb,
            timeout_seconds=timeout_seconds,
            output_bytes=output_bytes,
            file_bytes=file_bytes,
            host_calls=host_calls,
        )
        files = dict(inputs or {})
        job = Job(
            manifest=manifest,
            args=tuple(args),
            env=dict(env or {}),
            stdin=sha256(stdin),
            inputs=input_files(files),
        )
        try:
            job.check_as_received()
        except InvalidJob as error:
            raise PlasmError(f"this cannot be a job: {error}") from None

        def tell(event: Event) -> None:
            report(event.kind, event.node)

        submission = Submission(job=job, module=module, stdin=stdin, inputs=files)
        delivered = await self._service.submit(
            submission, name="embedded", report=tell, peers=tuple(peers), look_seconds=look_seconds
        )
        said = delivered.statement.predicate
        return JobResult(
            node=delivered.node,
            verdict=said.verdict,
            exit_code=said.exit_code,
            stdout=delivered.stdout,
            stderr=delivered.stderr,
            files=delivered.files,
            receipt=delivered.receipt,
        )


class EmbeddedNode(Jobs):
    """A node in this process; use :func:`embedded_node`."""

    def __init__(self, node: Node) -> None:
        super().__init__(OpenJobs(node.client, node.worker))
        self._node = node

    @property
    def peer(self) -> PeerId:
        """Its peer ID."""
        return self._node.peer

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs ending in ``/p2p/PEER`` under which it can be dialed; none where it does not listen."""
        return self._node.addresses

    async def drain(self) -> None:
        """Take nothing new and wait for what runs, as long as the settings allow."""
        await self._node.drain()


def jobs_of(home: Path) -> Jobs:
    """Jobs by way of the node that runs on `home` in another process, as ``plasm start`` does; on any event loop."""
    return Jobs(RemoteJobs(home))


@asynccontextmanager
async def embedded_node(
    home: Path,
    *,
    profile: str | None = None,
    plugins: Sequence[str] = (),
    listen: Sequence[str] = (),
    bootstrap: Sequence[str] = (),
    settings: NodeSettings | None = None,
) -> AsyncIterator[EmbeddedNode]:
    """A node on `home`, which it has to itself, that takes and sends jobs until the block is left.

    `profile` and `plugins` mean what they mean on the command line; no configuration file and no variable of the
    environment is read. Without `listen` nobody can dial it. Leaving the block ends what runs: ``drain()`` waits for
    it. Raises :exc:`PlasmError`, also where the drivers do not run on the event loop that runs.
    """
    settings = settings or NodeSettings()
    plan = make_plan(load_registry(), ports=_PORTS, cli=plugins, profile=profile, home=Home(home))
    _refuse_other_loop(plan)
    with plan.home.lock():
        async with (
            open_plan(plan, listen=(*listen, *settings.listen), bootstrap=(*bootstrap, *settings.bootstrap)) as ports,
            open_node(ports, settings, plan.home) as node,
        ):
            yield EmbeddedNode(node)


def _refuse_other_loop(plan: Plan) -> None:
    try:
        asyncio.get_running_loop()
        running = "asyncio"
    except RuntimeError:
        running = "trio"
    for selected in plan.selected:
        if running not in selected.registered.driver.backends:
            message = f"{selected.registered.qualified} does not run on {running}, which this program runs on"
            mend = f'run the program with anyio.run(…, backend="{plan.backend}"), or use jobs_of a node of its own'
            raise PlanError(message, mend)
