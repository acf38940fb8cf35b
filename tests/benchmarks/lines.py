"""The lines of the table, in its order, with their bars."""

from __future__ import annotations

from tests.benchmarks.figures import Bar, Line, at_least, at_most
from tests.benchmarks.versions import BEFORE


def _before(key: str, unit: str, bar: Bar | None = None) -> tuple[Line, Line]:
    """A figure of the version before, and ours against it."""
    return (
        Line(f"{BEFORE}.{key}", "  the version before", unit),
        Line(f"{key}/{BEFORE}", "  against the version before", "x", bar, (key, f"{BEFORE}.{key}")),
    )


def _inputs(key: str, size: str) -> tuple[Line, Line]:
    return (
        Line(key, f"W6 W1 with inputs of {size} KB", "steps/s"),
        Line(f"{key}/w1", "  against W1", "x", None, (key, "w1.one")),
    )


def _lists(key: str, title: str) -> tuple[Line, Line, Line]:
    few, many = f"w8.{key}.few", f"w8.{key}.many"
    return (
        Line(few, f"W8 {title}, beside {{few_foreign}} foreign rows, p50", "ms"),
        Line(many, "  beside {many_foreign}", "ms"),
        Line(f"w8.{key}.many/few", "  against the few", "x", at_most(1.5), (many, few)),
    )


def _periods(leases: int) -> tuple[Line, ...]:
    five, twelve, thirty = (f"periods.{count}.{leases}" for count in (5, 12, 30))
    what = "1 lease" if leases == 1 else f"{leases} leases"
    return (
        Line(five, f"advance of {what}, 5 periods of history, p50", "ms"),
        Line(twelve, "  12 periods", "ms"),
        Line(f"{twelve}/5", "  against 5 periods", "x", at_most(1.1), (twelve, five)),
        Line(thirty, "  30 periods", "ms"),
        Line(f"{thirty}/5", "  against 5 periods", "x", None, (thirty, five)),
    )


def _held(key: str, title: str) -> tuple[Line, ...]:
    before, middle, last, after = (f"held.{key}.{when}" for when in ("before", "middle", "last", "after"))
    return (
        Line(before, f"{title} before a snapshot is held, p50", "ms"),
        Line(after, "  after {held} s of load under it", "ms"),
        Line(f"{after}/before", "  against before", "x", at_most(2, stretch=1.5), (after, before)),
        Line(middle, "  in the middle third of that time", "ms"),
        Line(last, "  in the last third", "ms"),
        Line(f"{last}/middle", "  against the middle third", "x", at_most(1.2), (last, middle)),
    )


