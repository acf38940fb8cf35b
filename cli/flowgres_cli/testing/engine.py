"""The calls of a run of cases: set one up, look how far all are, move the clock, read what came of one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from flowgres_cli.definitions import DefinitionFile
from flowgres_cli.testing.cases import Case, Execution, Source
from flowgres_cli.testing.clock import AttemptKey
from flowgres_process.secret_keys import SecretKeys

Json = Any

# Only what is of cases that still run: what others left behind keeps nobody waiting.
_LOOK: LiteralString = """
select
  (select count(*) from flowgres.work_queue as q
   where q.tenant_id = any(%(tenants)s) and q.runner_id is null and not q.held
     and (q.due_at is null or q.due_at <= n.now)) as ready,
  (select coalesce(json_agg(json_build_array(q.execution_id, w.id, q.iteration)), '[]')
   from flowgres.work_queue as q
   join flowgres.workflow_steps as w
     on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
   where q.tenant_id = any(%(tenants)s) and q.runner_id is not null) as leased,
  exists (select from flowgres.pending_wakes as p where p.tenant_id = any(%(tenants)s)) as has_wakes,
  exists (select from flowgres.cancellations as c where c.tenant_id = any(%(tenants)s)) as has_orphans,
  exists (
    select from flowgres.executions as e
    where e.tenant_id = any(%(tenants)s) and e.deadline_at <= n.now) as has_expired,
  least(
    (select min(q.due_at) from flowgres.work_queue as q
     where q.tenant_id = any(%(tenants)s) and q.runner_id is null and q.due_at > n.now and isfinite(q.due_at)),
    (select min(e.deadline_at) from flowgres.executions as e
     where e.tenant_id = any(%(tenants)s) and e.deadline_at > n.now)) as due_at,
  (select coalesce(json_agg(distinct e.tenant_id), '[]') from flowgres.executions as e
   where e.tenant_id = any(%(tenants)s) and e.finished_at is null) as open
