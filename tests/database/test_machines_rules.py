"""What transitions ask of whoever takes them: roles, fields, guards; and what becomes of a refusal."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.database import Database
from tests.support.machines import Machines, machine, way


def ruled(**members: Any) -> dict[str, Any]:
    """A machine whose only rule is that of the way from a to b."""
    return machine("a>b", final="b") | {"transitions": [way("a", "b", "go", **members)]}


def answer(database: Database, machines: Machines, instance: str, to: str = "b", **arguments: Any) -> tuple[str, Any]:
    """Status and body as PostgREST would send them; `roles` are those of the caller's token."""
    roles = arguments.pop("roles", [])
    with database.as_role("member", tenant_id=machines.author.tenant_id, roles=roles) as member:
        member.run("select set_config('request.path', '/rpc/execute_transition', true)")
        body = member.call("flowgres_api.execute_transition", instance_id=instance, to_state=to, **arguments)
        return member.value("select coalesce(current_setting('response.status', true), '')"), body


FIELDS = "transition_fields_missing"
GUARD = "transition_guard_refused"
ONE = {"conditions": {"field_required": "x"}, "enforce": True}
TWO = {"conditions": {"field_required": ["x", "y"]}, "enforce": True}
BOTH = {"metadata": {"x": 1}, "context": {"y": 2}}
RULES = [
    ({"roles": ["manager", "boss"]}, {"roles": ["clerk"]}, {"roles": ["boss"]}, "403", "transition_forbidden"),
    ({"required": ["x", "y"]}, {"metadata": {"x": 1, "y": None}}, BOTH, "422", FIELDS),
    (ONE, {}, {"metadata": {"x": 1}}, "422", FIELDS),
    (TWO, {"metadata": {"x": 1}}, BOTH, "422", FIELDS),
    ({"guard": "$.data.amount <= 10"}, {"metadata": {"amount": 11}}, {"metadata": {"amount": 10}}, "422", GUARD),
    ({"guard": '$.context.ok == true && $.state == "a"'}, {}, {"context": {"ok": True}}, "422", GUARD),
]


@pytest.mark.parametrize(("rule", "bad", "good", "status", "code"), RULES)
def test_rule_refuses_and_lets_pass(
    database: Database,
    machines: Machines,
    rule: dict[str, Any],
    bad: dict[str, Any],
    good: dict[str, Any],
    status: str,
    code: str,
) -> None:
    machines.add(ruled(**rule))
    instance = machines.start()
    told, body = answer(database, machines, instance, **bad)
    assert (told, body["code"]) == (status, code)
    assert machines.row(instance)["current_state"] == "a"
    (refusal,) = machines.refusals()
    assert refusal["subject"] == instance
    assert refusal["actor"] == "test"
    assert refusal["details"] == {
        "code": code, "workflow": "m", "entity_table": "orders", "entity_id": "1", "from_state": "a", "to_state": "b",
        "transition": "go", "executed_by": "api_user",
    }  # fmt: skip
    assert answer(database, machines, instance, **good) == ("", True)
    assert len(machines.refusals()) == 1


def test_without_enforcement_conditions_are_only_told(machines: Machines) -> None:
    machines.add(ruled(conditions={"field_required": "x", "requires_role": "boss"}, context={"amount": 3}))
    assert machines.move(machines.start(), "b") is True


def test_guard_sees_the_instance_and_what_cannot_be_judged_does_not_hold(machines: Machines) -> None:
    machines.add(ruled(guard='$.metadata.amount <= 10 && $.entity_table == "orders" && $.entity_id starts with "7"'))
    assert machines.move(machines.start("7", metadata={"amount": 3}), "b") is True
    for entity, metadata in (("71", {"amount": 11}), ("72", {"amount": "x"}), ("73", {}), ("8", {"amount": 3})):
        with pytest.raises(psycopg.Error) as error:
            machines.move(machines.start(entity, metadata=metadata), "b")
        assert (error.value.sqlstate, error.value.diag.constraint_name) == ("FG422", "transition_guard_refused")


def test_guard_that_cannot_be_judged_says_so(database: Database, machines: Machines) -> None:
    machines.add(ruled(guard="$.data.amount <= 10"))
    instance = machines.start()
    for amount, says in ((11, "does not hold"), ("9", "gives no boolean: what it compares is not of one kind")):
        _, body = answer(database, machines, instance, metadata={"amount": amount})
        assert body["message"] == f'the guard of the transition "go" {says}'


