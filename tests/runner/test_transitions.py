"""Steps that move instances, with a real runner: what they are given, what they give, and what becomes of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import statuses
from tests.support.machines import machine, store_machine
from tests.support.runner import Runner, run_to_end

Start = Callable[..., str]

ENTITY = {"workflow": "m", "entity_table": "orders"}


@pytest.fixture
def begin(db: Db, tenant: Tenant, start_runner: Callable[..., Runner]) -> Start:
    """`begin("7")` starts an instance for the order 7."""
    store_machine(db, tenant.tenant_id, machine("new>paid", "paid>shipped", "paid>new", final="shipped"))
    start_runner()

    def start(entity_id: str) -> str:
        entity = {"entity_table": "orders", "entity_id": entity_id, "workflow_name": "m"}
        return str(db.call("flowgres_api.start_workflow", **entity))

    return start


def mark(to: str, **members: Any) -> dict[str, Any]:
    config = {**ENTITY, "entity_id": "{{ input.order }}", "to": to, **members.pop("config", {})}
    return {"id": to, "type": "transition", "config": config, **members}


def states(db: Db) -> list[str]:
    return db.column("select state from flowgres.instances order by entity_id")


def test_steps_take_an_order_through_its_machine(database: Database, db: Db, tenant: Tenant, begin: Start) -> None:
    instance = begin("7")
    told = {"metadata": {"amount": "{{ input.amount }}"}, "notes": "for {{ input.order }}"}
    paid = mark("paid", config=told, output="{{ output.transition_name }}")
    by_id = {"instance": "{{ input.instance }}", "to": "{{ input.to }}"}
    shipped = {"id": "shipped", "type": "transition", "depends_on": ["paid"], "config": by_id}
    given = {"order": 7, "amount": 5, "instance": instance, "to": "shipped"}
    execution = run_to_end(database, db, tenant, paid, shipped, **given)
    assert execution["status"] == "completed"
    assert execution["steps"]["paid"]["output"] == "new_to_paid"
    assert execution["steps"]["shipped"]["output"]["to_state"] == "shipped"
    told_of = db.one("select metadata, notes from flowgres.instance_history where to_state = 'paid'")
    assert told_of == {"metadata": {"amount": 5}, "notes": "for 7"}


def test_items_move_instance_by_instance(database: Database, db: Db, tenant: Tenant, begin: Start) -> None:
    for number in range(20):
        begin(str(number))
    each = mark("paid", foreach={"items": "{{ input.orders }}", "max_parallel": 5}, config={"entity_id": "{{ item }}"})
    execution = run_to_end(database, db, tenant, each, orders=list(range(20)))
    assert execution["status"] == "completed"
    assert [output["to_state"] for output in execution["steps"]["paid"]["output"]] == ["paid"] * 20
    assert states(db) == ["paid"] * 20


def test_rounds_move_once_each(database: Database, db: Db, tenant: Tenant, begin: Start) -> None:
    begin("7")
    there_and_back = mark(
        "paid", repeat={"until": "{{ round == 3 }}"}, config={"to": "{{ 'new' if round == 2 else 'paid' }}"}
    )
    execution = run_to_end(database, db, tenant, there_and_back, order="7")
    assert execution["status"] == "completed"
    assert db.column("select to_state from flowgres.instance_history order by seq") == ["new", "paid", "new", "paid"]


def test_what_is_refused_may_be_handled(database: Database, db: Db, tenant: Tenant, begin: Start) -> None:
    begin("7")
    refused = mark("shipped", on_error="continue")
    then = {"id": "then", "depends_on": ["shipped"], "config": {"expression": "{{ steps.shipped.error.code }}"}}
    execution = run_to_end(database, db, tenant, refused, then, order="7")
    assert statuses(execution) == {"shipped": "failed", "then": "completed"}
    assert execution["steps"]["then"]["output"] == "transition_not_allowed"


def test_compensation_moves_it_back(database: Database, db: Db, tenant: Tenant, begin: Start) -> None:
    begin("7")
    back = {"type": "transition", "config": {**ENTITY, "entity_id": "{{ input.order }}", "to": "new"}}
    fails = {"id": "fails", "depends_on": ["paid"], "config": {"expression": "{{ input.nothing }}"}}
    execution = run_to_end(database, db, tenant, mark("paid", compensate=back), fails, order="7")
    assert execution["status"] == "failed"
    assert states(db) == ["new"]


def test_rendered_configuration_is_checked(database: Database, db: Db, tenant: Tenant, begin: Start) -> None:
    by_id = {"id": "a", "type": "transition", "config": {"instance": "{{ input.order }}", "to": "paid"}}
    execution = run_to_end(database, db, tenant, by_id, order="7")
    assert execution["steps"]["a"]["error"]["code"] == "config_invalid"
