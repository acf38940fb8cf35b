"""An application's own login: mapped to a tenant, it starts executions within its own transactions."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.support.database import Database, Db
from tests.support.engine import dag, import_workflow

from .test_tenants import refusal


@pytest.fixture
def make_login(database: Database, db: Db) -> Iterator[Callable[..., tuple[str, str]]]:
    """`make_login("member")` makes a login with that tenant role (or none); gives its name and connection string."""
    names = []

    def make(role: str | None = "member") -> tuple[str, str]:
        name = f"app_{secrets.token_hex(6)}"
        db.run(f"create role {name} login password 'secret'")
        names.append(name)
        if role is not None:
            db.run(f"grant flowgres_{role} to {name}")
        return name, make_conninfo(database.dsn(), user=name, password="secret")

    yield make
    for name in names:
        db.run(f"drop owned by {name}")
        db.run(f"drop role {name}")


def test_start_is_part_of_the_applications_transaction(
    database: Database, db: Db, make_login: Callable[..., tuple[str, str]]
) -> None:
    tenant = database.make_tenant("Acme")
    import_workflow(db, tenant, dag("ship", [{"id": "pack"}]))
    name, dsn = make_login()
    with database.connect("operator") as operator:
        added = operator.call("flowgres_api.add_tenant_login", login=name, tenant="acme")
    assert (added["tenant"], added["role"], added["created"]) == ("acme", "member", True)
    db.run(f"create table orders (id int primary key); grant select, insert on orders to {name}")

    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        app = Db(connection)
        app.run("insert into orders values (1)")
        app.value("select flowgres_api.start_execution('ship', '{}')")
        connection.rollback()
        assert app.value("select count(*) from orders") == 0
        assert app.value("select count(*) from flowgres_api.executions") == 0
        connection.rollback()
        app.run("insert into orders values (2)")
        started = app.value("select flowgres_api.start_execution('ship', '{}')")
        connection.commit()
        row = app.one("select id::text, tenant_id::text, created_by from flowgres_api.executions")
    assert row == {"id": started["execution_id"], "tenant_id": tenant.tenant_id, "created_by": f"login:{name}"}
    assert db.column("select id from orders") == [2]


def test_login_works_for_one_tenant_until_it_is_removed(
    database: Database, make_login: Callable[..., tuple[str, str]]
) -> None:
    acme, other = database.make_tenant("Acme"), database.make_tenant("Other")
    name, dsn = make_login("viewer")
    with database.connect("operator") as operator, psycopg.connect(dsn, autocommit=True) as app:

        def seen() -> list[tuple[str]]:
            return app.execute("select slug from flowgres_api.tenants").fetchall()

        assert seen() == []
        for is_new in (True, False):
            added = operator.call("flowgres_api.add_tenant_login", login=name, tenant="acme")
            assert (added["tenant_id"], added["created"]) == (acme.tenant_id, is_new)
        assert seen() == [("acme",)]
        with pytest.raises(psycopg.Error) as refused:
            operator.call("flowgres_api.add_tenant_login", login=name, tenant=other.slug)
        assert refusal(refused.value) == ("FG409", "tenant_login_taken")
        listed = operator.value("select flowgres.list_tenant_logins(p_slug => null)")
        assert [(row["login"], row["tenant"], row["role"]) for row in listed] == [(name, "acme", "viewer")]
        assert operator.call("flowgres_api.remove_tenant_login", login=name)["tenant_id"] == acme.tenant_id
        assert seen() == []
        with pytest.raises(psycopg.Error) as refused:
            operator.call("flowgres_api.remove_tenant_login", login=name)
        assert refusal(refused.value) == ("FG404", "tenant_login_not_found")
        audited = operator.column("select action from flowgres.audit_log where subject = %s order by id", name)
        assert audited == ["tenant_login_added", "tenant_login_removed"]


@pytest.mark.parametrize(
    ("login", "tenant", "refused"),
    [
        ("nobody_of_this_name", "acme", ("FG404", "login_not_found")),
        ("flowgres_member", "acme", ("FG404", "login_not_found")),
        ("flowgres_operator", "acme", ("FG422", "login_not_mappable")),
        ("flowgres_authenticator", "acme", ("FG422", "login_not_mappable")),
        ("flowgres_sql", "nowhere", ("FG404", "tenant_not_found")),
        (None, "acme", ("FG404", "login_not_found")),
        ("flowgres_sql", None, ("FG404", "tenant_not_found")),
    ],
)
def test_login_that_could_not_work_is_refused(
    login: str | None, tenant: str | None, refused: tuple[str, str], database: Database
) -> None:
    database.make_tenant("Acme")
    with database.connect("operator") as operator, pytest.raises(psycopg.Error) as error:
        operator.call("flowgres_api.add_tenant_login", login=login, tenant=tenant)
    assert refusal(error.value) == refused
    assert error.value.diag.message_hint


def test_tenant_maps_no_logins(database: Database, make_login: Callable[..., tuple[str, str]]) -> None:
    database.make_tenant("Acme")
    name, dsn = make_login("admin")
    with psycopg.connect(dsn, autocommit=True) as app:
        for call in ("add_tenant_login(%(login)s, 'acme')", "remove_tenant_login(%(login)s)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(f"select flowgres_api.{call}", {"login": name})


def test_login_of_a_suspended_tenant_can_call_nothing(
    database: Database, db: Db, make_login: Callable[..., tuple[str, str]]
) -> None:
    """Whatever a member or an administrator may do that a viewer may not, by the catalogue."""
    database.make_tenant("Acme")
    name, dsn = make_login("admin")
    with database.connect("operator") as operator:
        operator.call("flowgres_api.add_tenant_login", login=name, tenant="acme")
        operator.call("flowgres_api.suspend_tenant", tenant="acme", reason="unpaid")
    calls = db.all(
        "select p.oid::regproc::text as name, p.pronargs - p.pronargdefaults as most,"
        " array(select format_type(t, null) from unnest(p.proargtypes) as t) as types from pg_proc as p"
        " where p.pronamespace = 'flowgres_api'::regnamespace"
        " and has_function_privilege('flowgres_admin', p.oid, 'execute')"
        " and not has_function_privilege('flowgres_viewer', p.oid, 'execute')"
    )
    codes: dict[str, str] = {}
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as app:
        for call in calls:
            arguments = ", ".join(f"null::{kind}" for kind in call["types"][: call["most"]])
            try:
                app.execute(f"select {call['name']}({arguments})".encode())
                codes[call["name"]] = "done"
            except psycopg.Error as error:
                codes[call["name"]] = (error.diag.message_primary or "")[:150]
    wrong = {name: said for name, said in codes.items() if said != "this tenant is suspended"}
    assert len(codes) > 40
    # These look at their arguments first, and null is none.
    for verb in ("extend_task", "fail_task", "revoke_api_key", "rotate_api_key", "set_setting", "update_step"):
        assert wrong.pop(f"flowgres_api.{verb}", "") != "done"
    assert wrong == {}, str(wrong)