def test_guard_compares_moments_in_one_time_zone_whatever_the_callers(machines: Machines) -> None:
    machines.add(ruled(guard="$.data.day.datetime() < $.data.until.datetime()"))
    moments = {"day": "2026-01-02", "until": "2026-01-02T00:00:00+00:00"}
    for zone in ("Asia/Tokyo", "America/New_York"):
        machines.db.run("select set_config('timezone', %s, false)", zone)
        with pytest.raises(psycopg.Error, match="does not hold"):
            machines.move(machines.start(zone), "b", metadata=moments)
        assert machines.move(machines.start(f"{zone} later"), "b", metadata=moments | {"day": "2026-01-01"}) is True


def test_refusal_within_somebodys_own_function_is_raised(database: Database, machines: Machines) -> None:
    # Its other writes are not to stay, and behind PostgREST an exception alone takes them back.
    machines.add(ruled(roles=["no_such_role"]))
    instance = machines.start()
    with database.as_role("member", tenant_id=machines.author.tenant_id) as member:
        member.run("select set_config('request.path', '/rpc/place_order', true)")
        with pytest.raises(psycopg.Error) as error:
            member.call("flowgres_api.execute_transition", instance_id=instance, to_state="b")
    assert error.value.sqlstate == "PGRST"
    assert json.loads(error.value.diag.message_primary or "")["code"] == "transition_forbidden"
    assert json.loads(error.value.diag.message_detail or "")["status"] == 403


def test_engine_does_not_fill_the_audit_log_with_refusals(machines: Machines) -> None:
    machines.add(ruled())
    instance = machines.start()

    def refuse(actors: list[str]) -> None:
        machines.db.run(
            "select flowgres.note_refusals(%s, %s, 'b', 'system', flowgres.now())",
            machines.author.tenant_id,
            [{"instance_id": instance, "code": "x", "actor": actor} for actor in actors],
        )

    refuse([f"execution:{number}" for number in range(600)])
    refuse([f"sla:{number}" for number in range(600)])
    assert len(machines.refusals()) == 1000
    refuse(["sla:a"])
    assert len(machines.refusals()) == 1000


def test_no_actor_fills_the_audit_log_with_refusals(machines: Machines) -> None:
    machines.add(ruled(roles=["no_such_role"]))
    instances = [machines.start(str(number)) for number in range(3)]

    def refuse(ids: list[str]) -> None:
        report = machines.db.value(
            "select flowgres_api.execute_transitions(%s::uuid[], 'b', on_error => 'report')", "{" + ",".join(ids) + "}"
        )
        assert report["refused"] == len(ids)

    refuse(instances[:1])
    machines.db.run(
        "insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)"
        " select a.tenant_id, gen_random_uuid(), a.at, a.actor, a.action, a.subject, a.details"
        " from flowgres.audit_log as a cross join generate_series(1, 997) where a.action = 'transition_refused'"
    )
    refuse(instances)
    told = [row for row in machines.refusals() if row["subject"] != instances[0]]
    assert [row["subject"] for row in told] == instances[1:2]
    assert told[0]["details"]["further_ones_are_written"] is False
    assert len(machines.refusals()) == 1000
    refuse(instances)
    assert len(machines.refusals()) == 1000
    machines.db.run("update flowgres.audit_log set actor = 'another'")
    refuse(instances)
    assert len(machines.refusals()) == 1003


def test_required_field_may_be_the_instances(machines: Machines) -> None:
    machines.add(ruled(required=["amount"]))
    assert machines.move(machines.start(metadata={"amount": 3}), "b") is True


def test_refusal_tells_the_state_and_the_ways(database: Database, machines: Machines) -> None:
    machines.add(machine("a>b", "b>c", "*>x", final="c x"))
    instance = machines.start()
    status, body = answer(database, machines, instance, "c")
    assert (status, body["code"]) == ("409", "transition_not_allowed")
    assert json.loads(body["details"]) == {
        "current_state": "a",
        "possible_transitions": [
            {"transition_name": "a_to_b", "to_state_name": "b"},
            {"transition_name": "any_to_x", "to_state_name": "x"},
        ],
    }
    status, body = answer(database, machines, instance, "nowhere")
    assert (status, body["code"]) == ("422", "state_unknown")
    assert [refusal["details"]["code"] for refusal in machines.refusals()] == [
        "transition_not_allowed",
        "state_unknown",
    ]


