"""Calls that a client sends twice, because the first answer was lost: they happen once, whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.api import Api
from tests.support.database import Db, Tenant
from tests.support.machines import machine, store_machine

Send = Callable[..., httpx.Response]
CALLERS = 20
MOVES = (
    "select h.from_state, h.to_state from flowgres.instance_history as h where h.instance_id = %s::uuid"
    " and h.from_state is not null order by h.seq"
)


@pytest.fixture
def member(alice: Tenant, module_api: Api) -> Api:
    return module_api.as_key(alice.key)


@pytest.fixture
def instance(alice: Tenant, member: Api, operator: Db) -> str:
    name = f"keyed_{uuid4().hex[:8]}"
    store_machine(
        operator, alice.tenant_id, {**machine("new>paid", "paid>new", "paid>sent", final="sent"), "name": name}
    )
    answer = member.rpc("start_workflow", workflow_name=name, entity_table="orders", entity_id=str(uuid4()))
    assert answer.status_code == 200, answer.text
    return str(answer.json())


def headed(api: Api, key: str) -> Send:
    """`send(function, **arguments)` with the header Idempotency-Key."""

    def send(function: str, **arguments: Any) -> httpx.Response:
        return api.request("POST", f"/rpc/{function}", json=arguments, headers={"Idempotency-Key": key})

    return send


@pytest.mark.parametrize("quote", ["", '"'], ids=["bare", "quoted"])
def test_header_is_the_key_of_a_start(member: Api, quote: str) -> None:
    key = str(uuid4())
    send = headed(member, f"{quote}{key}{quote}")
    first = send("start_execution", workflow="pipe", input={"order": 1})
    again = member.rpc("start_execution", workflow="pipe", input={"order": 1}, idempotency_key=key)
    other = send("start_execution", workflow="pipe", input={"order": 2})
    assert [first.status_code, again.status_code, other.status_code] == [201, 200, 422]
    assert again.json() == {**first.json(), "created": False}
    assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("start_execution", {"workflow": "pipe"}),
        ("send_signal", {"name": "told"}),
        ("decide_approval", {"execution_id": str(uuid4()), "step": "a", "decision": "approved"}),
        ("execute_transition", {"instance_id": str(uuid4()), "to_state": "paid"}),
    ],
)
def test_two_keys_are_refused(member: Api, function: str, arguments: dict[str, Any]) -> None:
    answer = headed(member, "one")(function, **arguments, idempotency_key="two")
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_conflict")


def test_header_is_the_key_of_a_signal(member: Api, operator: Db) -> None:
    send = headed(member, str(uuid4()))
    assert [send("send_signal", name="keyed", payload={"n": 1}).json() for _ in range(2)] == [0, 0]
    assert send("send_signal", name="keyed", payload={"n": 2}).json()["code"] == "idempotency_key_reused"
    assert operator.value("select count(*)::int from flowgres.signals where name = 'keyed'") == 1


def test_header_is_that_of_one_call_alone(alice: Tenant, operator: Db) -> None:
    # A function of somebody's own, behind PostgREST, that starts two.
    with operator.connection.transaction(force_rollback=True):
        operator.run("select set_config('request.path', '/rpc/place_order', true)")
        operator.run("""select set_config('request.headers', '{"idempotency-key": "theirs"}', true)""")
        keys = [operator.value("select flowgres.given_key('start_execution', %s)", key) for key in (None, "own")]
    assert keys == [None, "own"]


@pytest.mark.parametrize("is_headed", [False, True], ids=["argument", "header"])
def test_transition_happens_once(member: Api, operator: Db, instance: str, is_headed: bool) -> None:
    def move(to: str) -> httpx.Response:
        arguments = {"instance_id": instance, "to_state": to}
        if is_headed:
            return headed(member, "k")("execute_transition", **arguments)
        return member.rpc("execute_transition", **arguments, idempotency_key="k")

    assert [move("paid").json() for _ in range(2)] == [True, True]
    # Even when it has gone on since: the call that is repeated was answered true.
    assert member.rpc("execute_transition", instance_id=instance, to_state="new").json() is True
    assert move("paid").json() is True
    other = move("new")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert other.json()["details"] == f"It stands for a transition of the instance {instance}."
    assert operator.all(MOVES, instance) == [
        {"from_state": "new", "to_state": "paid"},
        {"from_state": "paid", "to_state": "new"},
    ]


def test_key_of_a_refused_transition_is_free(member: Api, instance: str) -> None:
    def move(to: str, key: str | None) -> httpx.Response:
        return member.rpc("execute_transition", instance_id=instance, to_state=to, idempotency_key=key)

    assert move("sent", "k").json()["code"] == "transition_not_allowed"
    assert move("paid", None).json() is True
    assert move("sent", "k").json() is True


def test_key_is_the_instances_own(member: Api, alice: Tenant, operator: Db, instance: str) -> None:
    other = member.rpc(
        "start_workflow",
        workflow_name=operator.value(
            "select w.name from flowgres.instances as i join flowgres.workflows as w on w.id = i.workflow_id"
            " where i.id = %s::uuid",
            instance,
        ),
        entity_table="orders",
        entity_id=str(uuid4()),
    ).json()
    for one in (instance, other):
        answer = member.rpc("execute_transition", instance_id=one, to_state="paid", idempotency_key="same")
        assert answer.json() is True
        assert len(operator.all(MOVES, one)) == 1


def test_many_callers_with_one_key_move_once(member: Api, operator: Db, instance: str) -> None:
    def move(_: int) -> httpx.Response:
        return member.rpc("execute_transition", instance_id=instance, to_state="paid", idempotency_key="many")

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(move, range(CALLERS)))
    assert [answer.json() for answer in answers] == [True] * CALLERS
    assert len(operator.all(MOVES, instance)) == 1
