"""One accepted job, from its module in a store to its receipt."""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import Callable, Mapping, Sequence

import anyio.to_thread

from plasm.jobs.manifest import digest_bytes
from plasm.jobs.modules import read_module
from plasm.jobs.receipt import ReceiptRefused, make_statement, outputs_of, sign_receipt
from plasm.jobs.records import DONE, FAILED, Accepted, Ending
from plasm.jobs.unprepared import Unprepared
from plasm.ports import (
    Digest,
    Guarded,
    Invocation,
    NotPrepared,
    NotRunnable,
    NotStored,
    Outcome,
    Patient,
    PeerId,
    Runtime,
    RuntimeFailed,
    Signer,
    Store,
    StoreError,
    Verdict,
)

MOST_ATTEMPTS = 3
"""A job that took the node or its cell down this often is not tried again."""


HASHED_AT_ONCE_BYTES = 256 * 1024
"""In the event loop, for less than a millisecond."""


class ModuleDropped(Exception):
    """The compiled module left a cache that has its bounds before the job could run, which is nobody's failure."""


class Executor:
    """Compiles the modules of accepted jobs, runs them and signs what came of them."""

    def __init__(
        self,
        *,
        node: PeerId,
        signer: Signer,
        runtimes: Mapping[str, Runtime],
        stores: Sequence[Store],
        log: logging.Logger,
        module_bytes: int,
        unprepared: Unprepared,
        trusts: Callable[[PeerId], bool] = lambda client: False,
    ) -> None:
        self._node = node
        self._signer = signer
        self._runtimes = runtimes
        # Asked once: whether an object has the members of a protocol is slow to tell.
        self._guarded = {name: runtime for name, runtime in runtimes.items() if isinstance(runtime, Guarded)}
        self._stores = stores
        self._log = log
        self._module_bytes = module_bytes
        self._trusts = trusts
        self._unprepared = unprepared

    def is_ready(self, accepted: Accepted) -> bool:
        """Whether the job can run, or be answered, without compiling its module first."""
        runtime = self._runtimes.get(accepted.runtime)
        module = Digest(accepted.job.manifest.module_hash)
        return runtime is None or runtime.prepared(module) or self._unprepared.refuses(accepted.runtime, module)

    async def prepare(self, accepted: Accepted, attempt: int) -> Ending | None:
        """Compile the job's module; how the job ends where that fails. `attempt` as for :meth:`execute`."""
        started = datetime.datetime.now(datetime.UTC)
        try:
            runtime = self._runtimes[accepted.runtime]
            while attempt <= MOST_ATTEMPTS:
                try:
                    await self._prepare(runtime, accepted)
                    return None
                except RuntimeFailed as error:
                    module = Digest(accepted.job.manifest.module_hash)
                    if attempt == MOST_ATTEMPTS or self._unprepared.refuses(accepted.runtime, module):
                        raise
                    attempt += 1
                    self._log.warning("job %s: attempt %d follows: %s", accepted.id, attempt, error)
            return await self._signed(accepted, runtime, _given_up(), started)
        except NotRunnable as error:
            outcome = Outcome(verdict=Verdict.NOT_RUNNABLE, detail=str(error))
            return await self._signed(accepted, runtime, outcome, started)
        except (NotPrepared, NotStored, RuntimeFailed, StoreError) as error:
            return _failed(error)

    async def execute(self, accepted: Accepted, data: bytes, attempt: int) -> Ending:
        """Run the job, whose input is `data`; `attempt` counts from 1 and goes on from earlier lives of the node.

        Cancelling stops the run. Raises :exc:`ModuleDropped` where its module has to be compiled again.
        """
        runtime = self._runtimes.get(accepted.runtime)
        if runtime is None:
            return Ending(state=FAILED, detail=f"the runtime {accepted.runtime} is no longer here")
        started = datetime.datetime.now(datetime.UTC)
        if attempt > MOST_ATTEMPTS:
            outcome = _given_up()
        else:
            try:
                outcome = await self._attempt(runtime, accepted, data, attempt)
            except NotRunnable as error:
                outcome = Outcome(verdict=Verdict.NOT_RUNNABLE, detail=str(error))
            except (NotPrepared, RuntimeFailed, StoreError) as error:
                return _failed(error)
        return await self._signed(accepted, runtime, outcome, started)

    async def _signed(
        self, accepted: Accepted, runtime: Runtime, outcome: Outcome, started: datetime.datetime
    ) -> Ending:
        outputs = outputs_of(outcome)
        size = sum(map(len, outputs.values()))
        try:
            make = functools.partial(
                make_statement,
                job=accepted.job,
                job_digest=accepted.digest,
                outcome=outcome,
                engine=runtime.engine,
                isolation=runtime.isolation,
                guards=guarded.guards if (guarded := self._guarded.get(accepted.runtime)) is not None else (),
                node=self._node,
                client=accepted.client,
                nonce=accepted.nonce,
                started=started,
                finished=datetime.datetime.now(datetime.UTC),
            )
            # Other jobs go on while what is large is hashed.
            statement = await anyio.to_thread.run_sync(make) if size > HASHED_AT_ONCE_BYTES else make()
            receipt = sign_receipt(statement, self._signer, self._node)
        except ReceiptRefused as error:
            return Ending(state=FAILED, detail=f"no receipt can state what its runtime says: {error}"[:500])
        return Ending(
            state=DONE,
            verdict=outcome.verdict,
            exit_code=outcome.exit_code,
            outputs=outputs,
            receipt=receipt,
            detail=outcome.detail[:500],
        )

    async def _attempt(self, runtime: Runtime, accepted: Accepted, data: bytes, attempt: int) -> Outcome:
        job = accepted.job
        stdin, files = job.split_input(data)
        invocation = Invocation(
            module=Digest(job.manifest.module_hash),
            args=job.args,
            env=job.env,
            stdin=stdin,
            inputs=files,
            limits=job.manifest.limits(),
            seed=digest_bytes(accepted.digest),
            capabilities=frozenset(job.manifest.capabilities),
            trusted=self._trusts(accepted.client),
        )
        while True:
            problem: RuntimeFailed | None = None
            if not runtime.prepared(invocation.module):
                self._unprepared.check(accepted.runtime, invocation.module)
                raise ModuleDropped
            try:
                outcome = await runtime.run(invocation)
                if outcome.verdict is not Verdict.CELL_DIED or attempt >= MOST_ATTEMPTS:
                    return outcome
            except KeyError:
                raise ModuleDropped from None
            except RuntimeFailed as error:
                problem = error
                if attempt >= MOST_ATTEMPTS:
                    raise
            attempt += 1
            self._log.warning("job %s: attempt %d follows: %s", accepted.id, attempt, problem or "the cell died")

    async def _prepare(self, runtime: Runtime, accepted: Accepted) -> None:
        digest = Digest(accepted.job.manifest.module_hash)
        if runtime.prepared(digest):
            return
        self._unprepared.check(accepted.runtime, digest)
        most = accepted.module_size or self._module_bytes
        module = await read_module(self._stores, digest, most, self._log)
        try:
            if accepted.client == self._node and isinstance(runtime, Patient):
                await runtime.prepare_own(digest, module)
            else:
                await runtime.prepare(digest, module)
        except (NotRunnable, NotPrepared, RuntimeFailed) as error:
            self._unprepared.failed(accepted.runtime, digest, error)
            raise
        self._unprepared.prepared(accepted.runtime, digest)


def _given_up() -> Outcome:
    return Outcome(verdict=Verdict.CELL_DIED, detail=f"given up after {MOST_ATTEMPTS} attempts")


def _failed(error: NotPrepared | RuntimeFailed | StoreError) -> Ending:
    if isinstance(error, NotPrepared):
        return Ending(state=FAILED, reason="ModuleNotPrepared", detail=str(error)[:500])
    if isinstance(error, NotStored):
        # Its store has bounds of its own, and drops what it likes.
        return Ending(state=FAILED, detail="its module is no longer stored on this node: offer it again")
    return Ending(state=FAILED, detail=str(error)[:500])