from (select flowgres.now() as now) as n
"""


@dataclass(frozen=True, slots=True)
class Look:
    """How far the cases are. `leased` are the attempts that are under way, `open` the tenants that have not ended."""

    ready_count: int
    leased: frozenset[AttemptKey]
    has_wakes: bool
    has_orphans: bool
    has_expired: bool
    due_at: datetime | None
    open: frozenset[str]


class RefusedError(Exception):
    """SQL refused a definition or a start; `refusal` has code, message and details."""

    def __init__(self, refusal: Mapping[str, Json]) -> None:
        super().__init__(refusal["message"])
        self.refusal = refusal


class Engine:
    """One connection, used by one task at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], keys: SecretKeys) -> None:
        self._connection = connection
        self._keys = keys
        self._checked: dict[tuple[str, ...], Mapping[str, Json]] = {}

    async def runner_count(self) -> int:
        """How many runners have registered."""
        return int(await self._value("select count(*) from flowgres.runners"))

    async def set_clock(self, moment: datetime) -> None:
        """Move the clock of this database."""
        await self._connection.execute("update flowgres_test.clock set at = %s", [moment])

    async def set_up(self, case: Case, slug: str) -> str:
        """Make a tenant with the secrets and workflows of a case; its id. Raises RefusedError for a workflow."""
        made = await self._value("select flowgres.register_tenant(p_name => %(slug)s, p_slug => %(slug)s)", slug=slug)
        tenant_id = str(made["tenant_id"])
        await self._use(tenant_id)
        # What tells somebody, or asks a model, does as if: unless a mock says otherwise.
        await self._connection.execute(
            "insert into flowgres.settings (tenant_id, name, value)"
            " values (%(id)s, 'notify_mode', '\"log\"'), (%(id)s, 'llm_mode', '\"stub\"')",
            {"id": tenant_id},
        )
        for name, value in case.secrets.items():
            sealed = self._keys.seal(value, tenant_id=tenant_id, name=name)
            await self._value(
                "select flowgres.put_secret(p_name => %(name)s, p_key_id => %(key_id)s, p_nonce => %(nonce)s,"
                " p_ciphertext => %(ciphertext)s, p_allow_short => true)",
                name=name,
                key_id=sealed.key_id,
                nonce=sealed.nonce,
                ciphertext=sealed.ciphertext,
            )
        for definition in case.source.definitions:
            await self._import(case.source, definition)
        # Nobody is told how cases end.
        await self._connection.execute("delete from flowgres.notifications where tenant_id = %s", [tenant_id])
        # Jitter is chance, and cases are not to depend on it: each backoff is as long as it may be.
        await self._connection.execute(
            "update flowgres.workflow_steps set retry_jitter = false where tenant_id = %s and retry_jitter", [tenant_id]
        )
        # What a case shows does not depend on what runs beside it: limits hold for none.
        await self._connection.execute(
            "update flowgres.workflow_steps set capability = flowgres.capability_of(p_type => type)"
            " where tenant_id = %s and capability like 'limit:%%'",
            [tenant_id],
        )
        await self._connection.execute(
            "update flowgres.workflow_versions set concurrency = null where tenant_id = %s and concurrency is not null",
            [tenant_id],
        )
        return tenant_id

    async def start(self, case: Case, tenant_id: str) -> str:
        """Start the execution of a case; its id. Raises RefusedError."""
        await self._use(tenant_id)
        started = await self._value(
            "select flowgres_api.start_execution(workflow => %(workflow)s, input => %(input)s)",
            workflow=case.source.workflow.name,
            input=Jsonb(case.input),
        )
        return str(started["execution_id"])

    async def look(self, tenant_ids: Sequence[str]) -> Look:
        """How far these tenants are."""
        cursor = await self._connection.execute(_LOOK, {"tenants": list(tenant_ids)})
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - it always has one row
        ready, leased, has_wakes, has_orphans, has_expired, due_at, still_open = row
        keys = frozenset(AttemptKey(*attempt) for attempt in leased)
        return Look(ready, keys, has_wakes, has_orphans, has_expired, due_at, frozenset(still_open))

    async def sweep(self) -> None:
        """Do at once what runners do once a second because time has passed."""
        await self._value("select flowgres.expire_executions(p_limit => 1000)")
        await self._value("select flowgres.wake_pending(p_limit => 1000)")
        await self._value("select flowgres.follow_pending(p_limit => 1000)")
        while await self._value("select flowgres.cancel_orphan()"):
            pass

    async def read(self, tenant_id: str, execution_id: str) -> Mapping[str, Json]:
        """An execution with all its steps."""
        await self._use(tenant_id)
        found: Mapping[str, Json] = await self._value(
            "select flowgres.get_execution(p_execution_id => %(id)s)", id=execution_id
        )
        return found

    async def read_items(self, tenant_id: str, execution_id: str) -> dict[str, Mapping[str, Json]]:
        """The items of its `foreach` steps, as step[0]."""
        rows = await self._value(
            "select coalesce(json_agg(json_build_object('step', s.step, 'iteration', s.iteration, 'status', s.status,"
            " 'output', s.output, 'error', s.error, 'attempts', s.attempts)), '[]')"
            " from flowgres.step_executions as s"
            " where s.tenant_id = %(tenant)s and s.execution_id = %(id)s and s.iteration >= 0",
            tenant=tenant_id,
            id=execution_id,
        )
        return {f"{row['step']}[{row['iteration']}]": row for row in rows}

    async def read_executions(self, tenant_id: str) -> dict[str, Execution]:
        """All executions of a tenant by id."""
        rows = await self._value(
            "select coalesce(json_agg(json_build_array(e.id, f.name, e.parent_execution_id, w.id)), '[]')"
            " from flowgres.executions as e"
            " join flowgres.workflows as f on f.tenant_id = e.tenant_id and f.id = e.workflow_id"
            " left join flowgres.executions as p on p.tenant_id = e.tenant_id and p.id = e.parent_execution_id"
            " left join flowgres.workflow_steps as w"
            " on w.tenant_id = p.tenant_id and w.version_id = p.version_id and w.index = e.parent_step_index"
            " where e.tenant_id = %(tenant)s",
            tenant=tenant_id,
        )
        return {one: Execution(name, None if parent is None else (parent, step)) for one, name, parent, step in rows}

    async def cancel(self, tenant_id: str, execution_id: str) -> None:
        """Give an execution up that nobody waits for any more."""
        await self._use(tenant_id)
        await self._value("select flowgres_api.cancel_execution(execution_id => %(id)s)", id=execution_id)

    async def _import(self, source: Source, definition: DefinitionFile) -> None:
        """Import a definition. Its check takes most of that time, and is made once for all cases that have the same."""
        key = (definition.file, *(one.file for one in source.definitions))
        checked = self._checked.get(key)
        if checked is None:
            # `validate` has parsed its expressions, as the front does before it calls this.
            imported = await self._value(
                "select flowgres.import_checked_workflow(p_definition => %(d)s, p_activate => true)",
                d=Jsonb(definition.document),
            )
            self._checked[key] = await self._value(
                "select v.definition from flowgres.workflow_versions as v where v.id = %(id)s",
                id=imported["version_id"],
            )
            return
        await self._value(
            "select flowgres.request_version(p_workflow => w, p_version => (v).version)"
            " from flowgres.lock_workflow("
            "   p_tenant_id => flowgres.require_tenant(), p_name => %(name)s, p_kind => 'dag') as w,"
            " lateral flowgres.write_version("
            "   p_workflow => w, p_source => %(d)s, p_definition => %(d)s, p_state => 'ready') as v",
            name=checked["name"],
            d=Jsonb(checked),
        )

    async def _use(self, tenant_id: str) -> None:
        await self._connection.execute("select set_config('flowgres.tenant_id', %s, false)", [tenant_id])

    async def _value(self, query: LiteralString, **parameters: Any) -> Any:
        try:
            cursor = await self._connection.execute(query, parameters)
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith("FG"):
                raise
            raise RefusedError(_refusal(error)) from error
        row = await cursor.fetchone()
        return None if row is None else row[0]


def _refusal(error: psycopg.Error) -> dict[str, Json]:
    details: Json = error.diag.message_detail
    with contextlib.suppress(ValueError):
        details = json.loads(details or "null")
    refusal = {"code": error.diag.constraint_name, "message": error.diag.message_primary, "details": details}
    return {name: value for name, value in refusal.items() if value is not None}
