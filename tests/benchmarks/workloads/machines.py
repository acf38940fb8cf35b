"""W15: transitions of state machines, beside a plain update of a state with an insert into a history; many at one."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg

from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context
from tests.benchmarks.workloads.pgbench import transactions_per_second
from tests.support.machines import machine, store_machine

Caller = psycopg.Connection[Any]

CLIENTS = 8
EACH = 1_000
"""Instances of a client: no two clients move the same one."""
INSTANCES = CLIENTS * EACH
TURNS = 3
CALLERS = 200
# There and back are two transactions, so that nobody has to know where an instance stands.
PICK = f"\\set number :client_id * {EACH} + random(1, {EACH})\n"
MOVE = (
    "select flowgres_api.execute_transition("
    "(select i.id from public.numbered as i where i.number = :number), '{to}');\n"
)
TRANSITIONS = PICK + MOVE.format(to="b") + MOVE.format(to="a")
PLAIN = """with moved as (
  update public.plain as p set state = '{to}', updated_at = now(), history_count = p.history_count + 1
  from public.numbered as i where i.number = :number and p.tenant_id = i.tenant_id and p.id = i.id
  returning p.tenant_id, p.id, p.history_count)
insert into public.plain_history (
  tenant_id, instance_id, seq, id, from_state, to_state, transition_id, transition_name, executed_by, actor,
  executed_at, metadata, context)
select
  m.tenant_id, m.id, m.history_count, gen_random_uuid(), '{back}', '{to}', m.id, '{back}_to_{to}', 'api_user', 'bench',
  now(), '{{}}', '{{}}'
from moved as m;
"""
LEAN = """with moved as (
  update public.lean as p set state = '{to}', updated_at = now()
  from public.numbered as i where i.number = :number and p.id = i.id returning p.id)
insert into public.lean_history (instance_id, from_state, to_state, executed_by, executed_at, metadata)
select m.id, '{back}', '{to}', 'api_user', now(), '{{}}' from moved as m;
"""
UPDATES = {
    key: PICK + pair.format(to="b", back="a") + pair.format(to="a", back="b")
    for key, pair in (("plain", PLAIN), ("lean", LEAN))
}
# Plain tables with the columns and the indexes of ours, so that they answer the same questions, but for the hashes; and
# lean ones with what the two statements need.
TABLES = """
create table public.numbered as
select row_number() over (order by i.id)::integer as number, i.tenant_id, i.id from flowgres.instances as i;
alter table public.numbered add primary key (number);
create table public.plain (like flowgres.instances including indexes) with (fillfactor = 80);
alter table public.plain drop column history_head;
insert into public.plain select
  i.tenant_id, i.id, i.workflow_id, i.workflow_name, i.version_id, i.entity_table, i.entity_id, i.state, i.metadata,
  i.started_by, i.started_at, i.updated_at, i.completed_at, i.history_count
from flowgres.instances as i;
create table public.plain_history (like flowgres.instance_history including indexes);
alter table public.plain_history drop column hash;
create table public.lean (id uuid primary key, state text not null, updated_at timestamptz not null);
create index on public.lean (state, updated_at);
insert into public.lean select i.id, 'a', now() from public.numbered as i;
create table public.lean_history (
  id bigint generated always as identity primary key,
  instance_id uuid not null, from_state text, to_state text not null,
  executed_by text not null, executed_at timestamptz not null, metadata jsonb not null);
