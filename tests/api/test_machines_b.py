"""Programs written for the earlier system of state machines: their calls, with another host and credentials alone.

They have views below /api/ and functions below /rpc/, and functions below /api/rpc/ are as good. PostgREST itself has
both at its root.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flowgres_definitions.dialects import translate
from tests.support.api import Api
from tests.support.database import Database
from tests.support.proxies import Proxy

EXAMPLES = Path(__file__).parents[2] / "examples"
STATES = ["new", "investigating", "pending_approval", "approved", "rejected", "cancelled"]
INSTANCE = {
    "id", "entity_table", "entity_id", "workflow_name", "workflow_version", "current_state", "current_state_metadata",
    "started_at", "updated_at", "completed_at", "status", "metadata",
}  # fmt: skip
HISTORY = {
    "id", "entity_workflow_instance_id", "entity_table", "entity_id", "workflow_name", "from_state", "to_state",
    "transition_name", "executed_by", "executed_at", "metadata", "context", "notes",
}  # fmt: skip


class Program:
    """A client of before: `get` takes a view with its query, `post` a function with its body."""

    def __init__(self, api: Api, *, views: str, functions: str) -> None:
        self.api = api
        self.views = views
        self.functions = functions

    def get(self, view: str, **headers: str) -> Any:
        answer = self.api.request("GET", f"{self.views}/{view}", headers=headers)
        assert answer.status_code in (200, 206), answer.text
        return answer.json()

    def call(self, function: str) -> Any:
        answer = self.api.request("GET", f"{self.functions}/{function}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, function: str, body: dict[str, Any]) -> httpx.Response:
        return self.api.request("POST", f"{self.functions}/{function}", json=body)

    def post(self, function: str, body: dict[str, Any]) -> Any:
        answer = self.send(function, body)
        assert answer.status_code == 200, answer.text
        return answer.json()


PLACES = [
    ("postgrest", "", "/rpc"),
    ("nginx", "/api", "/rpc"),
    ("caddy", "/api", "/rpc"),
    ("caddy", "/api", "/api/rpc"),
]


@pytest.fixture(scope="module", params=PLACES, ids=lambda place: "".join(place))
def place(
    request: pytest.FixtureRequest, module_api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """Where programs think the server is, and what they put before views and functions."""
    name, views, functions = request.param
    if name == "postgrest":
        yield Program(module_api, views=views, functions=functions)
        return
    # The front has no part in this.
    with Proxy(name, front=module_api.url, api=module_api.url, folder=tmp_path_factory.mktemp(name)) as proxy:
        yield Program(Api(proxy.url), views=views, functions=functions)


@pytest.fixture
def program(place: Program, module_database: Database, make_key: Callable[..., str]) -> Program:
    """A member of a new tenant that has both machines."""
    tenant = module_database.make_tenant(str(uuid.uuid4()))
    api = place.api.as_key(make_key(tenant, "member"))
    program = Program(api, views=place.views, functions=place.functions)
    for file in sorted((*EXAMPLES.glob("fraud_detection/*.yaml"), *EXAMPLES.glob("order_state_machine/*.yaml"))):
        # As the front and the command line read the file; the database takes our words alone.
        definition = translate(yaml.safe_load(file.read_text())).document
        answer = program.send("import_workflow", {"definition": definition})
        assert answer.status_code in (200, 201), answer.text
    return program


def start(program: Program, entity_id: str = "12345", workflow: str = "fraud_detection") -> str:
    body = {"workflow_name": workflow, "entity_table": "transactions", "entity_id": entity_id}
    return str(program.post("start_workflow", body))


def move(program: Program, instance: str, state: str, **more: Any) -> None:
    assert program.post("execute_transition", {"instance_id": instance, "to_state": state, **more}) is True


def test_workflows_are_listed_with_their_states(program: Program) -> None:
    for query in ("", "?is_active=eq.true", "?order=created_at.desc"):
        assert {row["name"] for row in program.get(f"workflows{query}")} == {"fraud_detection", "order_processing"}
    (found,) = program.get("workflows?name=eq.fraud_detection")
    assert found["is_active"] is True
    assert {"id", "version", "created_at", "updated_at", "metadata"} <= found.keys()
    assert [state["name"] for state in found["states"]] == STATES
    assert all(state.keys() == {"id", "name", "is_initial", "is_final", "metadata"} for state in found["states"])
    assert [state["name"] for state in found["states"] if state["is_initial"]] == ["new"]
    assert program.get("workflows?name=eq.fraud_detection&select=id,name") == [
        {"id": found["id"], "name": "fraud_detection"}
    ]


def test_states_and_transitions_are_listed(program: Program) -> None:
    states = program.get("workflow_states?workflow_name=eq.fraud_detection")
    wanted = {"id", "workflow_name", "name", "is_initial", "is_final", "metadata", "created_at"}
    assert all(wanted <= state.keys() for state in states)
    assert {state["name"] for state in states if state["is_final"]} == {"approved", "rejected", "cancelled"}

    rows = program.get("workflow_transitions?workflow_name=eq.fraud_detection")
    wanted = {"id", "workflow_name", "from_state", "to_state", "transition_name", "conditions", "context", "metadata"}
    assert all(wanted <= row.keys() for row in rows)
    found = {row["transition_name"]: (row["from_state"], row["to_state"]) for row in rows}
    assert found == {
        "start_investigation": ("new", "investigating"),
        "request_approval": ("investigating", "pending_approval"),
        "auto_approve": ("investigating", "approved"),
        "reject_suspicious": ("investigating", "rejected"),
        "manager_approve": ("pending_approval", "approved"),
        "manager_reject": ("pending_approval", "rejected"),
        "cancel": (None, "cancelled"),
    }
    (automatic,) = [row for row in rows if row["transition_name"] == "auto_approve"]
    assert automatic["conditions"] == {"amount_threshold": 1000, "risk_score": "low"}


@pytest.mark.parametrize("is_by_id", [False, True])
def test_instance_is_started_moved_and_read(program: Program, is_by_id: bool) -> None:
    (workflow,) = program.get("workflows?name=eq.fraud_detection&select=id,name")
    named = {"workflow_definition_id": workflow["id"]} if is_by_id else {"workflow_name": "fraud_detection"}
    entity = {"entity_table": "transactions", "entity_id": "12345"}
    known = {"amount": 5000, "risk_score": "medium"}
    instance = program.post(
        "start_workflow_by_id" if is_by_id else "start_workflow", named | entity | {"metadata": known}
    )
    assert str(uuid.UUID(instance)) == instance

    told = {"executed_by": "security_analyst_1", "notes": "Suspicious pattern detected"}
    context = {"user_department": "fraud_analysis", "alert_source": "velocity_check", "case_priority": "high"}
    move(program, instance, "investigating", **told, metadata={"investigation_type": "manual"}, context=context)

    (row,) = program.get("entity_workflows?entity_table=eq.transactions&entity_id=eq.12345")
    assert row.keys() >= INSTANCE
    assert (row["id"], row["workflow_version"], row["current_state"]) == (instance, "1.0", "investigating")
    assert (row["status"], row["completed_at"], row["metadata"]) == ("active", None, known)
    assert row["current_state_metadata"].keys() >= {"display_name", "color"}

    newest, first = program.get(f"workflow_history?entity_workflow_instance_id=eq.{instance}&order=executed_at.desc")
    assert newest.keys() >= HISTORY
    assert (newest["from_state"], newest["to_state"]) == ("new", "investigating")
    assert newest["transition_name"] == "start_investigation"
    assert {name: newest[name] for name in told} == told
    assert (newest["metadata"], newest["context"]) == ({"investigation_type": "manual"}, context)
    assert (first["from_state"], first["to_state"], first["executed_by"]) == (None, "new", "system")
    assert (first["metadata"], first["notes"]) == ({"action": "workflow_started"}, "Workflow started")
    unordered = program.get(f"workflow_history?entity_workflow_instance_id=eq.{instance}")
    assert {found["id"] for found in unordered} == {newest["id"], first["id"]}

    ways = program.call(f"get_transitions?instance_id={instance}")
    wanted = {
        "transition_id", "transition_name", "to_state_name", "to_state_metadata", "transition_context",
        "transition_conditions",
    }  # fmt: skip
    assert all(wanted <= way.keys() for way in ways)
    assert {way["to_state_name"] for way in ways} == {"pending_approval", "approved", "rejected", "cancelled"}

    # Nobody who says nothing of it is anonymous.
    move(program, instance, "approved")
    (row,) = program.get(f"entity_workflows?id=eq.{instance}")
    assert (row["status"], row["completed_at"] is None) == ("completed", False)
    last = program.get(f"workflow_history?entity_workflow_instance_id=eq.{instance}&to_state=eq.approved")
    assert [found["executed_by"] for found in last] == ["api_user"]


def test_instances_are_filtered_ordered_and_paged(program: Program) -> None:
    fraud = [start(program, f"0{number}123") for number in range(3)]
    order = start(program, "99", "order_processing")
    move(program, fraud[0], "investigating")
    move(program, fraud[1], "cancelled")

    def ids(query: str, **headers: str) -> list[str]:
        return [row["id"] for row in program.get(f"entity_workflows?{query}", **headers)]

    assert ids("workflow_name=eq.fraud_detection&order=updated_at.desc") == [fraud[1], fraud[0], fraud[2]]
    assert set(ids("entity_table=eq.transactions")) == {*fraud, order}
    assert ids("current_state=eq.investigating") == [fraud[0]]
    assert set(ids("status=eq.active")) == {fraud[0], fraud[2], order}
    assert ids("status=eq.completed") == [fraud[1]]
    assert set(ids("entity_id=like.*123*")) == set(fraud)
    assert set(ids("status=eq.active&workflow_name=eq.fraud_detection")) == {fraud[0], fraud[2]}
    everything = ids("order=workflow_name.asc,updated_at.desc")
    assert everything == [fraud[1], fraud[0], fraud[2], order]
    assert ids("order=workflow_name.asc,updated_at.desc&limit=2&offset=1") == everything[1:3]
    assert len(ids("limit=10")) == 4
    assert len(ids("limit=10&offset=20")) == 0
    ranged = {"Range-Unit": "items", "Range": "0-1"}
    assert ids("order=workflow_name.asc,updated_at.desc", **ranged) == everything[:2]
    (row,) = program.get(f"entity_workflows?id=eq.{order}&select=id,entity_id,current_state,updated_at")
    assert row.keys() == {"id", "entity_id", "current_state", "updated_at"}
    (row,) = program.get(f"entity_workflows?id=eq.{order}&select=id,entity:entity_id,state:current_state")
    assert row == {"id": order, "entity": "99", "state": "pending"}


def test_what_was_refused_is_refused_with_the_same_status(program: Program) -> None:
    def refused(function: str, **body: Any) -> tuple[int, str]:
        answer = program.send(function, body)
        assert {"code", "message", "details", "hint"} <= answer.json().keys()
        return answer.status_code, answer.json()["code"]

    entity = {"entity_table": "transactions", "entity_id": "12345"}
    instance = start(program)
    assert refused("start_workflow", workflow_name="fraud_detection", **entity) == (409, "instance_exists")
    assert refused("start_workflow", workflow_name="nothing", **entity) == (404, "workflow_not_found")
    nothing = str(uuid.uuid4())
    assert refused("start_workflow_by_id", workflow_definition_id=nothing, **entity) == (404, "workflow_not_found")
    wrong = {"instance_id": instance, "to_state": "approved"}
    assert refused("execute_transition", **wrong) == (409, "transition_not_allowed")
    assert refused("execute_transition", instance_id=nothing, to_state="approved") == (404, "instance_not_found")


def test_order_may_be_returned_after_its_delivery(program: Program) -> None:
    order = start(program, "1001", "order_processing")
    for state in ("paid", "processing", "shipped", "delivered"):
        move(program, order, state)
    (row,) = program.get(f"entity_workflows?id=eq.{order}")
    assert row["status"] == "completed"
    move(program, order, "returned", executed_by="desk", notes="Too small")
    rows = program.get(f"workflow_history?entity_workflow_instance_id=eq.{order}&order=executed_at.desc")
    assert [found["transition_name"] for found in rows[:2]] == ["process_return", "confirm_delivery"]


def test_final_states_are_not_left_by_a_star(program: Program) -> None:
    instance = start(program)
    move(program, instance, "cancelled")
    answer = program.send("execute_transition", {"instance_id": instance, "to_state": "cancelled"})
    assert answer.status_code == 409
    assert program.call(f"get_transitions?instance_id={instance}") == []
    assert start(program) != instance
