"""What the executor makes of claimed steps, with the real database and a real evaluator."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from secrets import token_hex
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.evaluator import EvaluatorError, EvaluatorPool, RenderJob
from flowgres_runner.evaluator.pool import AnyAnswer
from flowgres_runner.execution import batches, versions
from flowgres_runner.execution.chains import ChainResult
from flowgres_runner.execution.contexts import ContextCache
from flowgres_runner.execution.executor import Executor
from flowgres_runner.execution.results import Result
from flowgres_runner.execution.versions import VersionCache
from flowgres_runner.http import Client, EgressPolicy
from flowgres_runner.reading.reader import Reader
from flowgres_runner.secrets import Placeholders
from flowgres_runner.steps.http import HttpStep
from flowgres_runner.steps.registry import core_handlers
from flowgres_runner.work.outbox import Outbox
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow, start


class WatchedPool(EvaluatorPool):
    """Notes how many jobs each call has."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.breaks_at = 0
        self.breaks_with: Exception | None = None

    async def render_together(self, jobs: Sequence[RenderJob]) -> list[AnyAnswer]:
        self.batches.append(len(jobs))
        if len(self.batches) == self.breaks_at:
            assert self.breaks_with is not None
            raise self.breaks_with
        return await super().render_together(jobs)


class Hands:
    """An executor whose results stay in its outbox."""

    def __init__(self, database: Database) -> None:
        self.runner_id = str(uuid.uuid4())
        self.link = Link(database.dsn("runner"), application_name="test")
        self.pool = WatchedPool()
        self.reader = Reader()
        self.started: list[ClaimedStep] = []
        self.given_back: list[ClaimedStep] = []
        self.may_give_back = False
        self.outbox = Outbox()
        self.contexts = ContextCache()
        self.client = Client(policy=EgressPolicy(), concurrency=1)
        self.versions = VersionCache(
            self.link, core_handlers(http=HttpStep(self.client), now=lambda: datetime.now(UTC)), max_output_bytes=1000
        )
        self.executor = Executor(
            link=self.link,
            versions=self.versions,
            contexts=self.contexts,
            pool=self.pool,
            placeholders=Placeholders(),
            put=self.outbox.put,
            runner_id=lambda: self.runner_id,
            start_task=lambda prepared, config: self.started.append(prepared.claimed),
            give_back=self._give_back,
            reader=self.reader,
        )

    async def _give_back(self, claimed: Sequence[ClaimedStep]) -> None:
        assert self.may_give_back, "nothing is given back"
        self.given_back += claimed

    async def claim(self, want: int = 100) -> list[ClaimedStep]:
        """Lease what is ready."""
        return await queries.claim(self.link, runner_id=self.runner_id, want=want, after_tenant_id=None)

    async def run(self, want: int = 100) -> list[Any]:
        """Claim, execute, and take what would be sent."""
        await self.executor.execute(await self.claim(want))
        batch = self.outbox.take(1000)
        self.outbox.settle(batch)
        return list(batch)


@asynccontextmanager
async def hands(database: Database) -> AsyncIterator[Hands]:
    with_hands = Hands(database)
    info = {"name": "x", "version": "0", "protocol": 2, "environment": "development"}
    await queries.register_runner(with_hands.link, runner_id=with_hands.runner_id, info=info)
    await with_hands.pool.start()
    try:
        yield with_hands
    finally:
        await with_hands.pool.close()
        await with_hands.reader.close()
        await with_hands.client.close()
        await with_hands.link.close()


def chain(*more: dict[str, Any]) -> list[dict[str, Any]]:
    steps = [{"id": "a", "config": {"expression": "{{ input.n }}"}}, *more]
    for before, after in pairwise(steps):
        after.setdefault("depends_on", [before["id"]])
    return steps


PLUS = {"id": "b", "config": {"output": {"v": "{{ steps.a.output + 1 }}"}}}


async def test_plain_chain_with_its_outputs_leaves_as_one_text(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("plain", chain(dict(PLUS)), outputs={"sum": "{{ steps.b.output.v }}"}))
    start(database, tenant, name, input={"n": 1})
    async with hands(database) as runner:
        (result,) = await runner.run()
        assert isinstance(result, ChainResult)
        assert [output for _, output in json.loads(result.text)] == [1, {"v": 2}, {"sum": 2}]
        assert len(result.step_indexes) == 3
        assert runner.executor.completed_count == 3
        assert len(runner.contexts) == 0, "nothing of the execution is left"


