"""State machines over a real PostgREST: calls as those who had them before write them, and refusals that stay told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.api import Api, make_token
from tests.support.database import Database, Tenant
from tests.support.machines import machine, store_machine, way

STATUS = {"transition_forbidden": 403, "transition_not_allowed": 409, "state_unknown": 422}


@pytest.fixture(scope="module")
def tenant(module_database: Database) -> Tenant:
    """A tenant with a machine whose way to the boss's state is the boss's."""
    tenant = module_database.make_tenant("Orders")
    definition = machine("pending>paid", "paid>delivered", "delivered>returned", "*>held", final="delivered returned")
    definition["transitions"].append(way("paid", "returned", "give_back", roles=["boss"]))
    with module_database.connect() as db:
        store_machine(db, tenant.tenant_id, definition | {"name": "order_processing", "version": "1.0"})
        shipping = machine("pending>sent", "pending>packed", name="shipping")
        for transition, workflow in zip(shipping["transitions"], ("missing", "pack"), strict=True):
            transition["start"] = {"workflow": workflow, "input": {}}
        store_machine(db, tenant.tenant_id, shipping)
    return tenant


@pytest.fixture
def member(tenant: Tenant, module_api: Api) -> Api:
    return module_api.as_token(make_token(role="member", tenant_id=tenant.tenant_id, sub="ann", roles=["clerk"]))


@pytest.fixture
def instance(member: Api, request: pytest.FixtureRequest) -> str:
    """A fresh one, of an entity that has the test's name."""
    answer = member.rpc(
        "start_workflow",
        workflow_name="order_processing",
        entity_table="orders",
        entity_id=request.node.name[:200],
        metadata={"amount": 3},
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json())


@pytest.fixture
def shipment(member: Api, request: pytest.FixtureRequest) -> str:
    """An instance whose transitions start executions."""
    answer = member.rpc(
        "start_workflow", workflow_name="shipping", entity_table="orders", entity_id=request.node.name[:200]
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json())


def audited(tenant: Tenant, api: Api, instance: str) -> list[dict[str, Any]]:
    rows = api.as_key(tenant.key).get(
        "/audit_log", params={"action": "eq.transition_refused", "subject": f"eq.{instance}", "order": "at"}
    )
    return [row["details"] | {"actor": row["actor"]} for row in rows.json()]


def test_instance_goes_its_way(member: Api, instance: str) -> None:
    workflows = member.get("/workflows", params={"name": "eq.order_processing", "select": "id,name,states"}).json()
    assert workflows[0]["states"][0]["name"] == "pending"
    states = member.get("/workflow_states", params={"workflow_name": "eq.order_processing"}).json()
    assert {state["name"] for state in states} == {"pending", "paid", "delivered", "returned", "held"}
    ways = member.get("/rpc/get_transitions", params={"instance_id": instance}).json()
    assert [(w["to_state_name"], w["is_allowed"]) for w in ways] == [("paid", True), ("held", True)]
    moved = member.rpc(
        "execute_transition",
        instance_id=instance,
        to_state="paid",
        executed_by="payment_service",
        metadata={"payment_id": "p1"},
        context={"amount": 3},
        notes="Paid",
    )
    assert (moved.status_code, moved.json()) == (200, True)
    listed = member.get(
        "/entity_workflows", params={"id": f"eq.{instance}", "order": "updated_at.desc", "limit": "10"}
    ).json()
    assert [(row["current_state"], row["status"], row["workflow_version"]) for row in listed] == [
        ("paid", "active", "1.0")
    ]
    history = member.get(
        "/workflow_history",
        params={"entity_workflow_instance_id": f"eq.{instance}", "order": "executed_at.desc"},
    ).json()
    assert [(row["from_state"], row["to_state"], row["executed_by"], row["actor"]) for row in history] == [
        ("pending", "paid", "payment_service", "ann"),
        (None, "pending", "system", "ann"),
    ]
    assert member.get("/rpc/verify_history", params={"instance_id": instance}).json()["valid"] is True


def test_start_by_id_of_the_list(member: Api) -> None:
    (workflow,) = member.get("/workflows", params={"name": "eq.order_processing"}).json()
    given = {"workflow_definition_id": workflow["id"], "entity_table": "orders", "entity_id": "by id"}
    first = member.rpc("start_workflow_by_id", **given)
    assert first.status_code == 200, first.text
    again = member.rpc("start_workflow_by_id", **given)
    assert (again.status_code, again.json()["code"]) == (409, "instance_exists")
    assert json.loads(again.json()["details"]) == {"instance_id": first.json()}


