"""What tenants see of the installation: the settings that limit them, and runners without the names of hosts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands

HIDDEN = {
    "protocol",
    "self_registration_enabled",
    "lease_seconds",
    "heartbeat_seconds",
    "poll_seconds",
    "history_period_days",
    "history_ahead_count",
    "environment",
    "sql_functions_checked",
}
AsRole = Callable[..., Any]


@pytest.fixture
def hands(database: Database) -> Any:
    """A runner that told the name of its host."""
    with database.connect("runner") as db:
        yield Hands(db)


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_tenant_sees_the_settings_that_limit_it(
    role: str, tenant: Tenant, as_role: AsRole, database: Database, db: Db
) -> None:
    other = database.make_tenant("Other").tenant_id
    db.run("insert into flowgres.settings (tenant_id, name, value) values (%s, 'max_json_depth', '9')", other)
    everything = set(db.column("select name from flowgres.settings"))
    assert everything > HIDDEN
    listed = set(db.value("select flowgres.tenant_settings()"))
    with as_role(role, tenant_id=tenant.tenant_id) as caller:
        for relation in ("flowgres.settings", "flowgres_api.settings"):
            seen = caller.all(f"select tenant_id::text, name, value from {relation}")
            assert {row["name"] for row in seen} == everything & listed == everything - HIDDEN
            assert {row["tenant_id"] for row in seen} == {"00000000-0000-0000-0000-000000000000"}


def test_operator_sees_all_settings(tenant: Tenant, database: Database, db: Db) -> None:
    with database.connect("operator") as operator:
        for relation in ("flowgres.settings", "flowgres_api.settings"):
            names = operator.column(f"select name from {relation}")
            assert set(names) == set(db.column("select name from flowgres.settings")) > HIDDEN


def test_administrator_sets_what_it_sees_and_nothing_else(tenant: Tenant, as_role: AsRole, db: Db) -> None:
    with as_role("admin", tenant_id=tenant.tenant_id) as admin:
        rows = admin.all("select name, value from flowgres_api.settings order by name")
        for row in rows:
            given = (row["name"], json.dumps(row["value"]))
            answer = admin.value("select flowgres_api.set_setting(name => %s, value => %s::jsonb)", *given)
            assert answer["is_override"], row["name"]
        effective = admin.all("select name, is_override from flowgres_api.settings where is_effective order by name")
        assert effective == [{"name": row["name"], "is_override": True} for row in rows]
    with as_role("admin", tenant_id=tenant.tenant_id) as admin, pytest.raises(psycopg.Error, match="setting_not_yours"):
        admin.value("select flowgres_api.set_setting(name => 'lease_seconds', value => '1')")


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_tenant_sees_runners_without_their_hosts(role: str, tenant: Tenant, as_role: AsRole, hands: Hands) -> None:
    with as_role(role, tenant_id=tenant.tenant_id) as caller:
        row = caller.one("select * from flowgres_api.runners")
        assert (str(row["id"]), row["name"]) == (hands.id, f"runner-{hands.id[-12:]}")
        assert (row["status"], row["capabilities"], row["version"]) == ("working", ["core"], "0")
        assert caller.column("select name from flowgres.runners") == []


def test_operator_sees_the_hosts_of_runners(tenant: Tenant, database: Database, hands: Hands) -> None:
    with database.connect("operator") as operator:
        assert operator.column("select name from flowgres_api.runners") == ["hands"]
        assert operator.column("select name from flowgres.runners") == ["hands"]
        operator.call("flowgres.use_tenant", p_slug=tenant.slug)
        assert operator.value("select flowgres.runner_name(%s)", hands.id) == "hands"


def test_attempts_name_their_runner_to_each_as_it_may(
    tenant: Tenant, database: Database, as_role: AsRole, hands: Hands
) -> None:
    definition = {"name": "w", "steps": [{"id": "a", "type": "log", "config": {"message": "x"}}]}
    with as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.import_workflow", definition=definition)
    for version_id in hands.db.column("select version_id from flowgres.unchecked_versions(10, 9)"):
        hands.db.call("flowgres.confirm_version", p_version_id=version_id, p_errors=None)
    with as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_execution", workflow="w")
    (lease,) = hands.claim()
    with as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
        assert viewer.column("select runner from flowgres_api.attempts") == [f"runner-{hands.id[-12:]}"]
    hands.report([hands.result(lease, {"o": "completed", "out": {}, "ms": 1})])
    with as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
        assert viewer.column("select runner from flowgres_api.attempts") == [f"runner-{hands.id[-12:]}"]
    with database.connect("operator") as operator:
        assert operator.column("select runner from flowgres_api.attempts") == ["hands"]
