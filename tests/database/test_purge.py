"""Tenants that are suspended, deleted, restored and purged: nothing answers or runs, and in the end nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, completed, dag, import_workflow, start
from tests.support.races import caller, refusal_code, rivals

MARK = "zanzibar"
RELATIONS = """
    select c.oid::regclass::text from pg_class as c where c.relnamespace = 'flowgres'::regnamespace and c.relkind = 'r'
    order by 1"""


@pytest.fixture
def operator(database: Database) -> Iterator[Db]:
    with database.connect("operator") as operator:
        yield operator


def delete(operator: Db, tenant: Tenant) -> dict[str, Any]:
    answer: dict[str, Any] = operator.call("flowgres_api.delete_tenant", tenant=tenant.slug, reason="they left")
    while answer["open_executions"]:
        answer = operator.call("flowgres_api.delete_tenant", tenant=tenant.slug)
    return answer


def purge(operator: Db, tenant: Tenant, *, limit: int = 1000, most: int = 2000) -> dict[str, Any]:
    for _ in range(most):
        answer: dict[str, Any] = operator.call(
            "flowgres.purge_tenant", p_slug=tenant.slug, p_reason="they left", p_limit=limit
        )
        if answer["is_done"]:
            return answer
    raise AssertionError(f"the purge does not end: {answer}")


def mentions(db: Db, *texts: str) -> dict[str, int]:
    """Every row of every table, read as text, that has one of the texts in it: an audit of what is left, by table."""
    found = {}
    pattern = "|".join(texts)
    for relation in db.column(RELATIONS):
        count = db.value(f"select count(*) from {relation} as r where r::text ~* %s", pattern)
        if count:
            found[relation] = count
    return found


def refusal(error: pytest.ExceptionInfo[psycopg.Error]) -> str:
    return refusal_code(error.value)


def live(database: Database, db: Db, tenant: Tenant, *, runner: Hands) -> None:
    """A tenant with something in as many tables as can be: ended, running and waiting work, and all that starts it."""
    definition = dag(
        f"{MARK}_flow",
        [{"id": "only"}],
        triggers=[
            {"type": "cron", "cron": "0 3 * * *"},
            {"type": "webhook", "path": MARK, "scheme": "none"},
            {"type": "event", "name": f"{MARK}.made"},
        ],
    )
    import_workflow(db, tenant, definition)
    waiting = [{"id": "hold", "type": "wait", "config": {"signal": MARK}}]
    import_workflow(db, tenant, dag(f"{MARK}_waits", waiting))
    with database.as_role("admin", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.set_setting", name="max_signals", value=Jsonb(10))
        api.call("flowgres_api.create_api_key", name=MARK, role="viewer")
        api.call("flowgres_api.send_signal", name=f"{MARK}_early", payload={"a": MARK})
        api.call("flowgres_api.emit_event", name=f"{MARK}.made", payload={"a": MARK}, key=MARK)
    db.run(
        "insert into flowgres.secrets (tenant_id, name, key_id, nonce, ciphertext)"
        " values (%s, %s, 'k', '\\x00', '\\x00')",
        tenant.tenant_id,
        MARK,
    )
    for number in range(5):
        start(database, tenant, f"{MARK}_flow", input={"who": f"{MARK}{number}"}, idempotency_key=f"{MARK}{number}")
    runner.work(lambda _lease, _step: completed({"x": MARK}, logs=[{"level": "info", "message": MARK}]))
    start(database, tenant, f"{MARK}_waits")
    runner.claim()
    start(database, tenant, f"{MARK}_flow")
    for _ in range(20):
        runner.db.call("flowgres.measure_history", p_limit=1000)


def test_nothing_is_left_of_a_purged_tenant(database: Database, db: Db, operator: Db, runner: Hands) -> None:
    other = database.make_tenant("Neighbour")
    tenant = database.make_tenant(f"{MARK} inc")
    live(database, db, tenant, runner=runner)
    import_workflow(db, other, dag("flow", [{"id": "only"}]))
    kept = start(database, other, "flow")
    before = mentions(db, MARK, tenant.tenant_id)
    assert {"flowgres.tenants", "flowgres.audit_log", "flowgres.work_queue", "flowgres.webhooks"} <= set(before)
    assert len(before) > 15, "there is something to be purged"
    delete(operator, tenant)
    answer = purge(operator, tenant, limit=7)
    assert answer["deleted"] > 20
    assert operator.all("select * from flowgres.count_tenant_rows(%s)", tenant.tenant_id) == []
    # What is left is the one line that says so; it has the id and no name.
    assert mentions(db, MARK) == {}
    assert mentions(db, tenant.tenant_id) == {"flowgres.audit_log": 1}
    row = db.one("select * from flowgres.audit_log where action = 'tenant_purged'")
    assert (str(row["tenant_id"]), row["subject"]) == ("00000000-0000-0000-0000-000000000000", tenant.tenant_id)
    assert (row["actor"], row["details"]["reason"]) == ("login:flowgres_operator", "they left")
    assert db.column("select id::text from flowgres.executions") == [kept]
    assert runner.work() == ["only"]


def test_every_table_with_tenants_is_found_and_emptied_in_the_order_of_its_keys(db: Db) -> None:
    known = set(db.column("select relation::text from flowgres.tenant_tables()"))
    assert known == set(
        db.column(
            "select c.oid::regclass::text from pg_class as c join pg_attribute as a on a.attrelid = c.oid"
            " where c.relnamespace = 'flowgres'::regnamespace and c.relkind = 'r' and a.attname = 'tenant_id'"
        )
    )
    wrong = db.all(
        """select k.conname from pg_constraint as k
        join flowgres.tenant_tables() as a on a.relation = k.conrelid
        join flowgres.tenant_tables() as b on b.relation = k.confrelid
        where k.contype = 'f' and a.relation <> b.relation and a.depth >= b.depth"""
    )
    assert wrong == []


def test_purge_that_was_killed_goes_on_where_it_was(
    database: Database, db: Db, operator: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("flow", [{"id": "only"}]))
    for _ in range(10):
        start(database, tenant, "flow")
    runner.work()
    delete(operator, tenant)
    for _ in range(200):
        with database.connect("operator") as one, one.connection.transaction(force_rollback=True):
            # Whoever dies before the commit has done nothing.
            one.call("flowgres.purge_tenant", p_slug=tenant.slug, p_reason=None, p_limit=3)
        with database.connect("operator") as another:
            done = another.call("flowgres.purge_tenant", p_slug=tenant.slug, p_reason=None, p_limit=3)
        if done["is_done"]:
            break
        halves = db.value(
            "select count(*) from flowgres.executions as e where not exists"
            " (select from flowgres.step_executions as s where s.execution_id = e.id)"
        )
        assert halves == 0, "nobody sees half an execution"
    assert db.all("select * from flowgres.count_tenant_rows(%s)", tenant.tenant_id) == []


def test_only_an_operator_suspends_deletes_and_purges(database: Database, db: Db, tenant: Tenant) -> None:
    other = database.make_tenant("Other")
    for function in ("suspend_tenant", "restore_tenant", "delete_tenant", "purge_tenant"):
        with (
            database.as_role("admin", tenant_id=other.tenant_id) as admin,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            admin.call(f"flowgres_api.{function}", tenant=tenant.slug)
    assert db.value("select status from flowgres.tenants where slug = %s", tenant.slug) == "active"


def test_purge_wants_a_deleted_tenant_and_restore_comes_before_it(operator: Db, tenant: Tenant) -> None:
    with pytest.raises(psycopg.Error) as refused:
        operator.call("flowgres_api.purge_tenant", tenant=tenant.slug)
    assert refusal(refused) == "tenant_not_deleted"
    delete(operator, tenant)
    assert operator.call("flowgres_api.restore_tenant", tenant=tenant.slug)["status"] == "active"
    delete(operator, tenant)
    operator.call("flowgres_api.purge_tenant", tenant=tenant.slug)
    with pytest.raises(psycopg.Error) as refused:
        operator.call("flowgres_api.restore_tenant", tenant=tenant.slug)
    assert refusal(refused) == "tenant_purge_begun"
    purge(operator, tenant)
    with pytest.raises(psycopg.Error) as refused:
        operator.call("flowgres_api.purge_tenant", tenant=tenant.slug)
    assert refusal(refused) == "tenant_not_found"


def test_deleted_tenant_is_refused_everywhere_and_what_runs_is_cancelled(
    database: Database, db: Db, operator: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("flow", [{"id": "only"}]))
    with database.connect("front") as door:
        assert door.value("select count(*) from flowgres.authenticate_key(%s)", tenant.key) == 1
    execution_id = start(database, tenant, "flow")
    lease = runner.claim()[0]
    answer = delete(operator, tenant)
    assert (answer["status"], answer["open_executions"], answer["deleted_by"]) == (
        "suspended",
        0,
        "login:flowgres_operator",
    )
    assert db.value("select status from flowgres.executions where id = %s", execution_id) == "cancelled"
    assert runner.report([runner.result(lease, completed())]) == [], "a late report changes nothing"
    with database.connect("front") as door:
        assert door.value("select count(*) from flowgres.authenticate_key(%s)", tenant.key) == 0
    audited = db.column("select action from flowgres.audit_log where tenant_id = %s order by id", tenant.tenant_id)
    assert audited[-1] == "tenant_deleted"
    # Taken back: keys are good again, and what was cancelled stays so.
    operator.call("flowgres_api.restore_tenant", tenant=tenant.slug)
    start(database, tenant, "flow")
    assert runner.work() == ["only"]


def test_start_that_had_looked_before_leaves_nothing_behind(
    database: Database, db: Db, operator: Db, tenant: Tenant
) -> None:
    import_workflow(db, tenant, dag("flow", [{"id": "only"}]))
    # The first start of all notes how starts are counted, in the row of the tenant: who deletes it waits for that.
    start(database, tenant, "flow")
    operator.run("set lock_timeout to '20s'")
    with psycopg.connect(database.dsn("authenticator")) as connection:
        cursor = connection.cursor()
        # A caller's transaction that stays open over the whole of the deletion.
        cursor.execute("select set_config('flowgres.tenant_id', %s, true)", (tenant.tenant_id,))
        cursor.execute("set local role flowgres_member")
        cursor.execute("select flowgres_api.start_execution('flow')")
        delete(operator, tenant)
        for _ in range(5):
            answer = operator.call("flowgres_api.purge_tenant", tenant=tenant.slug)
            assert (answer["step"], answer["is_done"]) == ("waiting", False)
        assert answer["waits_for"] >= 1
        connection.commit()
    assert db.value("select count(*) from flowgres.executions where finished_at is null") == 1
    purge(operator, tenant)
    assert db.all("select * from flowgres.count_tenant_rows(%s)", tenant.tenant_id) == []


def test_lease_that_is_reported_during_the_purge_is_waited_for_and_gone(
    database: Database, db: Db, operator: Db, tenant: Tenant
) -> None:
    import_workflow(db, tenant, dag("flow", [{"id": "only"}, {"id": "next", "depends_on": ["only"]}]))
    start(database, tenant, "flow")
    with database.connect("runner") as own, database.connect("operator") as second, rivals(db) as run:
        runner = Hands(own)
        lease = runner.claim()[0]
        operator.call("flowgres_api.delete_tenant", tenant=tenant.slug)
        with own.connection.transaction():
            runner.report_once([runner.result(lease, completed())])
            rival = run(second, lambda: second.call("flowgres_api.delete_tenant", tenant=tenant.slug))
            assert rival.run_until_blocked(), "who deletes waits for the report"
        assert rival.answer()["open_executions"] == 0
    purge(operator, tenant)
    assert db.all("select * from flowgres.count_tenant_rows(%s)", tenant.tenant_id) == []


def test_two_purges_at_once_end_as_one(database: Database, db: Db, operator: Db, tenant: Tenant) -> None:
    delete(operator, tenant)
    with database.connect("operator") as second, rivals(db) as run:
        with operator.connection.transaction():
            operator.call("flowgres_api.purge_tenant", tenant=tenant.slug)
            rival = run(second, lambda: second.call("flowgres_api.purge_tenant", tenant=tenant.slug))
            assert rival.run_until_blocked()
        assert rival.answer()["is_done"] is False
    purge(operator, tenant)
    assert db.value("select count(*) from flowgres.audit_log where action = 'tenant_purged'") == 1


def test_only_the_owner_deletes_what_is_only_added_to(db: Db) -> None:
    for role in ("flowgres_engine", "flowgres_definer", "flowgres_operator", "flowgres_runner", "flowgres_admin"):
        for table in ("audit_log", "instance_history"):
            assert not db.value("select has_table_privilege(%s, %s, 'delete')", role, f"flowgres.{table}"), role
    # And of its functions that delete there, operators alone call one.
    callers = db.column(
        "select distinct r.rolname::text from pg_proc as p cross join pg_roles as r"
        " where p.pronamespace = 'flowgres'::regnamespace"
        " and p.proname in ('purge_tenant', 'delete_tenant_rows', 'end_purge') and r.rolname ~ '^flowgres_'"
        " and not pg_has_role(r.oid, 'flowgres_owner', 'member') and has_function_privilege(r.oid, p.oid, 'execute')"
    )
    assert callers == ["flowgres_operator"]


def test_suspended_tenant_starts_nothing_and_goes_on(
    database: Database, db: Db, operator: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("flow", [{"id": "only"}]))
    start(database, tenant, "flow")
    with caller(database, tenant) as (_, request):
        operator.call("flowgres_api.suspend_tenant", tenant=tenant.slug, reason="unpaid")
        with pytest.raises(psycopg.Error) as refused:
            request("start_execution", workflow="flow")
    assert json.loads(refused.value.diag.message_primary or "{}")["code"] == "invalid_credentials"
    assert runner.work() == ["only"]


def test_snapshot_of_before_the_purge_is_waited_for(
    database: Database, db: Db, operator: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("flow", [{"id": "only"}]))
    start(database, tenant, "flow")
    runner.work()
    with psycopg.connect(database.dsn("authenticator")) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        cursor = connection.cursor()
        # It has touched no table of ours, so it holds no lock; and what it sees from now on is the tenant of now.
        cursor.execute("select 1")
        delete(operator, tenant)
        for _ in range(5):
            answer = operator.call("flowgres_api.purge_tenant", tenant=tenant.slug)
            assert (answer["step"], answer["is_done"]) == ("waiting", False)
        assert answer["waits_for"] >= 1
        cursor.execute("select set_config('flowgres.tenant_id', %s, true)", (tenant.tenant_id,))
        cursor.execute("set local role flowgres_member")
        cursor.execute("select flowgres_api.start_execution('flow')")
        connection.commit()
    purge(operator, tenant)
    assert db.all("select * from flowgres.count_tenant_rows(%s)", tenant.tenant_id) == []


def test_restore_beside_a_deletion_cancels_nothing_more(
    database: Database, db: Db, operator: Db, tenant: Tenant
) -> None:
    import_workflow(db, tenant, dag("flow", [{"id": "only"}]))
    start(database, tenant, "flow")
    operator.call("flowgres_api.delete_tenant", tenant=tenant.slug)
    with database.connect("operator") as second, rivals(db) as run:
        with operator.connection.transaction():
            operator.call("flowgres_api.restore_tenant", tenant=tenant.slug)
            rival = run(second, lambda: second.call("flowgres_api.delete_tenant", tenant=tenant.slug))
            assert rival.run_until_blocked(), "who deletes waits for whether it is restored"
        answer = rival.answer()
    assert (answer["deleted_at"], answer["open_executions"]) == (None, 1)
    assert db.value("select count(*) from flowgres.executions where finished_at is null") == 1
