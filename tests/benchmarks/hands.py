"""A runner's calls without a runner: its own code of them, timed one by one."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.runner import PROTOCOL
from tests.benchmarks.definitions import CHAIN_LENGTH
from tests.benchmarks.lab import Site


class Hands:
    """A registered runner that does what it is told; times are milliseconds, round trip and commit included."""

    def __init__(self, link: Link, runner_id: str) -> None:
        self._link = link
        self._runner_id = runner_id

    async def claim(self, want: int, *, expected: int | None = None) -> tuple[float, list[ClaimedStep]]:
        """Claim; RuntimeError unless it gets `expected` steps (as many as it wants)."""
        began = time.perf_counter()
        rows = await queries.claim(self._link, runner_id=self._runner_id, want=want, after_tenant_id=None)
        elapsed = (time.perf_counter() - began) * 1000
        if len(rows) != (want if expected is None else expected):
            raise RuntimeError(f"a claim of {want} got {len(rows)}")
        return elapsed, rows

    async def finish_chains(self, leases: list[ClaimedStep]) -> float:
        """Report leases of the chain's first step with all other steps run ahead, and claim nothing."""
        results = "[" + ",".join(_whole_chain(lease) for lease in leases) + "]"
        began = time.perf_counter()
        await queries.complete_and_claim(
            self._link, runner_id=self._runner_id, results=results, want=0, after_tenant_id=None
        )
        return (time.perf_counter() - began) * 1000

    async def release(self, leases: list[ClaimedStep]) -> None:
        """Give leases back."""
        await queries.release(self._link, runner_id=self._runner_id, leases=[lease.lease for lease in leases])


@asynccontextmanager
async def hands(site: Site) -> AsyncIterator[Hands]:
    """Register a runner on a connection of its own; at the end it says goodbye."""
    runner_id = str(uuid.uuid4())
    link = Link(site.database.url("runner"), application_name="flowgres-bench")
    try:
        info = {"name": "bench", "version": "0", "protocol": PROTOCOL, "environment": "development"}
        await queries.register_runner(link, runner_id=runner_id, info=info)
        yield Hands(link, runner_id)
        await queries.stop_runner(link, runner_id=runner_id)
    finally:
        await link.close()


def _whole_chain(lease: ClaimedStep) -> str:
    """What a runner says of a chain: the keys are those of the type flowgres.step_report."""
    ahead = ",".join(
        f'{{"s":{index},"o":"completed","ms":0.012,"out":{{"v":{index + 2}}}}}' for index in range(1, CHAIN_LENGTH)
    )
    return (
        f'{{"t":"{lease.tenant_id}","x":"{lease.execution_id}","q":{lease.queue_id},"k":{lease.token},'
        f'"s":{lease.step_index},"o":"completed","ms":0.200,"out":{{"v":2}},"ahead":[{ahead}]}}'
    )
