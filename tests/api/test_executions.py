"""Starting, reading and cancelling executions over HTTP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.conftest import DEFINITION, SqlRunner
from tests.support.api import Api
from tests.support.database import Database, Db, Tenant

UNKNOWN = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def alice_api(alice: Tenant, module_api: Api) -> Api:
    return module_api.as_key(alice.key)


def test_start_answers_201_then_200_then_422(alice_api: Api) -> None:
    def start(order: int) -> Any:
        return alice_api.rpc("start_execution", workflow="pipe", input={"order": order}, idempotency_key="once")

    first, again, other = start(1), start(1), start(2)
    assert [first.status_code, again.status_code, other.status_code] == [201, 200, 422]
    assert first.json()["execution_id"] == again.json()["execution_id"]
    assert [first.json()["created"], again.json()["created"]] == [True, False]
    assert other.json()["code"] == "idempotency_key_reused"


def test_fifty_concurrent_starts_with_one_key_make_one_execution(alice_api: Api, operator: Db) -> None:
    def start(_: int) -> Any:
        return alice_api.rpc("start_execution", workflow="pipe", input={"order": 7}, idempotency_key="fifty")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(start, range(50)))
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] * 49 + [201]
    assert len({answer.json()["execution_id"] for answer in answers}) == 1
    assert operator.value("select count(*) from flowgres.executions where idempotency_key = 'fifty'") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"workflow": "nothing"}, 404, "workflow_not_found"),
        ({"workflow": "pipe", "version": 99}, 404, "version_not_found"),
        ({"workflow": "pipe", "priority": 10}, 400, "priority_invalid"),
        ({"workflow": "pipe", "input": {"order": "seven"}}, 422, "input_invalid"),
        ({"workflow": "pipe", "input": {"oder": 7}}, 422, "input_invalid"),
        ({"workflow": "pipe", "input": {"x": "y" * (1 << 21)}}, 413, "payload_too_large"),
        ({"workflow": "pipe", "idempotency_key": ""}, 400, "idempotency_key_invalid"),
        ({"workflow": "pipe", "scheduled_at": "soon"}, 400, "22007"),
        ({"workflow": "pipe", "color": "red"}, 404, "PGRST202"),
    ],
)
def test_bad_start_is_refused_with_its_code(arguments: dict[str, Any], status: int, code: str, alice_api: Api) -> None:
    answer = alice_api.rpc("start_execution", **arguments)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text[:500]


def test_refused_start_leaves_nothing(alice_api: Api, operator: Db) -> None:
    before = operator.value("select count(*) from flowgres.executions")
    alice_api.rpc("start_execution", workflow="pipe", input={"order": "seven"}, idempotency_key="bad")
    assert operator.value("select count(*) from flowgres.executions") == before
    assert operator.value("select count(*) from flowgres.idempotency_keys where key = 'bad'") == 0


def test_many_starts_give_their_ids_in_order(alice_api: Api) -> None:
    answer = alice_api.rpc("start_executions", workflow="pipe", inputs=[{"order": n} for n in range(100)])
    ids = answer.json()
    # Ids ascend with their inputs: an index that is appended to splits half as often.
    assert len(ids) == 100
    assert ids == sorted(ids)
    rows = alice_api.get("/executions", params={"id": f"in.({','.join(ids)})", "select": "id,input"}).json()
    orders = {row["id"]: row["input"]["order"] for row in rows}
    assert [orders[id] for id in ids] == list(range(100))


def test_one_bad_input_among_many_starts_none(alice_api: Api, operator: Db) -> None:
    before = operator.value("select count(*) from flowgres.executions")
    answer = alice_api.rpc("start_executions", workflow="pipe", inputs=[{"order": 1}, {"order": "two"}])
    assert answer.status_code == 422
    assert operator.value("select count(*) from flowgres.executions") == before


def test_execution_shows_all_its_steps(alice: Tenant, alice_api: Api, operator: Db) -> None:
    id = operator.value(
        "select id::text from flowgres.executions where tenant_id = %s and idempotency_key = 'completed'",
        alice.tenant_id,
    )
    execution = alice_api.rpc("get_execution", execution_id=id).json()
    assert execution["status"] == "completed"
    assert (execution["progress"], execution["steps_completed"], execution["total_steps"]) == (100, 2, 2)
    assert [(step["step"], step["status"]) for step in execution["steps"]] == [
        ("first", "completed"),
        ("second", "completed"),
    ]
    row = alice_api.get("/executions", params={"id": f"eq.{id}"}).json()[0]
    shared = set(row) & set(execution)
    assert {name: row[name] for name in shared} == {name: execution[name] for name in shared}


def test_function_and_view_agree_on_columns_that_others_rely_on(alice_api: Api) -> None:
    documented = {
        "executions": "id,workflow_id,workflow_name,version,status,input,output,error,priority,correlation_id,"
        "idempotency_key,trigger_type,parent_execution_id,replayed_from,generation,steps_completed,total_steps,progress,"
        "created_by,scheduled_at,created_at,started_at,finished_at",
        "workflows": "id,tenant_id,name,title,kind,status,description,metadata,active_version,is_active,version,states,"
        "created_at,updated_at",
        "step_executions": "execution_id,step,iteration,type,status,output,error,attempts,ready_at,started_at,"
        "finished_at",
        "attempts": "execution_id,step,iteration,attempt,status,error,runner,started_at,finished_at,detail",
        "execution_events": "execution_id,seq,type,level,step,message,details,actor,at",
    }
    for view, columns in documented.items():
        answer = alice_api.get(f"/{view}", params={"select": columns, "limit": 1})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()) == 1


def test_failed_step_is_told_everywhere(alice: Tenant, alice_api: Api) -> None:
    params = {
        "idempotency_key": "eq.failed",
        "select": "status,error,step_executions(step,status,error),attempts(step,attempt,status,error,runner),"
        "execution_events(seq,type,level)",
    }
    execution = alice_api.get("/executions", params=params).json()[0]
    assert execution["status"] == "failed"
    assert (execution["error"]["code"], execution["error"]["step"]) == ("boom", "first")
    assert next(a for a in execution["attempts"] if a["status"] == "failed")["runner"].startswith("runner-")
    sequence = sorted(event["seq"] for event in execution["execution_events"])
    assert sequence == list(range(1, len(sequence) + 1))


def test_paging_counting_and_ordering_work(alice_api: Api) -> None:
    with_count = {"Prefer": "count=exact", "Range": "0-1"}
    answer = alice_api.request("GET", "/executions", params={"order": "created_at.desc"}, headers=with_count)
    assert answer.status_code == 206
    assert int(answer.headers["Content-Range"].split("/")[1]) >= 3
    created = [row["created_at"] for row in answer.json()]
    assert created == sorted(created, reverse=True)


def test_cancel_ends_an_execution_and_says_who(alice: Tenant, alice_api: Api) -> None:
    id = alice_api.rpc("start_execution", workflow="pipe").json()["execution_id"]
    cancelled = alice_api.rpc("cancel_execution", execution_id=id, reason="not needed")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert alice_api.rpc("cancel_execution", execution_id=id).status_code == 200
    events = alice_api.get("/execution_events", params={"execution_id": f"eq.{id}", "type": "eq.execution_cancelled"})
    assert events.json()[0]["actor"] == "key:" + alice.key.split("_")[-1][:8]


def test_cancel_of_an_ended_execution_is_a_conflict(alice: Tenant, alice_api: Api, operator: Db) -> None:
    id = operator.value("select id::text from flowgres.executions where status = 'completed' limit 1")
    answer = alice_api.rpc("cancel_execution", execution_id=id)
    assert (answer.status_code, answer.json()["code"]) == (409, "execution_ended")


def test_retry_goes_on_and_says_who_and_why(alice: Tenant, alice_api: Api, operator: Db) -> None:
    id = alice_api.rpc("start_execution", workflow="pipe").json()["execution_id"]
    assert alice_api.rpc("retry_execution", execution_id=id).json()["code"] == "execution_not_ended"
    alice_api.rpc("cancel_execution", execution_id=id)
    retried = alice_api.rpc("retry_execution", execution_id=id, reason="after all")
    assert (retried.status_code, retried.json()["generation"], retried.json()["error"]) == (200, 2, None)
    events = alice_api.get("/execution_events", params={"execution_id": f"eq.{id}", "type": "eq.execution_retried"})
    assert [(event["actor"], event["message"]) for event in events.json()] == [
        ("key:" + alice.key.split("_")[-1][:8], "after all")
    ]
    audit = "select details from flowgres.audit_log where action = 'execution_retried' and subject = %s"
    assert [row["details"] for row in operator.all(audit, id)] == [{"reason": "after all"}]
    too_long = alice_api.rpc("retry_execution", execution_id=id, reason="x" * 1001)
    assert (too_long.status_code, too_long.json()["code"]) == (422, "argument_too_long")
    alice_api.rpc("cancel_execution", execution_id=id)
    unknown = alice_api.rpc("retry_execution", execution_id=id, version=99)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "version_not_found")
    viewer = alice_api.get("/executions", params={"id": f"eq.{id}", "select": "max_retries,retry_count,retry_at"})
    assert viewer.json() == [{"max_retries": 0, "retry_count": 0, "retry_at": None}]


@pytest.mark.parametrize("function", ["get_execution", "cancel_execution", "retry_execution"])
def test_unknown_execution_is_not_found(function: str, alice_api: Api) -> None:
    answer = alice_api.rpc(function, execution_id=UNKNOWN)
    assert (answer.status_code, answer.json()["code"]) == (404, "execution_not_found")
    assert alice_api.rpc(function, execution_id="no-id").status_code == 400


def test_metrics_count_what_happened(database: Database, api: Api) -> None:
    tenant = database.make_tenant("Metrics")
    mine = api.as_key(tenant.key)
    mine.rpc("import_workflow", definition=DEFINITION)
    mine.rpc("start_executions", workflow="pipe", inputs=[{}] * 4)
    with database.connect("runner") as login:
        runner = SqlRunner(login)
        error = {"code": "boom", "message": "it broke", "class": "internal"}
        runner.run_all(runner.report(runner.claim(want=1), o="failed", error=error, out=None))
    metrics = mine.rpc("execution_metrics").json()
    assert metrics["executions"]["by_status"] == {"completed": 3, "failed": 1}
    assert (metrics["executions"]["total"], metrics["executions"]["failure_rate"]) == (4, 0.25)
    assert metrics["executions"]["duration_seconds"]["p95"] >= metrics["executions"]["duration_seconds"]["p50"] >= 0
    first = next(step for step in metrics["steps"] if step["step"] == "first")
    assert (first["total"], first["failed"], first["failure_rate"]) == (4, 1, 0.25)
    assert mine.rpc("execution_metrics", workflow="pipe").json()["executions"]["total"] == 4
    assert mine.rpc("execution_metrics", since="2001-01-01", until="2001-01-02").json()["executions"]["total"] == 0
    for arguments, status in (
        ({"workflow": "nothing"}, 404),
        ({"since": "2026-01-02", "until": "2026-01-01"}, 400),
    ):
        assert mine.rpc("execution_metrics", **arguments).status_code == status


def test_health_tells_of_runners_and_lag(database: Database, api: Api) -> None:
    told = api.rpc("health").json()
    assert (told["engine"], told["status"], told["lag_seconds"], told["live_runners"]) == ("flowgres", "degraded", 0, 0)
    assert len(told["installation"]) == 16
    tenant = database.make_tenant("Health")
    with database.connect("runner") as login, database.connect() as db:
        SqlRunner(login)
        assert api.rpc("health").json()["live_runners"] == 1
        api.as_key(tenant.key).rpc("import_workflow", definition=DEFINITION)
        api.as_key(tenant.key).rpc("start_execution", workflow="pipe")
        db.run("update flowgres.work_queue set ready_at = ready_at - interval '1 minute'")
    health = api.rpc("health").json()
    assert health["status"] == "ok"
    assert health["lag_seconds"] >= 60


def test_description_of_the_api_depends_on_the_role(alice_api: Api, module_api: Api) -> None:
    def paths(api: Api) -> set[str]:
        return set(json.loads(api.get("/").text)["paths"])

    assert paths(module_api) == {"/rpc/health", "/rpc/openapi", "/rpc/register_tenant"}
    assert {"/executions", "/rpc/start_execution", "/rpc/create_api_key"} <= paths(alice_api)