@pytest.mark.parametrize(
    "steps",
    [
        [{"id": "a", "config": {"expression": 5}}, {**PLUS, "depends_on": ["a"]}],
        chain({"id": "b", "config": {"transforms": [{"op": "set", "field": "x", "value": "{{ steps.a.output }}"}]}}),
        chain({"id": "b", "config": {"expression": "{{ steps.a.output }}"}, "output": "{{ output + 1 }}"}),
    ],
    ids=["constant head", "edits", "reshaped"],
)
async def test_plain_chain_that_is_rendered_in_pieces_is_put_together(
    database: Database, db: Db, tenant: Tenant, steps: list[dict[str, Any]]
) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("pieces", steps)), input={"n": 1})
    async with hands(database) as runner:
        (result,) = await runner.run()
        assert isinstance(result, ChainResult)
        assert len(json.loads(result.text)) == 2


@pytest.mark.parametrize(
    "steps",
    [
        chain({"id": "b", "type": "log", "config": {"message": "{{ steps.a.output }}"}}),
        chain({"id": "b", "config": {"expression": "{{ 1 }}"}, "when": "{{ false }}"}),
        chain({"id": "b", "config": {"expression": "{{ steps.a.output.x }}"}}),
        chain({"id": "b", "config": {"expression": "{{ 'x' * 2000 }}"}}),
    ],
    ids=["lines of a log", "skipped", "failed", "too large"],
)
async def test_chain_that_has_more_to_say_is_an_object(
    database: Database, db: Db, tenant: Tenant, steps: list[dict[str, Any]]
) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("more", steps)), input={"n": 1})
    async with hands(database) as runner:
        (result,) = await runner.run()
        assert isinstance(result, Result)
        assert [member.step_index for member in result.members] == [0, 1]


async def test_second_attempt_is_no_chain(database: Database, db: Db, tenant: Tenant) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("plain", chain(dict(PLUS)))), input={"n": 1})
    async with hands(database) as runner:
        await runner.executor.execute([row._replace(attempt=2) for row in await runner.claim()])
        (result,) = runner.outbox.take(10)
        assert isinstance(result, Result)
        assert len(result.members) == 1, "what may have taken a runner with it runs alone"


async def test_context_comes_once_for_all_rows_of_an_execution(database: Database, db: Db, tenant: Tenant) -> None:
    fan = [{"id": f"s{number}", "config": {"expression": f"{{{{ input.n + {number} }}}}"}} for number in range(5)]
    name = import_workflow(db, tenant, dag("fan", fan))
    for n in (10, 20):
        start(database, tenant, name, input={"n": n})
    async with hands(database) as runner:
        # Each context pushes the other one out, so further rows find nothing and ask.
        runner.contexts = runner.executor._contexts = ContextCache(max_executions=1)
        rows = await runner.claim()
        assert sum(row.context is not None for row in rows) == 2
        rows.sort(key=lambda row: (row.context is None, row.step_index))
        await runner.executor.execute(rows)
        outputs = []
        for result in runner.outbox.take(100):
            assert isinstance(result, ChainResult)
            outputs += [output for output in result.outputs() or [] if isinstance(output, int)]
        assert sorted(outputs) == [10, 11, 12, 13, 14, 20, 21, 22, 23, 24]


