"""Whatever somebody did to owners, rights and policies: status tells it, and an installation mends it."""

from __future__ import annotations

import contextlib

import pytest

from flowgres_cli.bundle import load_bundle
from flowgres_cli.migrate import MigrationError, SqlFileError, status, upgrade
from tests.support.database import Database, Db
from tests.support.server import INSTALLER

# What was done -> what status says.
SPOILED = {
    f"alter function flowgres.claim owner to {INSTALLER}": f"belongs to {INSTALLER}, not to flowgres_engine",
    f"alter function flowgres.start_execution owner to {INSTALLER}": f"belongs to {INSTALLER}, not to flowgres_definer",
    "alter function flowgres.release owner to flowgres_owner": "belongs to flowgres_owner, not to flowgres_engine",
    f"alter table flowgres.secrets owner to {INSTALLER}": f"table flowgres.secrets belongs to {INSTALLER}",
    f"alter table flowgres.executions_default owner to {INSTALLER}": "table flowgres.executions_default belongs to",
    f"alter table flowgres.migrations owner to {INSTALLER}": f"table flowgres.migrations belongs to {INSTALLER}",
    f"alter view flowgres_api.executions owner to {INSTALLER}": "view flowgres_api.executions belongs to",
    f"alter type flowgres.step_report owner to {INSTALLER}": "type flowgres.step_report belongs to",
    f"alter schema flowgres owner to {INSTALLER}": f"schema flowgres belongs to {INSTALLER}, not to flowgres_owner",
    "alter table flowgres.secrets disable row level security": "table flowgres.secrets does not force",
    "alter table flowgres.events_default no force row level security": "table flowgres.events_default does not force",
    "drop policy tenant_all on flowgres.secrets": "table flowgres.secrets lacks the policy tenant_all",
    "alter policy tenant_all on flowgres.tenants using (true)": "flowgres.tenants has a policy tenant_all that differs",
    "alter policy tenant_all on flowgres.events to public": "flowgres.events has a policy tenant_all that differs",
    "create policy mine on flowgres.secrets using (true)": "has a policy mine of somebody else",
    "drop policy tenant_select on flowgres.settings": "flowgres.settings lacks the policy tenant_select",
    "alter function flowgres.heartbeat reset search_path": " has no search_path of its own",
    "alter function flowgres.setting set search_path to ''": "flowgres.setting(uuid,text) has another search_path",
    "alter view flowgres_api.attempts set (security_invoker = false)": "does not run with the rights of its caller",
    "revoke execute on function flowgres.prune from flowgres_runner": "flowgres_runner may not execute",
    "grant execute on function flowgres.prune to flowgres_viewer": "flowgres_viewer may execute",
    "grant execute on function flowgres.prune to public": "public may execute",
    "revoke execute on function flowgres.prune from flowgres_engine": "flowgres_engine may not execute",
    "revoke select on flowgres.executions from flowgres_viewer": "flowgres_viewer may not select",
    "grant select on flowgres.api_keys to flowgres_viewer": "table flowgres.api_keys flowgres_viewer may select",
    "grant select (key_hash) on flowgres.api_keys to flowgres_admin": "flowgres_admin may select (key_hash)",
    "revoke select (name) on flowgres.api_keys from flowgres_admin": "flowgres_admin may not select (name)",
    "grant truncate on flowgres.events to flowgres_engine": "flowgres_engine may truncate",
    "grant insert on flowgres.attempts_default to flowgres_member": "flowgres_member may insert",
    "grant select on flowgres_api.workflows to public": "public may select",
    "revoke usage on schema flowgres_api from flowgres_viewer": "flowgres_viewer may not usage",
    "grant create on schema flowgres to public": "public may create",
    "revoke create on schema flowgres from flowgres_engine": "flowgres_engine may not create",
    "alter default privileges for role flowgres_engine grant execute on functions to public": "that PUBLIC may execute",
}
# What also hides from the installer what it has to read before it can mend anything.
BLINDING = [
    "drop policy engine_all on flowgres.migrations",
    f"alter schema flowgres owner to {INSTALLER}",
    "revoke all on flowgres.migrations, flowgres.schema_files from flowgres_owner",
    "alter table flowgres.migrations owner to flowgres_runner",
]