create index on public.lean_history (instance_id, executed_at);
grant select on public.numbered to public;
grant select, insert, update on public.plain, public.plain_history, public.lean, public.lean_history to public;
"""


def measure(context: Context) -> None:
    """Transitions per second of eight connections on instances of their own, in turn with the plain pairs."""
    with context.site() as site:
        _prepare(site)
        scripts = {"transitions": TRANSITIONS, **UPDATES}
        pairs: dict[str, list[float]] = {key: [] for key in scripts}
        # In turns: how long a flush takes changes from second to second on many a machine.
        for _ in range(TURNS):
            for key, script in scripts.items():
                pairs[key].append(
                    transactions_per_second(
                        context.lab, site.service_dsn, script, clients=CLIENTS, seconds=context.scale.load_seconds
                    )
                )
        for key, rates in pairs.items():
            context.record(f"w15.{key}", 2 * statistics.mean(rates))
        found = site.admin.call("flowgres_api.verify_history", limit=10_000)
        if not found["valid"]:
            raise RuntimeError(f"history is not what was written: {found['problems'][:3]}")


def _prepare(site: Site) -> None:
    store_machine(site.admin, site.tenant.tenant_id, machine("a>b", "b>a", name="bench"))
    site.service.run(
        "select flowgres_api.start_workflows('bench', ("
        "select jsonb_agg(jsonb_build_object('entity_table', 'bench', 'entity_id', g::text))"
        " from generate_series(1, %s::integer) as g))",
        INSTANCES,
    )
    site.admin.run(TABLES)
    for table in ("flowgres.instances", "flowgres.instance_history", "public.numbered", "public.plain", "public.lean"):
        site.admin.run(f"vacuum (analyze) {table}")


def measure_crowd(context: Context) -> None:
    """Two hundred callers want to move one instance at once, to one state after the other; and a plain row."""
    states = [f"s{number}" for number in range(context.scale.crowds + 1)]
    steps = list(itertools.pairwise(states))
    with context.site() as site, ExitStack() as stack:
        ways = [f"{before}>{after}" for before, after in steps]
        store_machine(site.admin, site.tenant.tenant_id, machine(*ways, name="crowd"))
        instance = site.service.value("select flowgres_api.start_workflow('crowd', 'bench', '1')")
        site.admin.run("create table public.crowd as select 's0'::text as state")
        site.admin.run("grant select, update on public.crowd to public")
        callers = [
            stack.enter_context(psycopg.connect(site.service_dsn, autocommit=True, prepare_threshold=0))
            for _ in range(CALLERS)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(CALLERS))

        def move(caller: Caller, _before: str, after: str) -> bool:
            return _move(caller, instance, after)

        # At its first call a session learns what all the others go by.
        for call in (move, _update):
            _at_once(pool, callers, call, "none", "s0")
        for key, call in (("crowd", move), ("crowd.plain", _update)):
            tries = [answer for before, after in steps for answer in _at_once(pool, callers, call, before, after)]
            if (won := sum(has_won for has_won, _seconds in tries)) != len(steps):
                raise RuntimeError(f"{won} calls won {len(steps)} states")
            times = sorted(1000 * seconds for _has_won, seconds in tries)
            context.record(f"w15.{key}.p50", statistics.median(times))
            context.record(f"w15.{key}.p99", times[int(0.99 * len(times))])
        told = site.admin.column("select to_state from flowgres.instance_history order by seq")
        if told != states:
            raise RuntimeError(f"the history of {len(states)} states is {told}")


def _at_once(
    pool: ThreadPoolExecutor, callers: list[Caller], call: Callable[[Caller, str, str], bool], before: str, after: str
) -> list[tuple[bool, float]]:
    """Whether each caller has won, and how long its call took."""
    start = threading.Barrier(len(callers))

    def timed(caller: Caller) -> tuple[bool, float]:
        start.wait()
        began = time.perf_counter()
        return call(caller, before, after), time.perf_counter() - began

    return list(pool.map(timed, callers))


def _move(caller: Caller, instance: str, state: str) -> bool:
    """Move the instance; false when it is refused because somebody else was there first."""
    try:
        caller.execute("select flowgres_api.execute_transition(%s, %s)", (instance, state))
    except psycopg.Error as error:
        if error.diag.constraint_name != "transition_not_allowed":
            raise
        return False
    return True


def _update(caller: Caller, before: str, after: str) -> bool:
    """Change the plain row; false when somebody else was there first."""
    return caller.execute("update public.crowd set state = %s where state = %s", (after, before)).rowcount == 1
