"""W15: transitions of state machines a second, beside a plain update of a state with an insert into a history."""

from __future__ import annotations

from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context
from tests.benchmarks.workloads.pgbench import transactions_per_second
from tests.support.machines import machine, store_machine

CLIENTS = 8
EACH = 1_000
"""Instances of a client: no two clients move the same one."""
INSTANCES = CLIENTS * EACH
LOADS = 2
"""A session plans at its first call what all the others go by: that must not be a great part of what is measured."""
# There and back are two transactions, so that nobody has to know where an instance stands.
PICK = f"\\set number :client_id * {EACH} + random(1, {EACH})\n"
MOVE = (
    "select flowgres_api.execute_transition("
    "(select i.id from public.numbered as i where i.number = :number), '{to}');\n"
)
TRANSITIONS = PICK + MOVE.format(to="b") + MOVE.format(to="a")
PLAIN = """with moved as (
  update public.plain as p set state = '{to}', updated_at = now()
  from public.numbered as i where i.number = :number and p.id = i.id returning p.id)
insert into public.plain_history (instance_id, from_state, to_state, executed_by, executed_at, metadata)
select m.id, '{back}', '{to}', 'api_user', now(), '{{}}' from moved as m;
"""
UPDATES = PICK + PLAIN.format(to="b", back="a") + PLAIN.format(to="a", back="b")
TABLES = """
create table public.numbered as
select row_number() over (order by i.id)::integer as number, i.id from flowgres.instances as i;
alter table public.numbered add primary key (number);
create table public.plain (id uuid primary key, state text not null, updated_at timestamptz not null);
create index on public.plain (state, updated_at);
insert into public.plain select i.id, 'a', now() from public.numbered as i;
create table public.plain_history (
  id bigint generated always as identity primary key,
  instance_id uuid not null, from_state text, to_state text not null,
  executed_by text not null, executed_at timestamptz not null, metadata jsonb not null);
create index on public.plain_history (instance_id, executed_at);
grant select on public.numbered to public;
grant select, insert, update on public.plain, public.plain_history to public;
"""


def measure(context: Context) -> None:
    """Transitions per second of eight connections on instances of their own, and of the plain pair right after."""
    with context.site() as site:
        _prepare(site)
        for key, script in (("w15.transitions", TRANSITIONS), ("w15.plain", UPDATES)):
            pairs = transactions_per_second(
                context.lab, site.service_dsn, script, clients=CLIENTS, seconds=LOADS * context.scale.load_seconds
            )
            context.record(key, 2 * pairs)
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
    for table in ("flowgres.instances", "flowgres.instance_history", "public.numbered", "public.plain"):
        site.admin.run(f"vacuum (analyze) {table}")
