"""One accepted job, from its module in a store to its receipt."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping, Sequence

import anyio

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


class Executor:
    """Runs accepted jobs and signs what came of them."""

    def __init__(
        self,
        *,
        node: PeerId,
        signer: Signer,
        runtimes: Mapping[str, Runtime],
        stores: Sequence[Store],
        log: logging.Logger,
        module_bytes: int,
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
        self._preparing: dict[tuple[str, str], anyio.Lock] = {}
        self._unprepared = Unprepared(MOST_ATTEMPTS)

    async def execute(self, accepted: Accepted, data: bytes, attempt: int, moved: Callable[[str], None]) -> Ending:
        """Run the job, whose input is `data`; `attempt` counts from 1 and goes on from earlier lives of the node.

        Cancelling stops the run. `moved` hears ``compiling`` and ``running``.
        """
        runtime = self._runtimes.get(accepted.runtime)
        if runtime is None:
            return Ending(state=FAILED, detail=f"the runtime {accepted.runtime} is no longer here")
        started = datetime.datetime.now(datetime.UTC)
        if attempt > MOST_ATTEMPTS:
            outcome = Outcome(verdict=Verdict.CELL_DIED, detail=f"given up after {MOST_ATTEMPTS} attempts")
        else:
            try:
                outcome = await self._attempt(runtime, accepted, data, attempt, moved)
            except NotStored:
                # Its store has bounds of its own, and drops what it likes.
                return Ending(state=FAILED, detail="its module is no longer stored on this node: offer it again")
            except (NotPrepared, RuntimeFailed, StoreError) as error:
                return Ending(state=FAILED, detail=str(error)[:500])
        return self._signed(accepted, runtime, outcome, started)

    def _signed(self, accepted: Accepted, runtime: Runtime, outcome: Outcome, started: datetime.datetime) -> Ending:
        try:
            statement = make_statement(
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
            receipt = sign_receipt(statement, self._signer, self._node)
        except ReceiptRefused as error:
            return Ending(state=FAILED, detail=f"no receipt can state what its runtime says: {error}"[:500])
        return Ending(
            state=DONE,
            verdict=outcome.verdict,
            exit_code=outcome.exit_code,
            outputs=outputs_of(outcome),
            receipt=receipt,
            detail=outcome.detail[:500],
        )

    async def _attempt(
        self, runtime: Runtime, accepted: Accepted, data: bytes, attempt: int, moved: Callable[[str], None]
    ) -> Outcome:
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
        dropped = False
        while True:
            problem: RuntimeFailed | None = None
            try:
                if not runtime.prepared(invocation.module):
                    moved("compiling")
                    await self._prepare(runtime, accepted)
                moved("running")
                outcome = await runtime.run(invocation)
                if outcome.verdict is not Verdict.CELL_DIED or attempt >= MOST_ATTEMPTS:
                    return outcome
            except NotRunnable as error:
                return Outcome(verdict=Verdict.NOT_RUNNABLE, detail=str(error))
            except KeyError:
                if not dropped:
                    # It left a cache that has its bounds, which is nobody's failure: it is compiled again.
                    dropped = True
                    continue
                problem = RuntimeFailed("the compiled module was dropped before it could run")
            except RuntimeFailed as error:
                problem = error
            last = attempt >= MOST_ATTEMPTS or self._unprepared.refuses(accepted.runtime, invocation.module)
            if problem is not None and last:
                raise problem
            attempt += 1
            self._log.warning("job %s: attempt %d follows: %s", accepted.id, attempt, problem or "the cell died")

    async def _prepare(self, runtime: Runtime, accepted: Accepted) -> None:
        digest = Digest(accepted.job.manifest.module_hash)
        key = (accepted.runtime, digest)
        lock = self._preparing.setdefault(key, anyio.Lock())
        try:
            async with lock:
                if not runtime.prepared(digest):
                    self._unprepared.check(accepted.runtime, digest)
                    most = accepted.module_size or self._module_bytes
                    module = await read_module(self._stores, digest, most, self._log)
                    try:
                        if accepted.client == self._node and isinstance(runtime, Patient):
                            await runtime.prepare_own(digest, module)
                        else:
                            await runtime.prepare(digest, module)
                    except (NotRunnable, RuntimeFailed) as error:
                        self._unprepared.failed(accepted.runtime, digest, error)
                        raise
                    self._unprepared.prepared(accepted.runtime, digest)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._preparing.pop(key, None)
