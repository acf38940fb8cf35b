"""The calls of sql steps: opened and closed under a lease, undone without it, and what a function can not get at."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import Hands, completed, dag, get, hands, import_workflow, outwait_lease, start, statuses
from tests.support.functions import calling, effects, make_shop
from tests.support.races import rivals

HOSTILE = (
    # Whatever it tries, it says what came of it: the name of the error, or done.
    "shop.attempt(statement text) returns text language plpgsql as $$ begin execute statement; return 'done';"
    " exception when others then return sqlstate; end $$",
    "shop.whoami() returns text language sql as 'select concat_ws('','', session_user, current_user)'",
    "shop.tenant() returns uuid language plpgsql as $$ begin perform set_config('flowgres.tenant_id',"
    " '00000000-0000-0000-0000-00000000abcd', true); return flowgres.tenant_id(); end $$",
)


@pytest.fixture
def lease(database: Database, db: Db, tenant: Tenant) -> Iterator[tuple[Hands, Row]]:
    """A runner, and the lease of a step that calls shop.reserve."""
    make_shop(db, *HOSTILE)
    import_workflow(db, tenant, dag("sells", [calling("shop.reserve", args={"step": "a"})]))
    with hands(database) as runner:
        # As a runner that serves them says so.
        db.run("update flowgres.runners set capabilities = capabilities || '{sql}'")
        start(database, tenant, "sells")
        yield runner, runner.claim()[0]


@contextmanager
def caller(database: Database) -> Iterator[Db]:
    """The login that calls functions, in a transaction that nobody has ended yet."""
    with psycopg.connect(database.dsn("sql"), row_factory=psycopg.rows.dict_row) as connection:
        yield Db(connection)
        connection.rollback()


def open_call(db: Db, runner: Hands, lease: Row, function: str = "shop.reserve", **args: Any) -> dict[str, Any]:
    opened: dict[str, Any] = db.call(
        "flowgres.open_sql_call",
        p_runner_id=runner.id,
        p_tenant_id=lease["tenant_id"],
        p_execution_id=lease["execution_id"],
        p_queue_id=lease["queue_id"],
        p_token=lease["token"],
        p_function=function,
        p_args=args.pop("p_args", None) if "p_args" in args else args or {"step": "a"},
    )
    return opened


def run_call(db: Db, opened: dict[str, Any], **args: Any) -> Any:
    with psycopg.RawCursor(db.connection) as cursor:
        cursor.execute(opened["query"], [json.dumps(args or {"step": "a"})])
        row = cursor.fetchone()
        text = next(iter(row.values())) if isinstance(row, dict) else (row or [None])[0]
    return None if text is None else json.loads(text)


def close_call(db: Db, opened: dict[str, Any], output: Any = None) -> bool:
    return bool(db.call("flowgres.close_sql_call", p_secret=opened["secret"], p_output=json.dumps(output)))


Lease = tuple[Hands, Row]


def test_a_committed_call_is_what_the_next_attempt_finds(
    database: Database, db: Db, tenant: Tenant, clock: Clock, lease: Lease
) -> None:
    runner, row = lease
    with caller(database) as sql:
        opened = open_call(sql, runner, row)
        output = run_call(sql, opened)
        assert close_call(sql, opened, output)
        sql.connection.commit()
    outwait_lease(db, clock)
    with hands(database) as other:
        db.run("update flowgres.runners set capabilities = '{core,sql}'")
        assert other.sweep() == 1
        again = other.claim()[0]
        assert again["resume"] == {"status": "called", "output": {"step": "a", "quantity": 1}}
        with caller(database) as sql:
            assert open_call(sql, other, again) == {"state": "called", "output": again["resume"]["output"]}
        other.report([other.result(again, completed(again["resume"]["output"]))])
        assert effects(db) == ["a"]
        assert statuses(get(database, tenant, again["execution_id"]))["call"] == "completed"


def test_a_call_whose_lease_went_elsewhere_is_undone(database: Database, db: Db, clock: Clock, lease: Lease) -> None:
    runner, row = lease
    with caller(database) as sql:
        opened = open_call(sql, runner, row)
        run_call(sql, opened)
        outwait_lease(db, clock)
        with hands(database) as other:
            other.sweep()
        assert not close_call(sql, opened), "somebody else has it"
    assert effects(db) == []


def test_a_call_of_a_cancelled_step_is_undone_and_keeps_nobody_waiting(
    database: Database, db: Db, tenant: Tenant, lease: Lease
) -> None:
    runner, row = lease
    with caller(database) as sql:
        opened = open_call(sql, runner, row)
        run_call(sql, opened)
        db.run("set lock_timeout to '1s'")
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.cancel_execution", execution_id=row["execution_id"])
        assert not close_call(sql, opened)
    assert effects(db) == []


def test_of_two_calls_under_one_lease_one_is_undone(database: Database, db: Db, lease: Lease) -> None:
    runner, row = lease
    with caller(database) as first, rivals(db) as race, caller(database) as second:
        one, two = open_call(first, runner, row), open_call(second, runner, row)
        run_call(first, one), run_call(second, two)
        assert close_call(first, one)
        late = race(second, lambda: close_call(second, two))
        assert late.run_until_blocked(), "it waits for the first one's commit"
        first.connection.commit()
        assert late.answer() is False
        second.connection.rollback()
    assert effects(db) == ["a"]


def test_a_retry_after_a_committed_call_does_not_call_again(
    database: Database, db: Db, tenant: Tenant, lease: Lease
) -> None:
    runner, row = lease
    with caller(database) as sql:
        opened = open_call(sql, runner, row)
        assert close_call(sql, opened, 1)
        sql.connection.commit()
    failure = {"o": "failed", "error": {"code": "step_timeout", "class": "timeout", "message": "what came after"}}
    for attempt in (1, 2):
        assert row["attempt"] == attempt
        runner.report([runner.result(row, failure)])
        db.run("update flowgres.work_queue set due_at = null where due_at is not null")
        row = runner.claim()[0]
        assert row["resume"]["status"] == "called"
    runner.report([runner.result(row, failure)])
    assert statuses(get(database, tenant, row["execution_id"]))["call"] == "failed", "attempts run out all the same"


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("set local role flowgres_engine", "42501"),
        ("set local role flowgres_runner", "42501"),
        ("set local role flowgres_member", "42501"),
        ("reset role", "done"),
        ("set session authorization flowgres_runner", "42501"),
        ("select set_config('role', 'flowgres_owner', true)", "42501"),
        ("select set_config('session_authorization', 'flowgres_operator', true)", "42501"),
        ("commit", "0A000"),
        ("select * from flowgres.executions", "42501"),
        ("select * from flowgres.sql_calls", "42501"),
        ("insert into flowgres.sql_calls select", "42501"),
        ("select * from flowgres.secrets", "42501"),
        ("select flowgres_api.start_execution('sells', '{}')", "42501"),
        ("select flowgres.complete_and_claim(gen_random_uuid(), '[]', 1, gen_random_uuid())", "42501"),
        ("select flowgres.use_tenant('other')", "42501"),
        ("alter role flowgres_sql superuser", "42501"),
        ("create function shop.mine() returns integer language sql as 'select 1'", "42501"),
        ("create temp table work_queue (tenant_id uuid)", "done"),
        ("copy (select 1) to program 'true'", "42501"),
        ("create extension dblink", "42501"),
    ],
)
def test_a_function_gets_at_nothing_that_was_not_granted(
    database: Database, lease: Lease, statement: str, state: str
) -> None:
    runner, row = lease
    with caller(database) as sql:
        opened = open_call(sql, runner, row, "shop.attempt", statement=statement)
        assert run_call(sql, opened, statement=statement) == state
        if state == "done":
            assert close_call(sql, opened), "and it goes on as if nothing had been"


def test_a_function_is_the_weak_login_and_its_tenant_is_that_of_the_step(
    database: Database, tenant: Tenant, lease: Lease
) -> None:
    runner, row = lease
    other = database.make_tenant("Other")
    for name, gives in (("shop.whoami", "flowgres_sql,flowgres_sql"), ("shop.tenant", tenant.tenant_id)):
        with caller(database) as sql:
            assert run_call(sql, open_call(sql, runner, row, name, p_args={})) == gives
            assert str(sql.value("select flowgres.tenant_id()")) == tenant.tenant_id
            sql.run("select set_config('flowgres.tenant_id', %s, true)", other.tenant_id)
            assert str(sql.value("select flowgres.tenant_id()")) == tenant.tenant_id
            sql.connection.rollback()
            assert sql.value("select flowgres.tenant_id()") is None, "outside of a call it belongs to nobody"


def test_a_function_of_a_member_starts_for_the_tenant_of_the_step_alone(
    database: Database, db: Db, tenant: Tenant, lease: Lease
) -> None:
    runner, row = lease
    other = database.make_tenant("Other")
    import_workflow(db, other, dag("theirs", [{"id": "a"}]))
    app = f"app_{secrets.token_hex(6)}"
    db.run(f"create role {app}; grant flowgres_member to {app}; grant usage, create on schema shop to {app}")
    try:
        db.run(
            "create function shop.begin(workflow text, tenant text) returns jsonb security definer"
            " language plpgsql as $$ begin"
            " perform set_config('flowgres.tenant_id', tenant, true);"
            " return flowgres_api.start_execution(workflow, '{}')"
            " || jsonb_build_object('sees', (select jsonb_agg(name) from flowgres_api.workflows)); end $$;"
            f"alter function shop.begin owner to {app}; grant execute on function shop.begin to flowgres_sql"
        )
        db.call("flowgres_api.allow_function", signature="shop.begin")
        given = {"workflow": "sells", "tenant": other.tenant_id}
        with caller(database) as sql, pytest.raises(psycopg.Error, match="theirs"):
            run_call(sql, open_call(sql, runner, row, "shop.begin", **given), **{**given, "workflow": "theirs"})
        with caller(database) as sql:
            opened = open_call(sql, runner, row, "shop.begin", **given)
            started = run_call(sql, opened, **given)
            assert started["sees"] == ["sells"]
            close_call(sql, opened, started)
            sql.connection.commit()
        assert get(database, tenant, started["execution_id"])["status"] == "queued"
    finally:
        db.run(f"drop owned by {app}; drop role {app}")


def test_a_call_is_closed_with_its_secret_alone_and_opened_once(database: Database, lease: Lease) -> None:
    runner, row = lease
    with caller(database) as sql:
        with pytest.raises(psycopg.Error, match="no call that could be closed"):
            close_call(sql, {"secret": "guessed"})
        sql.connection.rollback()
        open_call(sql, runner, row)
        with sql.connection.transaction(), pytest.raises(psycopg.Error, match="no call"), sql.connection.transaction():
            close_call(sql, {"secret": "guessed"})
        with pytest.raises(psycopg.Error, match="that of another call"):
            open_call(sql, runner, row)


def test_without_the_lease_no_call_is_opened(database: Database, lease: Lease) -> None:
    runner, row = lease
    with caller(database) as sql:
        for wrong in ({"token": row["token"] + 1}, {"queue_id": row["queue_id"] + 1}):
            assert open_call(sql, runner, {**row, **wrong}) == {"state": "lost"}
        stranger = Hands.__new__(Hands)
        stranger.id = "00000000-0000-0000-0000-000000000001"
        assert open_call(sql, stranger, row) == {"state": "lost"}


def test_what_is_too_large_never_leaves_the_server(database: Database, db: Db, lease: Lease) -> None:
    runner, row = lease
    db.run(
        "create function shop.large(bytes integer) returns text immutable language sql as 'select repeat(''x'', bytes)'"
    )
    db.run("grant execute on function shop.large to flowgres_sql")
    db.call("flowgres_api.allow_function", signature="shop.large(integer)")
    with caller(database) as sql:
        opened = open_call(sql, runner, row, "shop.large", bytes=1)
        for count, is_given in ((opened["most_bytes"] - 2, True), (opened["most_bytes"] - 1, False)):
            with psycopg.RawCursor(sql.connection, row_factory=psycopg.rows.tuple_row) as cursor:
                cursor.execute(opened["query"], [json.dumps({"bytes": count})])
                text, has_text, _ = cursor.fetchone() or ()
            assert (text is not None, has_text) == (is_given, True)


def test_a_stronger_login_calls_nothing(db: Db, lease: Lease) -> None:
    runner, row = lease
    with pytest.raises(psycopg.Error, match="are called as flowgres_sql, and not as postgres"):
        open_call(db, runner, row)