async def test_what_goes_to_the_evaluator_at_once_is_bounded_in_size(
    database: Database, db: Db, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_BATCH_CHARACTERS", 25_000)
    name = import_workflow(db, tenant, dag("plain", chain(dict(PLUS))))
    for n in range(5):
        start(database, tenant, name, input={"n": n, "text": "x" * 10_000})
    async with hands(database) as runner:
        assert len(await runner.run()) == 5
        assert runner.pool.batches == [2, 2, 1]


def allow(db: Db, tenant: Tenant, name: str, value: Any) -> None:
    db.run(
        "insert into flowgres.settings (tenant_id, name, value) values (%s, %s, %s)"
        " on conflict (tenant_id, name) do update set value = excluded.value",
        tenant.tenant_id,
        name,
        Jsonb(value),
    )


async def test_limits_are_those_of_the_tenant_and_are_read_again(
    database: Database, db: Db, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(db, tenant, "max_output_bytes", 500)
    allow(db, tenant, "http_step_timeout_seconds", 7)
    other = database.make_tenant("Other")
    for one in (tenant, other):
        start(database, one, import_workflow(db, one, dag("plain", chain(dict(PLUS)))), input={"n": 1})
    async with hands(database) as runner:
        ids = {row.tenant_id: row.version_id for row in await runner.claim()}
        version_id, other_id = ids[str(tenant.tenant_id)], ids[str(other.tenant_id)]
        found = await runner.versions.load([version_id, other_id])
        version, others = found[version_id], found[other_id]
        assert version is not None
        assert others is not None
        assert (version.limits.max_output_bytes, version.limits.step_timeout_seconds) == (500, 7)
        # The environment of this runner says 1000.
        assert (others.limits.max_output_bytes, others.limits.step_timeout_seconds) == (1000, 30)

        allow(db, tenant, "max_output_bytes", 600)
        assert (await runner.versions.load([version_id]))[version_id] is version
        monkeypatch.setattr(versions, "LIMITS_SECONDS", 0)
        assert (await runner.versions.load([version_id]))[version_id] is version, "nobody waits for that"
        async with asyncio.timeout(5):
            while (again := (await runner.versions.load([version_id]))[version_id]) is version:
                await asyncio.sleep(0.01)
        assert again is not None
        assert again.limits.max_output_bytes == 600
        assert again.steps is version.steps


async def test_delay_is_as_long_as_the_tenant_may(database: Database, db: Db, tenant: Tenant) -> None:
    allow(db, tenant, "max_delay_seconds", 60)
    steps = [{"id": "pause", "type": "delay", "config": {"seconds": "{{ input.n }}"}}]
    name = import_workflow(db, tenant, dag("waiting", steps))
    for n in (60, 61):
        start(database, tenant, name, input={"n": n})
    async with hands(database) as runner:
        rows = sorted(await runner.claim(), key=lambda row: row.context or "")
        await runner.executor.execute(rows)
        allowed, refused = runner.outbox.take(10)
        assert isinstance(allowed, Result)
        assert isinstance(refused, Result)
        ends = {result.members[0].outcome: result.members[0].rest for result in (allowed, refused)}
        assert set(ends) == {"suspended", "failed"}
        assert "delay_too_long" in ends["failed"]


@pytest.mark.parametrize("error", [EvaluatorError("no process"), RuntimeError("a bug")])
async def test_what_has_begun_is_neither_given_back_nor_begun_again(
    database: Database, db: Db, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("flowgres_runner.execution.executor._PAUSE_SECONDS", 0)
    steps = [
        {"id": "send", "type": "http", "config": {"url": "https://x.example/{{ input.n }}"}},
        {"id": "pure", "config": {"expression": "{{ input.n }}"}, "output": {"n": "{{ output }}"}},
    ]
    start(database, tenant, import_workflow(db, tenant, dag("both", steps)), input={"n": 1})
    async with hands(database) as runner:
        runner.may_give_back = True
        # The first call renders both; the second one is for what is made of an output.
        runner.pool.breaks_at, runner.pool.breaks_with = 2, error
        await runner.executor.execute(await runner.claim())
        assert [claimed.step_index for claimed in runner.started] == [0]
        if isinstance(error, EvaluatorError):
            assert [claimed.step_index for claimed in runner.given_back] == [1]
        else:
            assert [result.claimed.step_index for result in runner.outbox.take(10)] == [1]


@pytest.mark.parametrize("is_handed", [False, True], ids=["heavy", "handed and forgotten"])
async def test_contexts_that_did_not_come_are_fetched_one_at_a_time(
    database: Database, db: Db, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, is_handed: bool
) -> None:
    name = import_workflow(db, tenant, dag("heavy", [{"id": "a", "config": {"expression": "{{ input.n }}"}}]))
    for n in range(5):
        start(database, tenant, name, input={"n": n, "text": token_hex(200_000)})
    told: list[int] = []
    get_contexts = queries.get_contexts

    async def listen(link: Link, **arguments: Any) -> dict[int, queries.Brought]:
        answer = await get_contexts(link, **arguments)
        told.append(sum(brought.context is not None for brought in answer.values()))
        return answer

    monkeypatch.setattr(queries, "get_contexts", listen)
    async with hands(database) as runner:
        claimed = await runner.claim()
        assert [step.context for step in claimed] == [None] * 5
        await runner.executor.execute([step._replace(handed=is_handed) for step in claimed])
        async with asyncio.timeout(20):
            while len(runner.outbox) < 5:
                await asyncio.sleep(0.01)
        outputs = sorted(json.loads(result.text)[0][1] for result in runner.outbox.take(1000))
    assert outputs == [0, 1, 2, 3, 4]
    assert told == [1] * 5
