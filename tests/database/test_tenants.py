"""Tenants, keys, settings and secrets, as SQL sees them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db
from tests.support.runner import wait_for


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


def test_slug_that_is_asked_for_is_that_one_or_refused(database: Database) -> None:
    with database.connect("operator") as operator:
        made = [operator.call("flowgres_api.register_tenant", name="Acme", slug=slug) for slug in (None, "acme-2")]
        assert [(row["slug"], row["slug_taken"]) for row in made] == [("acme", None), ("acme-2", None)]
        third = operator.call("flowgres_api.register_tenant", name="Acme")
        assert (third["slug"][:5], third["slug_taken"]) == ("acme-", "acme")
        for slug, expected in (
            ("acme", ("FG409", "tenant_slug_taken")),
            ("Acme", ("FG400", "argument_invalid")),
            ("", ("FG400", "argument_invalid")),
            ("a\n", ("FG400", "argument_invalid")),
            ("a" * 64, ("FG400", "argument_invalid")),
        ):
            with pytest.raises(psycopg.Error) as refused:
                operator.call("flowgres_api.register_tenant", name="Acme", slug=slug)
            assert refusal(refused.value) == expected
        assert operator.value("select count(*) from flowgres_api.tenants") == 3


def _prefix(key: str) -> str:
    return key.split("_")[-1][:8]


def test_last_key_of_an_administrator_is_revoked_only_by_force(
    database: Database, as_role: Callable[..., Any], clock: Clock
) -> None:
    tenant = database.make_tenant("Acme")
    first = _prefix(tenant.key)
    with as_role("admin", tenant_id=tenant.tenant_id) as db:
        # None of these can take its place: too weak, revoked, or about to end.
        db.call("flowgres_api.create_api_key", name="member", role="member")
        revoked = db.call("flowgres_api.create_api_key", name="x", role="admin")
        assert db.call("flowgres_api.revoke_api_key", prefix=revoked["prefix"])["revoked_at"]
        db.call(
            "flowgres_api.create_api_key", name="short", role="admin",
            expires_at=db.value("select flowgres.now() + interval '1 hour'"),
        )  # fmt: skip
    with pytest.raises(psycopg.Error, match="last_admin_key"), as_role("admin", tenant_id=tenant.tenant_id) as db:
        db.call("flowgres_api.revoke_api_key", prefix=first)
    with as_role("admin", tenant_id=tenant.tenant_id) as db:
        assert db.call("flowgres_api.revoke_api_key", prefix=first, force=True)["revoked_at"]
        assert db.call("flowgres_api.revoke_api_key", prefix=first)["revoked_at"]
        short = db.one("select prefix from flowgres_api.api_keys where name = 'short'")["prefix"]
    clock.advance(seconds=7200)
    with as_role("admin", tenant_id=tenant.tenant_id) as db:
        # It has ended by itself: nothing is lost.
        assert db.call("flowgres_api.revoke_api_key", prefix=short)["revoked_at"]


def test_rotated_key_does_not_count_as_another_one(database: Database, as_role: Callable[..., Any]) -> None:
    tenant = database.make_tenant("Acme")
    with as_role("admin", tenant_id=tenant.tenant_id) as db:
        successor = db.call("flowgres_api.rotate_api_key", prefix=_prefix(tenant.key))
        assert db.call("flowgres_api.revoke_api_key", prefix=_prefix(tenant.key))["revoked_at"]
    with pytest.raises(psycopg.Error, match="last_admin_key"), as_role("admin", tenant_id=tenant.tenant_id) as db:
        db.call("flowgres_api.revoke_api_key", prefix=successor["prefix"])


def test_two_administrators_cannot_revoke_each_other(database: Database, db: Db) -> None:
    tenant = database.make_tenant("Acme")
    with database.connect("operator") as operator:
        operator.run("select flowgres.use_tenant('acme')")
        other = operator.call("flowgres_api.create_api_key", name="other", role="admin")["prefix"]
        with database.connect("operator") as rival, ThreadPoolExecutor() as pool:
            rival.run("select flowgres.use_tenant('acme')")
            with operator.connection.transaction():
                operator.call("flowgres_api.revoke_api_key", prefix=other)
                second = pool.submit(rival.call, "flowgres_api.revoke_api_key", prefix=_prefix(tenant.key))
                pid = rival.connection.info.backend_pid
                wait_for(lambda: db.value("select cardinality(pg_blocking_pids(%s)) > 0", pid), what="the lock")
            with pytest.raises(psycopg.Error) as refused:
                second.result(timeout=20)
    assert refusal(refused.value) == ("FG409", "last_admin_key")


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
        ("cron_timezone", '"CEST"', "timezone_unknown"),
        ("cron_timezone", "1", "argument_invalid"),
        ("notify_mode", '"loud"', "argument_invalid"),
        ("llm_mode", '"log"', "argument_invalid"),
        ("llm_prices", '{"m": {"input": 1}}', "argument_invalid"),
        ("llm_prices", '{"m": {"input": 1, "output": "2"}}', "argument_invalid"),
        ("llm_prices", '{"m": {"input": 1, "output": 2, "currency": 1}}', "argument_invalid"),
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