def installer_dsn(database: Database) -> str:
    return database.server.dsn(database.name, user=INSTALLER)


def test_what_was_spoiled_is_told_and_mended(database: Database, db: Db) -> None:
    dsn = installer_dsn(database)
    assert status(dsn).is_current
    for statement in SPOILED:
        db.run(statement)
    told = "\n".join(map(str, status(dsn).problems))
    assert [problem for problem in SPOILED.values() if problem not in told] == []
    assert upgrade(dsn) == ()
    assert status(dsn).is_current


@pytest.mark.parametrize("statement", BLINDING)
def test_what_hides_the_ledgers_is_mended_first(statement: str, database: Database, db: Db) -> None:
    db.run(statement)
    dsn = database.dsn() if "flowgres_runner" in statement else installer_dsn(database)
    with contextlib.suppress(MigrationError):
        assert not status(dsn).is_current
    assert upgrade(dsn) == ()
    assert status(dsn).is_current


def test_login_without_rights_is_told_so(database: Database) -> None:
    with pytest.raises(MigrationError) as caught:
        status(database.dsn("runner"))
    assert caught.value.code == "ledger_hidden"


def test_rights_of_other_roles_are_left_alone(database: Database, db: Db) -> None:
    db.run(f"grant select on flowgres_api.executions to {INSTALLER}")
    assert status(installer_dsn(database)).is_current
    upgrade(installer_dsn(database))
    assert db.value(f"select has_table_privilege('{INSTALLER}', 'flowgres_api.executions', 'select')")


@pytest.mark.parametrize(
    ("security", "owner"),
    [("definer", "flowgres_owner"), ("definer", "flowgres_engine"), ("invoker", "flowgres_engine")],
)
def test_function_with_other_rights_that_is_not_named_is_refused(
    security: str, owner: str, database: Database, db: Db
) -> None:
    # Who owns it, and who may call it, has to be said: after a restore nothing else would tell.
    db.run(
        f"create function flowgres.unnamed() returns integer language sql security {security}"
        f" set search_path to pg_catalog, pg_temp return 1; alter function flowgres.unnamed() owner to {owner}"
    )
    with pytest.raises(SqlFileError, match=r"flowgres\.unnamed\(\) is not the owner's alone, and access/grants\.sql"):
        upgrade(installer_dsn(database))


def test_stored_views_say_the_same(database: Database, db: Db) -> None:
    assert list(load_bundle().difference_queries) == ["access/roles.sql", "access/grants.sql", "access/policies.sql"]
    db.run("set search_path to pg_catalog")
    db.run("alter table flowgres.secrets no force row level security")
    db.run("revoke execute on function flowgres.claim from flowgres_runner")
    assert [row["object"] for row in db.all("select * from flowgres.policy_differences")] == ["table flowgres.secrets"]
    assert "flowgres.claim" in db.one("select * from flowgres.right_differences")["object"]
    assert db.all("select * from flowgres.role_differences") == []


def test_period_of_history_is_as_it_should_be_before_and_after_it_is_attached(database: Database, db: Db) -> None:
    db.run("select flowgres.set_clock(p_shift => interval '300 days')")
    db.run("set role flowgres_owner")
    assert db.call("flowgres.build_history_period", p_family="executions")
    apart = "select count(*) from flowgres.history_periods where attached_at is null"
    assert db.value(apart) == 1
    assert status(installer_dsn(database)).is_current
    # Each call makes one, of whatever family needs it most.
    while db.call("flowgres.create_history")["created"]:
        pass
    assert db.value(apart) == 0
    assert status(installer_dsn(database)).is_current
