"""The SQL calls of the runner; those about ends that are traced stand in `ends.py`.

A runner calls functions of the schema `flowgres` and reads no table. JSON goes out as text, because the hot ones are
put together from parts that are text already; uuids are text both ways.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from flowgres_runner.database.connection import Link

STEP_COLUMNS = (
    # Ids as text, as they are used. The rest, too: its size bounds the cache of contexts, and parsing waits until it is
    # known to be needed.
    "queue_id, token, tenant_id::text, execution_id::text, version_id::text, step_index, iteration, attempt, "
    "generation, handed, context::text, resume::text, is_passed_over, item::text, round, previous::text, "
    "overrides::text"
)
_CLAIM = f"select {STEP_COLUMNS} from flowgres.claim(%s::uuid, %s::int, %s::uuid, %s::jsonb)"  # noqa: S608 - constants
_COMPLETE = (
    f"select {STEP_COLUMNS} from flowgres.complete_and_claim("  # noqa: S608 - constants
    "%s::uuid, %s::jsonb, %s::int, %s::uuid, %s::int, %s::jsonb)"
)
_COMPLETE_CHAINS = (
    f"select {STEP_COLUMNS} from flowgres.complete_chains("  # noqa: S608 - constants
    "%s::uuid, %s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[], %s::uuid[], %s::smallint[], %s::smallint[], "
    "%s::jsonb[], %s::jsonb, %s::int, %s::uuid, %s::int, %s::jsonb)"
)

CONTEXTS_AT_ONCE = 1 << 20
LEFT = '"left"'
"""In the place of what a step resumes with: it is large, and `get_contexts` has it."""


class ClaimedStep(NamedTuple):
    """A leased step; `token` is its fence.

    `context` and `resume` are JSON text; there is no context when the step was handed on from its parent, when another
    row of its execution brings it, or when it is large; a large `resume` is LEFT. `iteration` is -1 for a step that is
    not iterated, else `item` is the JSON text of its item, None when that is large. `round` is None in the first round
    and where nothing repeats, else `previous` is the JSON text of what the round before gave, None when that is large.
    `is_passed_over`: this is no lease; it names a report of the same call of which nothing was recorded, because
    somebody else holds the execution. `overrides`, JSON text, is what of the step's policy is another in this
    execution.
    """

    queue_id: int
    token: int
    tenant_id: str
    execution_id: str
    version_id: str
    step_index: int
    iteration: int
    attempt: int
    generation: int
    handed: bool
    context: str | None
    resume: str | None
    is_passed_over: bool | None = None
    item: str | None = None
    round: int | None = None
    previous: str | None = None
    overrides: str | None = None

    @property
    def lacks(self) -> bool:
        """Whether something is left in the database that this step cannot do without."""
        is_item_left = self.iteration >= 0 and self.item is None
        return self.resume == LEFT or is_item_left or (self.round is not None and self.previous is None)

    @property
    def lease(self) -> list[Any]:
        """How the SQL functions name this lease."""
        return [self.tenant_id, self.execution_id, self.queue_id, self.token]


class Brought(NamedTuple):
    """What a leased step needs and its claim may have left in the database: JSON texts, see ClaimedStep."""

    context: str | None
    resume: str | None
    item: str | None
    previous: str | None


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A secret as it lies in the database."""

    name: str
    key_id: str
    nonce: bytes
    ciphertext: bytes


async def claim(
    link: Link, *, runner_id: str, want: int, after_tenant_id: str | None, caps: str | None = None
) -> list[ClaimedStep]:
    """Lease up to `want` ready steps, beginning with the tenant after `after_tenant_id`.

    `caps` says how many at most of a tenant, and under "*" of any other: text of a JSON object.
    """
    rows = await link.call(_CLAIM, (runner_id, want, after_tenant_id, caps))
    return [ClaimedStep._make(row) for row in rows]


async def complete_and_claim(
    link: Link,
    *,
    runner_id: str,
    results: str,
    want: int,
    after_tenant_id: str | None,
    room: int | None = None,
    caps: str | None = None,
) -> list[ClaimedStep]:
    """Record results (text of a JSON array), lease up to `room` steps that follow, and up to `want` others."""
    rows = await link.call(_COMPLETE, (runner_id, results, want, after_tenant_id, room, caps))
    return [ClaimedStep._make(row) for row in rows]


async def complete_chains(
    link: Link,
    *,
    runner_id: str,
    chains: Sequence[str],
    results: str | None,
    want: int,
    after_tenant_id: str | None,
    room: int | None,
    caps: str | None = None,
) -> list[ClaimedStep]:
    """The same with whole chains beside the results: the texts of eight arrays, see `chain_arrays`."""
    rows = await link.call(_COMPLETE_CHAINS, (runner_id, *chains, results, want, after_tenant_id, room, caps))
    return [ClaimedStep._make(row) for row in rows]