@pytest.mark.parametrize(
    ("to", "code"),
    [("returned", "transition_forbidden"), ("pending", "transition_not_allowed"), ("nowhere", "state_unknown")],
)
def test_refusal_is_answered_and_stays_in_the_audit_log(
    tenant: Tenant, module_api: Api, member: Api, instance: str, to: str, code: str
) -> None:
    assert member.rpc("execute_transition", instance_id=instance, to_state="paid").json() is True
    answer = member.rpc("execute_transition", instance_id=instance, to_state=to, executed_by="till")
    body = answer.json()
    assert (answer.status_code, body["code"]) == (STATUS[code], code)
    assert body.keys() == {"code", "message", "details", "hint"}
    assert answer.headers["content-type"].startswith("application/json")
    (refusal,) = audited(tenant, module_api, instance)
    assert (refusal["code"], refusal["actor"], refusal["executed_by"], refusal["to_state"]) == (code, "ann", "till", to)
    assert member.get("/entity_workflows", params={"id": f"eq.{instance}"}).json()[0]["current_state"] == "paid"


def test_conflict_says_where_it_stands_and_where_it_may_go(member: Api, instance: str) -> None:
    answer = member.rpc("execute_transition", instance_id=instance, to_state="delivered")
    assert json.loads(answer.json()["details"]) == {
        "current_state": "pending",
        "possible_transitions": [
            {"transition_name": "pending_to_paid", "to_state_name": "paid"},
            {"transition_name": "any_to_held", "to_state_name": "held"},
        ],
    }


def test_business_roles_of_a_token_and_of_a_key_count(
    tenant: Tenant, module_api: Api, member: Api, instance: str, make_key: Callable[..., str]
) -> None:
    assert member.rpc("execute_transition", instance_id=instance, to_state="paid").json() is True
    boss = module_api.as_key(make_key(tenant, "member", roles=["boss"]))
    assert boss.rpc("execute_transition", instance_id=instance, to_state="returned").json() is True


def test_bulk_refusal_moves_none_and_is_told(tenant: Tenant, module_api: Api, member: Api, instance: str) -> None:
    other = member.rpc(
        "start_workflow", workflow_name="order_processing", entity_table="orders", entity_id="another"
    ).json()
    assert member.rpc("execute_transition", instance_id=other, to_state="paid").json() is True
    answer = member.rpc("execute_transitions", instances=[instance, other], to_state="paid")
    assert (answer.status_code, answer.json()["code"]) == (409, "transition_not_allowed")
    assert member.get("/entity_workflows", params={"id": f"eq.{instance}"}).json()[0]["current_state"] == "pending"
    assert [refusal["code"] for refusal in audited(tenant, module_api, other)] == ["transition_not_allowed"]
    report = member.rpc("execute_transitions", instances=[instance, other], to_state="paid", on_error="report").json()
    assert (report["moved"], report["refused"]) == (1, 1)


def test_viewer_reads_and_moves_nothing(
    tenant: Tenant, module_api: Api, instance: str, make_key: Callable[..., str]
) -> None:
    viewer = module_api.as_key(make_key(tenant, "viewer"))
    assert viewer.get("/entity_workflows", params={"id": f"eq.{instance}"}).json() != []
    answer = viewer.rpc("execute_transition", instance_id=instance, to_state="paid")
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")


def test_related_rows_are_embedded(member: Api, instance: str) -> None:
    select = "id,workflows(name),workflow_history(to_state)"
    (row,) = member.get("/entity_workflows", params={"id": f"eq.{instance}", "select": select}).json()
    assert row["workflows"] == {"name": "order_processing"}
    assert row["workflow_history"] == [{"to_state": "pending"}]
    select = "to_state,entity_workflows(current_state)"
    query = {"entity_workflow_instance_id": f"eq.{instance}", "select": select}
    assert member.get("/workflow_history", params=query).json() == [
        {"to_state": "pending", "entity_workflows": {"current_state": "pending"}}
    ]
    select = "name,workflow_states(name),workflow_transitions(transition_name),entity_workflows(id)"
    (row,) = member.get("/workflows", params={"name": "eq.order_processing", "select": select}).json()
    assert len(row["workflow_states"]) == 5
    assert len(row["workflow_transitions"]) == 5
    assert {"id": instance} in row["entity_workflows"]


def test_start_that_is_refused_keeps_its_status_and_is_told(
    tenant: Tenant, module_api: Api, member: Api, shipment: str
) -> None:
    answer = member.rpc("execute_transition", instance_id=shipment, to_state="sent")
    assert (answer.status_code, answer.json()["code"]) == (404, "workflow_not_found")
    assert set(answer.json()) == {"code", "message", "details", "hint"}
    (refusal,) = audited(tenant, module_api, shipment)
    assert refusal["code"] == "workflow_not_found"
    bulk = member.rpc("execute_transitions", instances=[shipment], to_state="sent")
    assert (bulk.status_code, bulk.json()["code"]) == (404, "workflow_not_found")


def test_execution_of_a_transition_is_embedded_both_ways(member: Api, shipment: str) -> None:
    definition = {"name": "pack", "steps": [{"id": "x", "type": "log", "config": {"message": "x"}}]}
    assert member.rpc("import_workflow", definition=definition).is_success
    assert member.rpc("execute_transition", instance_id=shipment, to_state="packed").json() is True
    select = "id,instance_executions(status,transition_name,executions(trigger_type,entity_workflows(id)))"
    (row,) = member.get("/entity_workflows", params={"id": f"eq.{shipment}", "select": select}).json()
    assert row["instance_executions"] == [
        {
            "status": "queued",
            "transition_name": "pending_to_packed",
            "executions": {"trigger_type": "transition", "entity_workflows": {"id": shipment}},
        }
    ]