def test_in_sql_a_refusal_is_an_exception_and_a_report_keeps_it(machines: Machines) -> None:
    machines.add(ruled(roles=["no_such_role"]))
    instance = machines.start()
    with pytest.raises(psycopg.Error) as error:
        machines.move(instance, "b")
    assert (error.value.sqlstate, error.value.diag.constraint_name) == ("FG403", "transition_forbidden")
    assert machines.refusals() == []
    report = machines.db.value(
        "select flowgres_api.execute_transitions(array[%s]::uuid[], 'b', on_error => 'report')", instance
    )
    assert (report["moved"], report["refused"]) == (0, 1)
    assert report["results"][0]["error"]["code"] == "transition_forbidden"
    assert len(machines.refusals()) == 1


def test_login_of_the_database_has_the_roles_it_was_granted(database: Database, machines: Machines) -> None:
    machines.add(ruled(roles=["m_manager"]))
    instance = machines.start()
    db = machines.db
    login = f"l{machines.author.tenant_id.hex}"
    db.run(f"create role {login} login password 'secret' in role flowgres_member")
    db.run("select set_config('flowgres.tenant_id', '', false)")
    db.call("flowgres_api.add_tenant_login", login=login, tenant=db.value(
        "select slug from flowgres.tenants where tenant_id = %s", machines.author.tenant_id
    ))  # fmt: skip
    role = f"r{machines.author.tenant_id.hex}"
    db.run(f"create role {role}")
    try:
        dsn = make_conninfo(database.dsn(), user=login, password="secret")
        with psycopg.connect(dsn, autocommit=True) as own:
            own.execute("select set_config('flowgres.roles', '[\"m_manager\"]', false)")
            with pytest.raises(psycopg.Error) as error:
                own.execute("select flowgres_api.execute_transition(%s, 'b')", (instance,))
            assert error.value.diag.constraint_name == "transition_forbidden"
            db.run(
                "update flowgres.machine_transitions set roles = array[%s] where tenant_id = %s",
                role,
                machines.author.tenant_id,
            )
            db.run(f"grant {role} to {login}")
            row = own.execute("select flowgres_api.execute_transition(%s, 'b')", (instance,)).fetchone()
            assert row == (True,)
    finally:
        db.run(f"drop owned by {login}; drop role {login}; drop role {role}")


def test_ways_say_whether_the_caller_may_and_what_they_need(database: Database, machines: Machines) -> None:
    definition = machine("a>b", "a>c", "a>d", "a>e", final="b c d e")
    definition["transitions"] = [
        way("a", "b", "free", conditions={"k": 1}, context={"c": 2}),
        way("a", "c", "roles", roles=["boss"]),
        way("a", "d", "fields", required=["amount", "why"]),
        way("a", "e", "guard", guard="$.metadata.amount > 5"),
        way("*", "b", "hidden"),
    ]
    machines.add(definition)
    instance = machines.start(metadata={"amount": 3})
    with database.as_role("member", tenant_id=machines.author.tenant_id, roles=["clerk"]) as member:
        ways = member.all("select * from flowgres_api.get_transitions(%s)", instance)
    assert [(w["transition_name"], w["to_state_name"], w["is_allowed"], w["needs"]) for w in ways] == [
        ("free", "b", True, {}),
        ("roles", "c", False, {"roles": ["boss"]}),
        ("fields", "d", True, {"fields": ["why"]}),
        ("guard", "e", False, {"guard": '($."metadata"."amount" > 5)'}),
    ]
    assert (ways[0]["transition_conditions"], ways[0]["transition_context"]) == ({"k": 1}, {"c": 2})
    assert ways[0]["to_state_metadata"] == {}
    with database.as_role("viewer", tenant_id=machines.author.tenant_id, roles=["boss"]) as viewer:
        assert viewer.column("select is_allowed from flowgres_api.get_transitions(%s)", instance) == [False] * 4
