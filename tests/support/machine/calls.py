"""Operations made into calls: whom they are about is looked up when their round begins."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg

from tests.support.database import Db, Row, TenantRole, postgrest_request
from tests.support.machine.definitions import STARTED
from tests.support.machine.reports import Outcome, chain_of, reports_of
from tests.support.machine.script import Op
from tests.support.machine.stage import Call, Pause, Seat
from tests.support.machine.world import Lease, Runner, World

REFUSALS = {
    "start": {"workflow_not_found", "workflow_not_active"},
    "start_many": {"workflow_not_found", "workflow_not_active"},
    "cancel": {"execution_ended"},
    "activate": {"workflow_not_found"},
    "deactivate": {"workflow_not_found"},
}
"""Answers of the API that are as they should be, whatever happens beside the call."""

LOCK_TIMEOUTS = "lock timeouts (55P03) of reports"
PASSED_OVER = "reports passed over"
COMPLETE = "select * from flowgres.complete_and_claim(%s, %s::jsonb, %s, null)"
COMPLETE_CHAINS = """
select * from flowgres.complete_chains(
  %s, %s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[], %s::uuid[], %s::smallint[], %s::smallint[], %s::jsonb[],
  null, %s, null)
"""


def send(db: Db, runner_id: str, results: list[Outcome], want: int, counts: Counter[str]) -> list[Row]:
    """Report as a runner does: a batch that met a lock for too long is halved, and a single one is left for later."""
    try:
        return db.all(COMPLETE, runner_id, json.dumps(results), want)
    except psycopg.errors.LockNotAvailable:
        counts[LOCK_TIMEOUTS] += 1
        if len(results) <= 1:
            return []
    middle = len(results) // 2
    return send(db, runner_id, results[:middle], 0, counts) + send(db, runner_id, results[middle:], 0, counts)


def bind(world: World, op: Op, counts: Counter[str]) -> Call:
    """The call that an operation has become, now that it is known what there is."""
    if op.kind in ("work", "claim", "release", "release_unknown", "beat", "idle", "contexts", "stop", "chains"):
        return _runner_call(world, op, counts)
    if op.kind in ("rescue", "expire", "orphans", "wake"):
        return _sweep(op)
    if op.kind in ("cancel", "get", "hold", "hold_row"):
        return _execution_call(world, op)
    return _workflow_call(world, op)


def _runner_call(world: World, op: Op, counts: Counter[str]) -> Call:
    alive, gone = world.alive(), [runner for runner in world.runners if runner.is_gone]
    # Now and then somebody who has signed off has something to say.
    runner = gone[-1] if op.who >= 10 and gone else alive[op.who % len(alive)]
    if op.picks and runner in alive:
        # Better one of those that have something to speak of.
        runner = next((one for one in (runner, *alive) if one.pick(op.picks, world.tree)), runner)
    leases = runner.pick(op.picks, world.tree)
    names = " ".join(lease.name for lease in leases)
    keys = json.dumps([lease.key for lease in leases])

    def simple(text: str, query: str, *arguments: Any, merge: Callable[[Any], None] = lambda _: None) -> Call:
        return Call(op.kind, f"{runner.name}: {text}", lambda s, _: s.runner.value(query, *arguments), merge=merge)

    # Without a lease there is nothing to speak of: ask for some.
    if op.kind in ("work", "claim") or (op.picks and not leases):
        return _work(world, op, counts, runner, leases)
    if op.kind == "chains":
        return _chains(world, op, counts, runner, leases)
    if op.kind == "release":
        query = "select flowgres.release(%s, %s::jsonb)"
        return simple(f"release {names}", query, runner.id, keys, merge=lambda _: _end(leases))
    if op.kind == "release_unknown":
        query = "select flowgres.release_unknown(%s, %s::jsonb)"
        known = json.dumps([[lease.row["queue_id"], lease.row["token"]] for lease in leases])
        others = [lease for lease in runner.leases if lease not in leases]
        return simple(f"release all but {names}", query, runner.id, known, merge=lambda _: _end(others))
    if op.kind == "beat":
        query = "select flowgres.heartbeat(%s, %s::jsonb, '{}')"
        return simple(f"heartbeat {names}", query, runner.id, keys, merge=lambda beat: _beat(runner, beat))
    if op.kind == "idle":
        return simple("idle", "select flowgres.declare_idle(%s, true)", runner.id)
    if op.kind == "contexts":
        query = "select count(*) from flowgres.get_contexts(%s, %s::jsonb)"
        return simple(f"contexts {names}", query, runner.id, keys)
    return simple("sign off", "select flowgres.stop_runner(%s)", runner.id, merge=lambda _: _leave(runner))


def _work(world: World, op: Op, counts: Counter[str], runner: Runner, leases: list[Lease]) -> Call:
    results: list[Outcome] = []
    texts = []
    over = []
    for lease, says in zip(leases, op.says, strict=False):
        reports, said = reports_of(world, lease, says)
        if not reports:
            continue
        results += reports
        texts.append(f"{lease.name}={said}")
        if says not in ("started", "stale"):
            over.append(lease)

    want = op.want if results else max(op.want, 4)
    text = f"{runner.name}: {'report ' + ' '.join(texts) + ', ' if texts else ''}want {want}"
    return Call(
        "work" if results else "claim",
        text,
        lambda seat, _: send(seat.runner, runner.id, results, want, counts),
        rows=lambda answer: _take(world, runner, answer),
        merge=lambda answer: _end_reported(over, answer, counts),
    )


def _chains(world: World, op: Op, counts: Counter[str], runner: Runner, leases: list[Lease]) -> Call:
    """Leases whose whole chain went well, as runners report most of them."""
    leases = [lease for lease in leases if chain_of(world, lease)]
    columns = ("tenant_id", "execution_id", "queue_id", "token", "version_id", "step_index")
    arrays: list[list[Any]] = [[lease.row[column] for lease in leases] for column in columns]
    outputs = [chain_of(world, lease) for lease in leases]
    arrays += [[len(chain) for chain in outputs], [json.dumps([[1.0, out] for out in chain]) for chain in outputs]]

    def act(seat: Seat, _: Pause) -> list[Row]:
        try:
            # Not `Db.all`, which takes lists for JSON.
            return seat.runner.connection.execute(COMPLETE_CHAINS, [runner.id, *arrays, op.want]).fetchall()
        except psycopg.errors.LockNotAvailable:
            # Somebody holds a row of the queue: a runner says it again, in the form that passes over that.
            counts[LOCK_TIMEOUTS] += 1
            return [{**lease.row, "is_passed_over": True} for lease in leases]

    names = " ".join(f"{lease.name}+{len(chain) - 1}" for lease, chain in zip(leases, outputs, strict=True))
    return Call(
        "chains",
        f"{runner.name}: chains {names}, want {op.want}",
        act,
        rows=lambda answer: _take(world, runner, answer),
        merge=lambda answer: _end_reported(leases, answer, counts),
    )


def _take(world: World, runner: Runner, answer: list[Row]) -> None:
    """Add what was leased; a row that was passed over is no lease, but a report to be sent again."""
    runner.leases += [_leased(world, runner, row) for row in answer if not row["is_passed_over"]]


def _end_reported(leases: list[Lease], answer: list[Row], counts: Counter[str]) -> None:
    passed_over = {row["queue_id"] for row in answer if row["is_passed_over"]}
    counts[PASSED_OVER] += len(passed_over)
    _end([lease for lease in leases if lease.row["queue_id"] not in passed_over])


def _leased(world: World, runner: Runner, row: Row) -> Lease:
    lease = world.lease(row)
    if world.is_cancelled(str(row["execution_id"])):
        world.find("a step was leased after its cancel", f"{lease.name} to {runner.name}")
    if world.version(str(row["version_id"]))["workflow_id"] in world.deleted:
        world.find("a step was leased after its workflow was deleted", f"{lease.name} to {runner.name}")
    return lease


def _end(leases: list[Lease]) -> None:
    for lease in leases:
        lease.is_over = True


def _leave(runner: Runner) -> None:
    runner.is_gone = True


def _beat(runner: Runner, beat: dict[str, Any]) -> None:
    runner.is_gone = runner.is_gone or not beat["alive"]
    _end([lease for lease in runner.leases if lease.row["queue_id"] in beat["lost"]])


def _sweep(op: Op) -> Call:
    if op.kind == "orphans":

        def cancel_orphans(seat: Seat, _: Pause) -> int:
            count = 0
            while count < 20 and seat.runner.value("select flowgres.cancel_orphan()"):
                count += 1
            return count

        return Call("orphans", "cancel orphans", cancel_orphans)
    name = {"rescue": "rescue_expired_leases", "expire": "expire_executions", "wake": "wake_pending"}[op.kind]
    limit = 200 if op.who < 9 else 1
    return Call(op.kind, f"{name}({limit})", lambda s, _: s.runner.value(f"select flowgres.{name}(%s)", limit))


def _tenant_call(world: World, op: Op, text: str, function: str, *, role: TenantRole = "member", **more: Any) -> Call:
    merge, arguments = more.pop("merge", lambda _: None), more

    def act(seat: Seat, pause: Pause) -> Any:
        is_kept = op.hold != "rollback"
        with postgrest_request(seat.api, role, commit=is_kept, tenant_id=world.tenant.tenant_id) as api:
            value = api.call(f"flowgres_api.{function}", **arguments)
            if op.hold:
                pause()
        return value

    return Call(
        op.kind,
        f"{role}: {text}{' [held, ' + op.hold + ']' if op.hold else ''}",
        act,
        hold=op.hold,
        allowed=frozenset(REFUSALS.get(op.kind, ())),
        merge=(lambda _: None) if op.hold == "rollback" else merge,
    )


def _execution_call(world: World, op: Op) -> Call:
    pool = world.ended if op.who == 11 and world.ended else world.busy() or world.open or world.ended
    if not pool:
        return Call(op.kind, "nothing to do", lambda *_: None)
    execution = pool[op.who % len(pool)]
    name = world.labels[execution]
    if op.kind == "cancel":
        return _tenant_call(
            world, op, f"cancel {name}", "cancel_execution", execution_id=execution,
            merge=lambda _: world.cancelled.add(execution),
        )  # fmt: skip
    if op.kind == "get":
        return _tenant_call(world, op, f"get {name}", "get_execution", role="viewer", execution_id=execution)

    lock = "select from flowgres.executions where id = %s for no key update"
    if op.kind == "hold_row":
        # Not one that anybody holds: whoever comes first waits here, with whatever it has locked before.
        lock = "select from flowgres.work_queue where execution_id = %s order by id limit 1 for update skip locked"

    def hold(seat: Seat, pause: Pause) -> None:
        with seat.stranger.connection.transaction():
            seat.stranger.run(lock, execution)
            pause()

    return Call(
        op.kind,
        f"stranger: hold {'a queue row of ' * (op.kind == 'hold_row')}{name}",
        hold,
        hold="commit",
        is_first=True,
    )


def _workflow_call(world: World, op: Op) -> Call:
    workflow = STARTED[op.who % len(STARTED)]
    if op.kind == "start":
        return _tenant_call(
            world, op, f"start {workflow}", "start_execution", workflow=workflow,
            merge=lambda answer: world.accepted.add(answer["execution_id"]),
        )  # fmt: skip
    if op.kind == "start_many":
        return _tenant_call(
            world, op, f"start 2 {workflow}", "start_executions", workflow=workflow, inputs=[{}, {}],
            merge=lambda answer: world.accepted.update(answer),
        )  # fmt: skip
    if op.kind == "delete":
        return _delete(world, op, workflow)
    return _tenant_call(world, op, f"{op.kind} {workflow}", f"{op.kind}_workflow", workflow=workflow)


def _delete(world: World, op: Op, workflow: str) -> Call:
    is_forced = op.who % 3 > 0

    call = _tenant_call(
        world, op, f"delete {workflow}{' and cancel' if is_forced else ''}", "delete_workflow", workflow=workflow,
        cancel_running=is_forced, merge=lambda answer: world.deleted.add(answer["id"]),
    )  # fmt: skip
    allowed = {"workflow_not_found"} | (set() if is_forced else {"workflow_in_use"})
    return Call(call.kind, call.text, call.act, hold=call.hold, allowed=frozenset(allowed), merge=call.merge)
