"""Tenants, keys, settings and secrets, as SQL sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db


def refusal(error: psycopg.Error) -> tuple[str | None, str | None]:
    """The SQLSTATE and the stable code of a refused call."""
    return error.sqlstate, error.diag.constraint_name


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Acme", "acme"),
        ("Acme & Söhne GmbH", "acme-s-hne-gmbh"),
        ("42 Answers", "tenant-42-answers"),
        ("東京", "tenant"),
        ("-- x --", "x"),
        ("y" * 200, "y" * 50),
    ],
)
def test_slug_is_made_from_the_name(name: str, slug: str, database: Database) -> None:
    assert database.make_tenant(name).slug == slug


def test_equal_names_get_different_slugs(database: Database) -> None:
    slugs = [database.make_tenant("Acme").slug for _ in range(3)]
    assert slugs[0] == "acme"
    assert len(set(slugs)) == 3


def test_registering_leaves_the_caller_in_its_own_tenant(database: Database) -> None:
    acme = database.make_tenant("Acme")
    with database.connect("operator") as operator:
        operator.run("select flowgres.use_tenant('acme')")
        operator.call("flowgres_api.register_tenant", name="Other")
        assert str(operator.value("select flowgres.tenant_id()")) == acme.tenant_id


def test_key_is_stored_as_a_hash_only(database: Database, db: Db) -> None:
    tenant = database.make_tenant("Acme")
    row = db.one("select k::text as text, k.key_hash from flowgres.api_keys as k")
    assert tenant.key.split("_")[-1] not in row["text"]
    assert bytes(row["key_hash"]) == bytes(db.value("select sha256(convert_to(%s, 'UTF8'))", tenant.key))


def test_random_part_does_not_repeat(db: Db) -> None:
    assert db.value("select count(distinct flowgres.random_hex()) from generate_series(1, 1000)") == 1000


def test_callers_are_the_same_through_every_door(database: Database) -> None:
    tenant = database.make_tenant("Acme")
    with database.connect("front") as front, front.connection.transaction():
        assert front.call("flowgres.assume_caller", p_api_key=tenant.key, p_claims=None) == "admin"
        assert front.value("select current_user::text") == "flowgres_admin"
        assert front.value("select flowgres.actor()") == "key:" + tenant.key.split("_")[-1][:8]
        assert front.column("select slug from flowgres_api.tenants") == ["acme"]


def test_front_without_a_caller_sees_nothing(database: Database) -> None:
    database.make_tenant("Acme")
    with database.connect("front") as front, pytest.raises(psycopg.errors.InsufficientPrivilege):
        front.column("select slug from flowgres_api.tenants")


def test_front_is_told_why_in_sql(database: Database) -> None:
    with database.connect("front") as front, pytest.raises(psycopg.Error) as refused:
        front.call("flowgres.assume_caller", p_api_key="fg_live_x", p_claims=None)
    assert refusal(refused.value) == ("FG401", "invalid_credentials")


def test_administrator_stays_within_the_installations_settings(as_role: Callable[..., Any], database: Database) -> None:
    tenant = database.make_tenant("Acme")
    with as_role("admin", tenant_id=tenant.tenant_id) as db:
        assert db.call("flowgres_api.set_setting", name="max_payload_bytes", value=psycopg.types.json.Jsonb(1000))[
            "is_override"
        ]
        rows = db.all(
            "select value, is_effective from flowgres_api.settings where name = 'max_payload_bytes' order by 2"
        )
        assert rows == [{"value": 1048576, "is_effective": False}, {"value": 1000, "is_effective": True}]
        db.run("select flowgres_api.set_setting(name => 'max_payload_bytes', value => null)")
        assert db.value("select count(*) from flowgres_api.settings where is_override") == 0


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("max_payload_bytes", "1048577", "setting_above_limit"),
        ("max_payload_bytes", '"many"', "argument_invalid"),
        ("max_payload_bytes", "-1", "argument_invalid"),
        ("environment", '"production"', "setting_not_yours"),
        ("lease_seconds", "1", "setting_not_yours"),
        ("nothing", "1", "setting_not_found"),
    ],
)
def test_administrator_cannot_go_further(
    name: str, value: str, code: str, as_role: Callable[..., Any], database: Database
) -> None:
    tenant = database.make_tenant("Acme")
    with pytest.raises(psycopg.Error, match=code), as_role("admin", tenant_id=tenant.tenant_id) as db:
        db.run("select flowgres_api.set_setting(name => %s, value => %s::jsonb)", name, value)


def test_operator_sets_for_the_installation_and_for_a_tenant(database: Database, db: Db) -> None:
    database.make_tenant("Acme")
    with database.connect("operator") as operator:
        operator.run("select flowgres_api.set_setting(name => 'max_steps_per_workflow', value => '60')")
        operator.run("select flowgres.use_tenant('acme')")
        operator.run("select flowgres_api.set_setting(name => 'max_steps_per_workflow', value => '200')")
        assert len(operator.column("select value from flowgres.settings where name = 'max_steps_per_workflow'")) == 2
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            operator.run("update flowgres.settings set value = '1'")
    audited = db.column("select details from flowgres.audit_log where action = 'setting_changed' order by id")
    assert audited == [{"value": 60}, {"value": 200}]


def test_secret_is_stored_read_by_runners_and_deleted(database: Database, as_role: Callable[..., Any]) -> None:
    tenant = database.make_tenant("Acme")
    put = (
        "select flowgres.put_secret(p_name => 'TOKEN', p_key_id => 'k1', p_nonce => decode(repeat('00', 12), 'hex'),"
        " p_ciphertext => decode(repeat('01', %s), 'hex'))"
    )
    with as_role("admin", tenant_id=tenant.tenant_id) as db:
        assert db.value(put, 24)["created"]
        assert not db.value(put, 30)["created"]
        with pytest.raises(psycopg.Error, match="secret_too_short"), db.connection.transaction():
            db.value(put, 23)
        assert db.one("select name, updated_by from flowgres_api.secrets") == {"name": "TOKEN", "updated_by": "test"}
    with database.connect("runner") as runner:
        rows = runner.all(
            "select * from flowgres.get_secrets(p_tenant_id => %s, p_names => '{TOKEN}')", tenant.tenant_id
        )
        assert [(row["name"], len(row["ciphertext"])) for row in rows] == [("TOKEN", 30)]
    with as_role("admin", tenant_id=tenant.tenant_id) as db:
        assert db.call("flowgres.delete_secret", p_name="TOKEN")["deleted"]
    with pytest.raises(psycopg.Error, match="secret_not_found"), as_role("admin", tenant_id=tenant.tenant_id) as db:
        db.call("flowgres.delete_secret", p_name="TOKEN")


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_only_administrators_store_secrets(role: Any, database: Database, as_role: Callable[..., Any]) -> None:
    tenant = database.make_tenant("Acme")
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        as_role(role, tenant_id=tenant.tenant_id) as db,
    ):
        db.call("flowgres.delete_secret", p_name="TOKEN")


def test_audit_cannot_be_rewritten(database: Database, db: Db) -> None:
    database.make_tenant("Acme")
    for role in ("flowgres_definer", "flowgres_engine"):
        assert not db.value("select has_table_privilege(%s, 'flowgres.audit_log', 'update')", role)
        assert not db.value("select has_table_privilege(%s, 'flowgres.audit_log', 'delete')", role)


def test_direct_login_cannot_pass_for_somebody_else(database: Database) -> None:
    with database.connect("operator") as db:
        db.run("select set_config('flowgres.actor', 'sub:somebody', false)")
        assert db.value("select flowgres.actor()") == "login:flowgres_operator"