async def register_runner(link: Link, *, runner_id: str, info: dict[str, Any]) -> dict[str, Any]:
    """Make the runner known; returns the installation's intervals and limits."""
    return cast(
        "dict[str, Any]",
        await _value(link, "select flowgres.register_runner(%s::uuid, %s::jsonb)", (runner_id, json.dumps(info))),
    )


async def heartbeat(
    link: Link, *, runner_id: str, running: Sequence[Any], stats: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """Show that the runner lives; returns {alive, drain, lost, now}."""
    rows = await link.call(
        "select flowgres.heartbeat(%s::uuid, %s::jsonb, %s::jsonb)",
        (runner_id, json.dumps(running), json.dumps(stats)),
        seconds=seconds,
    )
    return cast("dict[str, Any]", rows[0][0])


async def release(link: Link, *, runner_id: str, leases: Sequence[Any]) -> int:
    """Give leases back; their attempts are not counted. Returns how many: not those whose rows somebody holds."""
    return int(await _value(link, "select flowgres.release(%s::uuid, %s::jsonb)", (runner_id, json.dumps(leases))))


async def release_unknown(link: Link, *, runner_id: str, known: Sequence[Any]) -> int:
    """Give back every lease of this runner that is not among `known`: [[queue id, token], ...]; returns how many."""
    value = await _value(link, "select flowgres.release_unknown(%s::uuid, %s::jsonb)", (runner_id, json.dumps(known)))
    return int(value or 0)


async def declare_idle(link: Link, *, runner_id: str, idle: bool) -> float | None:
    """Ask for NOTIFY when work arrives, or no longer; returns the seconds to the next due step."""
    value = await _value(link, "select flowgres.declare_idle(%s::uuid, %s::boolean)", (runner_id, idle))
    return None if value is None else float(value)


async def stop_runner(link: Link, *, runner_id: str) -> None:
    """Say goodbye."""
    await link.call("select flowgres.stop_runner(%s::uuid)", (runner_id,), seconds=5)


async def get_version(link: Link, *, version_id: str) -> str | None:
    """A version of a workflow with its compiled steps, as JSON text."""
    query = "select flowgres.get_version(%s::uuid)::text"
    return cast("str | None", await _value(link, query, (version_id,)))


async def get_contexts(link: Link, *, runner_id: str, leases: Sequence[Any]) -> dict[int, Brought]:
    """What leased steps need, by queue id.

    About CONTEXTS_AT_ONCE bytes come in one answer, and one context in any case. Where the context is None, it is to be
    asked for again, once the others are done with.
    """
    rows = await link.call(
        "select queue_id, context::text, resume::text, item::text, previous::text"
        " from flowgres.get_contexts(%s::uuid, %s::jsonb, %s::bigint)",
        (runner_id, json.dumps(leases), CONTEXTS_AT_ONCE),
    )
    return {row[0]: Brought._make(row[1:]) for row in rows}


async def get_instances(link: Link, *, runner_id: str, leases: Sequence[Any]) -> dict[int, Any]:
    """The instances whose transitions started the executions of leased steps, by queue id, where there is one."""
    rows = await link.call(
        "select queue_id, instance from flowgres.get_instances(%s::uuid, %s::jsonb)", (runner_id, json.dumps(leases))
    )
    return dict(rows)


async def get_secrets(link: Link, *, tenant_id: str, names: Sequence[str]) -> list[StoredSecret]:
    """Encrypted secrets of a tenant; names that do not exist are left out."""
    rows = await link.call(
        "select name, key_id, nonce, ciphertext from flowgres.get_secrets(%s::uuid, %s::text[])",
        (tenant_id, list(names)),
    )
    return [StoredSecret(row[0], row[1], bytes(row[2]), bytes(row[3])) for row in rows]


async def rescue_expired_leases(link: Link, *, limit: int) -> int:
    """Free leases of runners that are gone; returns how many."""
    return int(await _value(link, "select flowgres.rescue_expired_leases(%s::int)", (limit,)) or 0)


async def expire_executions(link: Link, *, limit: int) -> int:
    """Fail executions whose active time has run out; returns how many."""
    return int(await _value(link, "select flowgres.expire_executions(%s::int)", (limit,)) or 0)


async def wake_pending(link: Link, *, limit: int) -> int:
    """Wake steps whose rows somebody held when their children ended; returns how many."""
    return int(await _value(link, "select flowgres.wake_pending(%s::int)", (limit,)) or 0)


async def follow_pending(link: Link, *, limit: int) -> int:
    """Move on instances that somebody held when their executions ended; returns how many are settled."""
    return int(await _value(link, "select flowgres.follow_pending(%s::int)", (limit,)) or 0)


async def admit(link: Link, *, limit: int) -> int:
    """Let go what waits for limits, in so many lines; returns how many steps."""
    return int(await _value(link, "select flowgres.admit(%s::int)", (limit,)) or 0)


async def cancel_orphan(link: Link) -> bool:
    """Cancel child executions whose parents have ended, a bounded number; False when there is none that is free."""
    return bool(await _value(link, "select flowgres.cancel_orphan()", ()))


async def settle_pauses(link: Link, *, limit: int) -> bool:
    """Stop clocks of what was paused, let go what was resumed, a bounded number; True when there is more to do."""
    return bool(await _value(link, "select flowgres.settle_pauses(%s::int)", (limit,)))


async def create_history(link: Link) -> dict[str, int]:
    """Make the next period of history if it is time: {created, postponed}, in periods."""
    return cast("dict[str, int]", await _value(link, "select flowgres.create_history()", ()) or {})


async def retire_history(link: Link, *, limit: int) -> dict[str, int]:
    """Drop an old period of history, or delete a piece of what is old elsewhere: {retired, deleted, postponed}."""
    return cast("dict[str, int]", await _value(link, "select flowgres.retire_history(%s::int)", (limit,)) or {})


async def apply_retentions(link: Link, *, limit: int) -> dict[str, Any]:
    """Delete what the retention of one workflow or tenant lets go: {looked, deleted, is_due}, in executions."""
    return cast("dict[str, Any]", await _value(link, "select flowgres.apply_retentions(%s::int)", (limit,)) or {})


async def prune(link: Link, *, limit: int) -> int:
    """Delete what is older than its retention, a bounded piece of it; returns how many rows."""
    return int(await _value(link, "select flowgres.prune(%s::int)", (limit,)) or 0)


async def measure_history(link: Link, *, limit: int) -> int:
    """Add what has ended to the figures, of about so many executions; returns how many were looked at."""
    return int(await _value(link, "select flowgres.measure_history(%s::int)", (limit,)) or 0)


async def prune_metrics(link: Link, *, limit: int) -> int:
    """Delete figures of spans without history, a bounded piece of it; returns how many rows."""
    return int(await _value(link, "select flowgres.prune_metrics(%s::int)", (limit,)) or 0)


class Fired(NamedTuple):
    """What came of firing what was due: how many were taken, how many started or moved, and when the next is due."""

    picked: int
    done: int
    next_seconds: float | None


async def fire_schedules(link: Link, *, limit: int) -> Fired:
    """Start what schedules have due, of at most so many schedules."""
    query = "select p_picked, p_started, p_next_seconds from flowgres.fire_schedules(%s::int)"
    return Fired(*(await link.call(query, (limit,)))[0])


async def fire_slas(link: Link, *, limit: int) -> Fired:
    """Move on what has been in its state for too long, of at most so many instances."""
    query = "select p_picked, p_moved, p_next_seconds from flowgres.fire_slas(%s::int)"
    return Fired(*(await link.call(query, (limit,)))[0])


async def fire_approvals(link: Link, *, limit: int) -> Fired:
    """Remind of approvals, and end those whose time is over, of at most so many executions."""
    query = "select p_picked, p_moved, p_next_seconds from flowgres.fire_approvals(%s::int)"
    return Fired(*(await link.call(query, (limit,)))[0])


async def start_changes(link: Link, *, limit: int) -> tuple[int, int]:
    """Start what so many written changes of tables start: how many were taken, and how many executions they started."""
    rows = await link.call("select p_picked, p_started from flowgres.start_changes(%s::int)", (limit,))
    return rows[0][0], rows[0][1]


async def realign_schedules(link: Link, *, limit: int) -> int:
    """Let schedules that fired by a clock which was ahead go by the clock again; returns how many."""
    return int(await _value(link, "select flowgres.realign_schedules(%s::int)", (limit,)) or 0)


async def unchecked_version(link: Link, *, lease_seconds: float) -> tuple[str, str] | None:
    """A version imported by SQL alone, whose expressions nobody has parsed yet: (id, definition as JSON).

    No other runner gets it for so long.
    """
    query = "select version_id, definition::text from flowgres.unchecked_versions(1, %s::float8)"
    rows = await link.call(query, (lease_seconds,))
    return (rows[0][0], rows[0][1]) if rows else None


async def custom_step_types(link: Link) -> dict[str, Any]:
    """Step types beside the built-in ones, by name: {config_schema, secret_places}."""
    return cast("dict[str, Any]", await _value(link, "select flowgres.custom_step_types()", ()))


async def confirm_version(link: Link, *, version_id: str, errors: Sequence[Any]) -> None:
    """Say what parsing found; without errors the version may run."""
    await link.call("select flowgres.confirm_version(%s::uuid, %s::jsonb)", (version_id, json.dumps(errors)))


async def _value(link: Link, query: str, parameters: Sequence[Any]) -> Any:
    rows = await link.call(query, parameters)
    return rows[0][0] if rows else None


async def report_progress(link: Link, *, runner_id: str, reports: Sequence[dict[str, Any]]) -> None:
    """Tell how far steps are: [{t, x, q, k, p, m}], the lease, a fraction and words."""
    await link.call("select flowgres.report_progress(%s::uuid, %s::jsonb)", (runner_id, json.dumps(reports)))
