"""What every request and every report runs is planned once in a session.

A function in SQL that cannot be inlined (SECURITY DEFINER, a setting of its own) is planned anew whenever a function in
PL/pgSQL calls it, which takes longer than most of what such functions do. PL/pgSQL keeps its plans.
"""

from __future__ import annotations

import psycopg
from psycopg.rows import dict_row

from tests.support.database import Database, Db, Tenant, postgrest_request
from tests.support.engine import completed, dag, hands, import_workflow

PLANNED_ANEW = """
select p.oid::regprocedure::text as function, s.calls
from pg_stat_user_functions as s
join pg_proc as p on p.oid = s.funcid
join pg_language as l on l.oid = p.prolang
where l.lanname = 'sql' and s.calls >= 10
order by s.calls desc
"""


def test_nothing_on_the_way_of_a_step_is_planned_anew(database: Database, db: Db, tenant: Tenant) -> None:
    db.run(f"alter database {database.name} set track_functions = 'all'")
    import_workflow(db, tenant, dag("w", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    with (
        psycopg.connect(database.dsn("authenticator"), row_factory=dict_row, autocommit=True) as connection,
        hands(database) as runner,
    ):
        for number in range(10):
            with postgrest_request(connection, "member", tenant_id=tenant.tenant_id) as member:
                member.call("flowgres_api.start_execution", workflow="w", input={}, idempotency_key=str(number))
            runner.work(lambda lease, step: completed(step))
    assert db.value("select count(*) from flowgres.executions where status = 'completed'") == 10
    db.run("select pg_stat_force_next_flush()")
    assert db.value("select sum(calls) from pg_stat_user_functions") > 100, "calls are counted"
    assert db.all(PLANNED_ANEW) == []