def test_starts_over_the_rate_are_told_when_to_come_again(
    module_database: Database, module_api: Api, member: Api, tenant: Tenant, shipment: str
) -> None:
    definition = {"name": "pack", "steps": [{"id": "x", "type": "log", "config": {"message": "x"}}]}
    assert member.rpc("import_workflow", definition=definition).is_success
    admin = module_api.as_key(tenant.key)
    assert admin.rpc("set_setting", name="rate_limit_per_minute", value=0).is_success
    answer = member.rpc("execute_transition", instance_id=shipment, to_state="packed")
    assert (answer.status_code, answer.json()["code"]) == (429, "start_rate_exceeded")
    assert int(answer.headers["Retry-After"]) > 0
    assert admin.rpc("set_setting", name="rate_limit_per_minute", value=500).is_success


LONG = "x" * 10_001
DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"notes": LONG}, 422, "argument_too_long"),
        ({"executed_by": "x" * 201}, 422, "argument_too_long"),
        ({"executed_by": "ann\nbob"}, 400, "argument_invalid"),
        ({"executed_by": "\u001b[31mann"}, 400, "argument_invalid"),
        ({"metadata": {"a": "x" * 1_048_576}}, 413, "payload_too_large"),
        ({"context": DEEP}, 422, "payload_too_deep"),
        ({"metadata": []}, 422, "metadata_invalid"),
        ({"context": "x"}, 422, "metadata_invalid"),
        ({"to_state": None}, 400, "argument_invalid"),
        ({"to_state": LONG}, 422, "state_unknown"),
        ({"notes": "\u0000"}, 400, "22P05"),
    ],
)
def test_what_cannot_be_sent_along_is_refused(
    member: Api, instance: str, sent: dict[str, Any], status: int, code: str
) -> None:
    answer = member.rpc("execute_transition", **({"instance_id": instance, "to_state": "held"} | sent))
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text[:300]
    assert len(answer.text) < 2000


@pytest.mark.parametrize(
    ("entity", "status", "code"),
    [
        ({"entity_id": "x" * 10_000}, 422, "entity_invalid"),
        ({"entity_id": "a\nb"}, 422, "entity_invalid"),
        ({"entity_table": " "}, 422, "entity_invalid"),
        ({"entity_id": None}, 422, "entity_invalid"),
        ({"metadata": {"a": "x" * 17_000}}, 413, "metadata_too_large"),
        ({"metadata": DEEP}, 422, "payload_too_deep"),
        ({"meta": {}}, 422, "entity_invalid"),
    ],
)
def test_what_is_no_entity_is_refused(member: Api, entity: dict[str, Any], status: int, code: str) -> None:
    entities = [{"entity_table": "orders", "entity_id": "e"} | entity]
    answer = member.rpc("start_workflows", workflow="order_processing", entities=entities, on_error="report")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text[:300]


def test_keys_that_mean_something_elsewhere_are_kept(member: Api, instance: str) -> None:
    odd = {"__proto__": {"a": 1}, "constructor": None, "": 2, "\U0001f600": "\u001b"}
    moved = member.rpc("execute_transition", instance_id=instance, to_state="held", metadata=odd, notes="one\ntwo")
    assert (moved.status_code, moved.json()) == (200, True)
    history = member.get(
        "/workflow_history", params={"entity_workflow_instance_id": f"eq.{instance}", "seq": "eq.2"}
    ).json()
    assert (history[0]["metadata"], history[0]["notes"]) == (odd, "one\ntwo")


def test_small_call_does_not_write_gigabytes(member: Api, instance: str) -> None:
    instances = [instance, *(f"00000000-0000-0000-0000-{number:012}" for number in range(999))]
    sent: dict[str, Any] = {
        "instances": instances,
        "to_state": "held",
        "on_error": "report",
        "metadata": {"a": "x" * 20_000},
    }
    answer = member.rpc("execute_transitions", **sent)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert member.rpc("execute_transitions", **sent | {"metadata": {}}).json()["moved"] == 1


def test_viewers_read_and_do_not_move(tenant: Tenant, module_api: Api, instance: str) -> None:
    viewer = module_api.as_token(make_token(role="viewer", tenant_id=tenant.tenant_id, sub="eve"))
    for function, arguments in (
        ("start_workflow", {"workflow_name": "order_processing", "entity_table": "orders", "entity_id": "v"}),
        ("start_workflows", {"workflow": "order_processing", "entities": []}),
        ("execute_transition", {"instance_id": instance, "to_state": "held"}),
        ("execute_transitions", {"instances": [instance], "to_state": "held"}),
    ):
        assert viewer.rpc(function, **arguments).status_code == 403, function
    assert viewer.rpc("get_transitions", instance_id=instance).status_code == 200
    assert viewer.rpc("verify_history", instance_id=instance).json()["valid"] is True