LINES: tuple[Line, ...] = (
    Line("pgbench", "pgbench, 32 clients, one-row update per commit", "commits/s"),
    Line("w1.one", "W1 chain of 6, one runner", "steps/s", at_least(15_000)),
    *_before("w1.one", "steps/s", at_least(2, stretch=3)),
    Line("w1/pgbench", "  against pgbench", "x", at_least(3, stretch=4.5), ("w1.one", "pgbench")),
    Line("w1.busy", "  share of all cores at work", "%"),
    Line("w1.two", "W1 chain of 6, two runners", "steps/s"),
    Line("w1.two/one", "  against one runner", "x", at_least(1.25), ("w1.two", "w1.one")),
    Line("w1.wal", "WAL per W1 step", "bytes", at_most(680, stretch=450)),
    *_before("w1.wal", "bytes"),
    Line("idle.p50", "idle latency of 6 steps, p50 (client)", "ms", at_most(6.5, stretch=4)),
    *_before("idle.p50", "ms"),
    Line("idle.p99", "idle latency of 6 steps, p99 (client)", "ms", at_most(15)),
    Line("idle.db.p50", "  the same by the database's clock, p50", "ms"),
    Line("idle.db.p99", "  the same by the database's clock, p99", "ms"),
    Line("dbos", "DBOS, chain of 6", "steps/s"),
    Line("dbos.p50", "  idle latency of 6 steps, p50", "ms"),
    Line("dbos.p99", "  idle latency of 6 steps, p99", "ms"),
    Line("w1/dbos", "  W1 against it", "x", at_least(130, stretch=200), ("w1.one", "dbos")),
    Line("procrastinate", "Procrastinate, chain of 6", "steps/s"),
    Line("procrastinate.p50", "  idle latency of 6 steps, p50", "ms"),
    Line("procrastinate.p99", "  idle latency of 6 steps, p99", "ms"),
    Line("w1/procrastinate", "  W1 against it", "x", at_least(25), ("w1.one", "procrastinate")),
    Line("pgqueuer", "pgqueuer, chain of 6", "steps/s"),
    Line("pgqueuer.p50", "  idle latency of 6 steps, p50", "ms"),
    Line("pgqueuer.p99", "  idle latency of 6 steps, p99", "ms"),
    Line("w1/pgqueuer", "  W1 against it", "x", at_least(7), ("w1.one", "pgqueuer")),
    Line("w2", "W2 fan 1 -> 50 -> 1", "steps/s", at_least(15_000)),
    *_before("w2", "steps/s", at_least(1.3, stretch=2.5)),
    Line("w3.0ms", "W3 3 POSTs, answered at once", "steps/s", at_least(2_500)),
    Line("w3.20ms", "W3 3 POSTs, answered after 20 ms", "steps/s"),
    Line("w3.slots.one", "W3 answered after 100 ms, one runner of 100 slots", "steps/s"),
    Line("w3.slots.two", "  two runners", "steps/s"),
    Line("w3.slots.two/one", "  against one runner", "x", at_least(1.25), ("w3.slots.two", "w3.slots.one")),
    Line("w3.httpx", "W3 answered at once, the same runner on stock httpx", "steps/s"),
    Line("w3/httpx", "  against stock httpx", "x", at_least(8), ("w3.0ms", "w3.httpx")),
    Line("w4.empty", "W4 empty function over PostgREST, 16 connections", "calls/s"),
    Line("w4.rpc", "W4 rpc/start_execution, 16 connections", "starts/s"),
    Line("w4.rpc.p50", "  p50", "ms"),
    Line("w4.rpc.p99", "  p99", "ms"),
    Line("w4.rpc/empty", "  against the empty function", "x", at_least(0.5), ("w4.rpc", "w4.empty")),
    Line("w4.sql", "W4 start_execution in SQL, 16 connections", "starts/s"),
    Line("w4.bulk", "W4 start_executions, 10,000 a call", "starts/s", at_least(40_000)),
    Line("w5.small.p50", "W5 claim(100), small backlog, p50", "ms"),
    Line("w5.small.p99", "  p99", "ms"),
    Line("w5.large.p50", "W5 claim(100), {ready} ready and {finished} finished, p50", "ms", at_most(3)),
    Line("w5.large.p99", "  p99", "ms"),
    Line("w5.large/small", "  against the small backlog", "x", at_most(2), ("w5.large.p50", "w5.small.p50")),
    Line("w5.timers.p50", "W5 claim(100), {timers} future timers, 1,000 idle tenants, p50", "ms"),
    Line("w5.timers.p99", "  p99", "ms"),
    Line("w5.timers/small", "  against the small backlog", "x", at_most(1.5), ("w5.timers.p50", "w5.small.p50")),
    *_periods(16),
    *_periods(1),
    *_held("claim", "claim(300)"),
    *_held("empty", "claim of nothing"),
    Line("memory", "runner's memory, {in_flight} executions in flight", "MB", at_most(150)),
    Line("memory.runner", "  of it the runner itself", "MB"),
    *_inputs("w6.1.6", "1.6"),
    *_inputs("w6.16", "16"),
    *_inputs("w6.160", "160"),
    Line("w7.chain.p50", "W7 one execution of 40 steps in a row, p50", "ms", at_most(100)),
    Line("w7.chain.p99", "  p99", "ms"),
    Line("w7.fan.p50", "W7 one execution of 1 -> 40 -> 1, p50", "ms"),
    Line("w7.fan.p99", "  p99", "ms"),
    *_lists("recent", "newest 20"),
    *_lists("failed", "newest 20 that failed"),
    *_lists("name", "newest 20 of a workflow, by its name"),
    *_lists("workflow", "newest 20 of a workflow, by its id"),
    Line("w9.items", "W9 one execution of {items} items, start included", "s"),
    Line("w9.single", "  as many executions of one step, starts included", "s"),
    Line("w9.items/single", "  items against executions", "x", at_most(1.2), ("w9.items", "w9.single")),
    Line("w9.few.p50", "  one execution of 100 items, p50", "ms", at_most(100)),
    Line("w10.late.p50", "W10 {schedules} schedules due in the same minute, from slot to first step, p50", "ms"),
    Line("w10.late.p99", "  p99", "ms", at_most(1000)),
    Line("w10.look.none", "  a look for what is due, without schedules, p50", "ms"),
    Line("w10.look.many", "  with {idle_schedules} that are due later", "ms", at_most(0.5)),
    Line("w10.look.many/none", "  against none", "x", None, ("w10.look.many", "w10.look.none")),
    Line("w10.idle.none", "  CPU of an idle runner and of its sessions, without schedules", "ms/s"),
    Line("w10.idle.many", "  with {idle_schedules} that are due later", "ms/s"),
    Line("w10.idle.many/none", "  against none", "x", None, ("w10.idle.many", "w10.idle.none")),
    Line("w11.run.p50", "W11 POST /run of one step, all idle, p50", "ms", at_most(8)),
    Line("w11.run.p99", "  p99", "ms"),
    Line("w11.sql.p50", "  the same start by SQL, until its end is seen, p50", "ms"),
    Line("w11.run/sql", "  against SQL", "x", None, ("w11.run.p50", "w11.sql.p50")),
    Line("w11.start.p50", "  with wait=0, p50", "ms"),
    Line("w11.delivery.p50", "  202 of a webhook, p50", "ms"),
    Line("w11.health.p50", "  GET /health, p50", "ms"),
    Line("w11.none", "W11 W1 beside a front, no stream open", "steps/s"),
    Line("w11.many", "  500 streams of executions that wait", "steps/s"),
    Line("w11.many/none", "  against none", "x", at_least(0.9), ("w11.many", "w11.none")),
    Line("w11.tenant", "  one stream of the tenant, of all that happens", "steps/s"),
    Line("w11.tenant/none", "  against none", "x", None, ("w11.tenant", "w11.none")),
    Line("w12.many.plain", "W12 one insert of {changed_rows} rows into a table with three indexes", "ms"),
    Line("w12.many.watched", "  when a workflow follows the table", "ms"),
    Line(
        "w12.many.watched/plain",
        "  against one that none follows",
        "x",
        at_most(2),
        ("w12.many.watched", "w12.many.plain"),
    ),
    Line("w12.one.plain", "  one row", "ms"),
    Line("w12.one.watched", "  one row, when a workflow follows the table", "ms"),
    Line("w12.started", "  executions that one runner starts from them", "/s"),
    Line("w13.p50", "W13 202 of a webhook at 200 deliveries a second, a runner at work, p50", "ms"),
    Line("w13.p99", "  p99", "ms", at_most(20)),
    Line("w13.rate", "  answered", "/s"),
    Line("w14.metrics", "W14 figures of a day of {measured} executions, p50", "ms", at_most(200)),
    Line("w14.errors", "  groups of its errors, a tenth of them", "ms"),
    Line("w14.measure", "  measuring one execution of six steps", "us"),
    Line("w15.transitions", "W15 transitions of instances, 8 connections", "/s", at_least(3_000)),
    Line("w15.plain", "  a plain update and insert, tables of the same columns and indexes", "/s"),
    Line("w15.transitions/plain", "  against that pair", "x", at_least(0.5), ("w15.transitions", "w15.plain")),
    Line("w15.lean", "  a plain update and insert, tables of three and seven columns", "/s"),
    Line("w15.transitions/lean", "  against that pair", "x", at_least(0.5), ("w15.transitions", "w15.lean")),
    Line("w15.crowd.p50", "W15 one of 200 callers of one instance at once, p50", "ms"),
    Line("w15.crowd.p99", "  p99", "ms", at_most(200)),
    Line("w15.crowd.plain.p50", "  of one plain row, p50", "ms"),
    Line("w15.crowd.plain.p99", "  p99", "ms"),
    Line("w15.crowd.p99/plain", "  against the plain row, p99", "x", None, ("w15.crowd.p99", "w15.crowd.plain.p99")),
    Line("w16.alone.p95", "W16 from start to first step, nothing else to do, p95", "ms"),
    Line("w16.beside.p95", "  beside {neighbour_ready} ready steps of another tenant, p95", "ms", at_most(500)),
    Line("w16.beside/alone", "  against alone", "x", at_most(2), ("w16.beside.p95", "w16.alone.p95")),
    Line("w16.plain.p50", "W16 one execution of one step, p50", "ms"),
    Line("w16.keyed.p50", "  of a workflow with settings.concurrency, p50", "ms"),
    Line("w16.keyed/plain", "  against plain", "x", None, ("w16.keyed.p50", "w16.plain.p50")),
    Line("w16.limited.p50", "  of a step with a limit, p50", "ms"),
    Line("w16.limited", "  steps of a limit of 5 at once", "steps/s"),
)
