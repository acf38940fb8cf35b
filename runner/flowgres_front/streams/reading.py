"""Reading events as one who may see them, in transactions that end at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowgres_front.database import Caller
from flowgres_front.streams.positions import Snapshot, TenantPosition
from flowgres_front.streams.topics import EVERYBODYS, Event

EVENTS_PER_CHANGE = 8
"""About so many: of a tenant pages are measured in changes."""
_READ = (
    "select * from flowgres.read_events(p_execution_ids => %(ids)s::uuid[], p_after => %(after)s::integer[],"
    " p_until => %(until)s::integer[], p_limit => %(limit)s)"
)


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """Events of one execution. `is_last`: there were no more; `has_ended`: and there will be none."""

    events: list[Event]
    is_last: bool
    has_ended: bool
    event_seq: int


@dataclass(frozen=True, slots=True)
class TenantPage:
    """Events of a tenant and the position behind them; `is_complete` is False when some are missing before them."""

    events: list[Event]
    position: TenantPosition
    is_last: bool
    is_complete: bool


async def read_execution(caller: Caller, execution_id: str, after: int, most: int) -> ExecutionPage:
    """The next events of one execution. Raises the 404 of an execution that the caller's tenant does not have."""
    # First the end, and then the events: so none can be missing before an end that was seen.
    found = await caller.call("select flowgres.find_stream(p_execution_id => %(id)s)", id=execution_id)
    events = await read_executions(caller, [(execution_id, after)], most)
    is_last = len(events) < most
    return ExecutionPage(events, is_last, is_last and found["has_ended"], found["event_seq"])


async def read_executions(caller: Caller, wanted: Sequence[tuple[str, int]], most: int) -> list[Event]:
    """The next events of several executions, each after its number: up to `most` of each, in order."""
    rows = await caller.rows(
        _READ,
        ids=[execution_id for execution_id, _ in wanted],
        after=[after for _, after in wanted],
        until=[None] * len(wanted),
        limit=most,
    )
    return [_event(row, id=str(row["seq"])) for row in rows]


async def read_tenant(caller: Caller, position: TenantPosition, most: int) -> TenantPage:
    """The next events of the caller's tenant behind a position, about so many."""
    most_changes = max(1, most // EVENTS_PER_CHANGE)
    found = await caller.call(
        "select flowgres.read_changes(p_seen => %(seen)s::pg_snapshot, p_xid => %(xid)s::bigint,"
        " p_execution_id => %(execution_id)s::uuid, p_seq => %(seq)s::integer, p_limit => %(limit)s)",
        seen=str(position.snapshot),
        xid=position.xid,
        execution_id=position.execution_id,
        seq=position.seq,
        limit=most_changes,
    )
    changes: list[tuple[int, str, int, int]] = [tuple(change) for change in found["changes"]]
    snapshot = Snapshot.parse(found["snapshot"])
    is_last = len(changes) < most_changes
    rows = await _read_ranges(caller, changes)
    events = []
    for row in rows:
        xid, execution_id, seq = changes[row["place"] - 1][0], str(row["execution_id"]), row["seq"]
        if not position.covers(xid, execution_id, seq):
            # The rest of the transaction that the position is within comes first, before those with lower numbers.
            seen = position.snapshot if xid == position.xid else position.read.joined(snapshot.before(xid))
            events.append(_event(row, id=str(TenantPosition(seen, xid, execution_id, seq)), xid=xid))
    if is_last:
        return TenantPage(events, TenantPosition(snapshot), is_last, found["is_complete"])
    # All transactions up to the last of the page are read, and no other that was not read before.
    reached, last = position.read, changes[-1][0]
    if last != position.xid:
        reached = reached.joined(snapshot.before(last + 1))
    return TenantPage(events, TenantPosition(reached), is_last, found["is_complete"])


def reset_at(position: TenantPosition) -> Event:
    """What is sent in the place of events that cannot be read any more."""
    data = {
        "type": "reset",
        "code": "position_lost",
        "message": "what happened since the last event is no longer kept; the stream goes on from here",
    }
    return Event("", 0, "reset", "", "", json.dumps(data), str(position), xid=EVERYBODYS)


async def _read_ranges(caller: Caller, changes: Sequence[tuple[int, str, int, int]]) -> list[dict[str, Any]]:
    if not changes:
        return []
    return await caller.rows(
        _READ,
        ids=[change[1] for change in changes],
        after=[change[2] for change in changes],
        until=[change[3] for change in changes],
        limit=max(change[3] - change[2] for change in changes),
    )


def _event(row: dict[str, Any], *, id: str, xid: int = 0) -> Event:
    return Event(
        execution_id=str(row["execution_id"]),
        seq=row["seq"],
        type=row["type"],
        workflow=row["workflow"],
        status=row["status"],
        data=row["data"],
        id=id,
        xid=xid,
    )
