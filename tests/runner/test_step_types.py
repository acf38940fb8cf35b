"""Each step type, run by a real runner against a real database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowgres_process.secret_keys import SecretKeys
from tests.support.database import Database, Tenant
from tests.support.engine import get, import_workflow, start
from tests.support.peers import Peer
from tests.support.runner import Runner, wait_for

Json = Any


@pytest.fixture
def tenant(database: Database) -> Tenant:
    return database.make_tenant()


def run(database: Database, tenant: Tenant, steps: list[Json], *, given: Json = None, **rest: Json) -> dict[str, Json]:
    """Import a workflow of these steps, start it, and give the execution when it has ended."""
    with database.connect() as db:
        name = import_workflow(db, tenant, {"name": "subject", "steps": steps, **rest})
    execution_id = start(database, tenant, name, input=given or {})
    return ended(database, tenant, execution_id)


def ended(database: Database, tenant: Tenant, execution_id: str) -> dict[str, Json]:
    def look() -> bool:
        return get(database, tenant, execution_id)["status"] in ("completed", "failed", "cancelled")

    wait_for(look, what="the end of the execution")
    return get(database, tenant, execution_id)


def test_chain_passes_outputs_on_with_their_types(database: Database, tenant: Tenant, runner: Runner) -> None:
    execution = run(
        database,
        tenant,
        [
            {
                "id": "a",
                "type": "transform",
                "config": {"output": {"n": "{{ input.n + 1 }}", "who": "{{ tenant.slug }}"}},
            },
            {"id": "b", "type": "transform", "config": {"expression": "{{ steps.a.output.n * 2 }}"}},
        ],
        given={"n": 20},
        outputs={"answer": "{{ steps.b.output }}", "who": "by {{ steps.a.output.who }} in {{ workflow.name }}"},
    )
    assert execution["status"] == "completed"
    assert execution["output"] == {"answer": 42, "who": f"by {tenant.slug} in subject"}


def test_condition_takes_one_branch_and_the_join_goes_on(database: Database, tenant: Tenant, runner: Runner) -> None:
    execution = run(
        database,
        tenant,
        [
            {
                "id": "c",
                "type": "condition",
                "config": {
                    "field": "input.n",
                    "operator": "gt",
                    "value": 10,
                    "true_branch": ["hi"],
                    "false_branch": ["lo"],
                },
            },
            {"id": "hi", "type": "log", "config": {"message": "high {{ input.n }}"}},
            {"id": "lo", "type": "log", "config": {"message": "low"}},
            {"id": "j", "type": "transform", "config": {"expression": "{{ [steps.hi.status, steps.lo.status] }}"}},
        ],
        given={"n": 11},
    )
    assert execution["steps"]["c"]["output"] == {"result": True, "branch": "true"}
    assert execution["steps"]["j"]["output"] == ["completed", "skipped"]
    with database.connect() as db:
        lines = db.column("select message from flowgres.events where type = 'log' order by seq")
    assert lines == ["high 11"]


def test_when_that_is_false_skips_and_output_reshapes(database: Database, tenant: Tenant, runner: Runner) -> None:
    execution = run(
        database,
        tenant,
        [
            {
                "id": "a",
                "type": "transform",
                "config": {"expression": "{{ [1, 2, 3] }}"},
                "output": {"count": "{{ output | length }}"},
            },
            {"id": "b", "type": "log", "when": "{{ steps.a.output.count > 5 }}", "config": {"message": "never"}},
        ],
    )
    assert execution["steps"]["a"]["output"] == {"count": 3}
    assert execution["steps"]["b"]["status"] == "skipped"


def test_delay_holds_no_runner_and_ends_on_time(database: Database, tenant: Tenant, runner: Runner) -> None:
    execution = run(database, tenant, [{"id": "d", "type": "delay", "config": {"duration": "300ms"}}])
    assert execution["status"] == "completed"
    assert execution["steps"]["d"]["output"] == {"seconds": 0.3}
    with database.connect() as db:
        seconds = db.value("select extract(epoch from finished_at - started_at) from flowgres.executions")
    assert 0.3 <= seconds < 1.3


def test_delay_until_a_time_that_has_passed_ends_at_once(database: Database, tenant: Tenant, runner: Runner) -> None:
    execution = run(
        database, tenant, [{"id": "d", "type": "delay", "config": {"until": "{{ '2020-01-01T00:00:00Z' }}"}}]
    )
    assert execution["steps"]["d"]["output"] == {"until": "2020-01-01T00:00:00+00:00"}


def test_sub_workflow_gives_its_output_to_the_parent(database: Database, tenant: Tenant, runner: Runner) -> None:
    with database.connect() as db:
        child = {
            "name": "child",
            "steps": [{"id": "x", "type": "transform", "config": {"expression": "{{ input.k + 1 }}"}}],
            "outputs": {"k": "{{ steps.x.output }}"},
        }
        import_workflow(db, tenant, child)
    execution = run(
        database,
        tenant,
        [
            {"id": "s", "type": "sub_workflow", "config": {"workflow": "child", "input": {"k": "{{ input.k }}"}}},
            {"id": "t", "type": "transform", "config": {"expression": "{{ steps.s.output.k }}"}},
        ],
        given={"k": 1},
    )
    assert execution["steps"]["t"]["output"] == 2


def test_output_reshapes_what_a_step_gives_when_it_goes_on(database: Database, tenant: Tenant, runner: Runner) -> None:
    child = {"name": "child", "steps": [{"id": "n", "type": "transform", "config": {"expression": "{{ input.n }}"}}]}
    steps = [
        {
            "id": "call",
            "type": "sub_workflow",
            "config": {"workflow": "child", "input": {"n": 20}},
            "output": {"twice": "{{ output.n * 2 }}"},
        },
        {"id": "wait", "type": "delay", "config": {"seconds": 0.01}, "output": "{{ output.seconds > 0 }}"},
    ]
    with database.connect() as db:
        import_workflow(db, tenant, child)
    execution = run(database, tenant, steps)
    assert {step: execution["steps"][step]["output"] for step in ("call", "wait")} == {
        "call": {"twice": 40},
        "wait": True,
    }


def test_failed_sub_workflow_fails_its_step(database: Database, tenant: Tenant, runner: Runner) -> None:
    with database.connect() as db:
        steps = [{"id": "x", "type": "transform", "config": {"expression": "{{ input.nothing }}"}}]
        import_workflow(db, tenant, {"name": "child", "steps": steps})
    execution = run(database, tenant, [{"id": "s", "type": "sub_workflow", "config": {"workflow": "child"}}])
    assert execution["status"] == "failed"
    assert execution["steps"]["s"]["error"]["code"] == "child_failed"


async def test_http_sends_secrets_that_appear_nowhere(database: Database, tenant: Tenant, runner: Runner) -> None:
    keys = SecretKeys("dGVzdC1zZWNyZXQta2V5LW9mLTMyLWJ5dGVzLWxvbmc=")
    sealed = keys.seal("s3cret-value", tenant_id=tenant.tenant_id, name="TOKEN")
    with database.connect() as db:
        db.run(
            "insert into flowgres.secrets (tenant_id, name, key_id, nonce, ciphertext) values (%s, %s, %s, %s, %s)",
            tenant.tenant_id, "TOKEN", sealed.key_id, sealed.nonce, sealed.ciphertext,
        )  # fmt: skip
    async with Peer() as peer:
        execution = await asyncio.to_thread(
            run,
            database,
            tenant,
            [
                {
                    "id": "h",
                    "type": "http",
                    "config": {
                        "method": "POST",
                        "url": f"http://127.0.0.1:{peer.port}/echo",
                        "headers": {"Authorization": "Bearer {{ secrets.TOKEN }}"},
                        "json": {"order": "{{ input.order }}", "token": "{{ secrets.TOKEN }}"},
                    },
                    "output": {"order": "{{ response.body.order }}", "token": "{{ response.body.token }}"},
                }
            ],
            given={"order": 7},
        )
    assert execution["steps"]["h"]["output"] == {"order": 7, "token": "***"}
    received = peer.requests[0]
    assert received.headers["authorization"] == "Bearer s3cret-value"
    assert received.headers["idempotency-key"] == f"{execution['id']}/h"
    assert b"s3cret-value" in received.body
    with database.connect() as db:
        for table in ("executions", "step_executions", "attempts", "events"):
            assert db.value(f"select count(*) from flowgres.{table} as t where t::text like '%s3cret%'") == 0
    assert "s3cret" not in runner.log


def test_undefined_field_fails_the_step_permanently(database: Database, tenant: Tenant, runner: Runner) -> None:
    execution = run(database, tenant, [{"id": "a", "type": "transform", "config": {"expression": "{{ input.no }}"}}])
    step = execution["steps"]["a"]
    assert (step["status"], step["error"]["code"], step["error"]["class"], step["attempts"]) == (
        "failed",
        "expression_undefined",
        "expression",
        1,
    )


async def test_answer_that_postgresql_cannot_store_fails_only_its_step(
    database: Database, tenant: Tenant, runner: Runner
) -> None:
    async with Peer() as peer:
        execution = await asyncio.to_thread(
            run,
            database,
            tenant,
            [
                {
                    "id": "a",
                    "type": "http",
                    "config": {
                        "method": "POST",
                        "url": f"http://127.0.0.1:{peer.port}/echo",
                        "headers": {"Content-Type": "application/json"},
                        "body": '{"x": "\\u0000"}',
                    },
                    "on_error": "continue",
                },
                {"id": "b", "type": "transform", "config": {"expression": "{{ steps.a.error.code }}"}},
            ],
        )
    assert execution["steps"]["a"]["attempts"] == 1
    assert execution["steps"]["b"]["output"] == "response_not_storable"


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        ({"accept": {"a": 1}}, "header_invalid", "config.headers.Accept: expected text or number or boolean or null"),
        ({"method": "FETCH"}, "config_invalid", "config.method: the word is not known here (Did you mean"),
        ({"status": 99}, "config_invalid", "config.expected_status[0]: the number is out of range ("),
    ],
)
async def test_what_expressions_give_to_http_is_checked_before_anything_is_sent(
    database: Database, tenant: Tenant, runner: Runner, given: Json, code: str, told: str
) -> None:
    config = {
        "method": "{{ input.method | default('post') }}",
        "headers": {"Accept": "{{ input.accept | default('*/*') }}"},
        "expected_status": "{{ input.status | default(200) }}",
    }
    step = {"id": "a", "type": "http", "retry": {"attempts": 3, "delay": 0, "errors": ["timeout", "5xx"]}}
    async with Peer() as peer:
        step["config"] = config | {"url": f"{peer.url}/echo"}
        execution = await asyncio.to_thread(run, database, tenant, [step], given=given)
        assert peer.requests == []
        good = await asyncio.to_thread(run, database, tenant, [step])
        assert good["status"] == "completed"
        assert [request.method for request in peer.requests] == ["POST"]
    error = execution["steps"]["a"]["error"]
    assert (error["code"], error["class"], execution["steps"]["a"]["attempts"]) == (code, "validation", 1)
    assert error["message"].startswith(told)


@pytest.mark.parametrize("size", [1, 100_000], ids=["here", "where large values are read"])
def test_what_expressions_give_to_steps_that_only_compute_is_checked(
    database: Database, tenant: Tenant, runner: Runner, size: int
) -> None:
    steps = [
        {"id": "a", "type": "log", "config": {"level": "{{ input.level }}", "message": f"{{{{ 'x' * {size} }}}}"}},
        {"id": "b", "type": "delay", "depends_on": ["a"], "config": {"duration": "{{ input.wait }}"}},
    ]
    shouted = run(database, tenant, steps, given={"level": "loud", "wait": 0})
    assert shouted["steps"]["a"]["error"] == {
        "code": "config_invalid",
        "class": "validation",
        "message": "config.level: the word is not known here (One of: debug, error, info, warning.)",
        "details": [{"path": "config.level", "code": "unknown_word", "message": "the word is not known here"}],
    }
    never = run(database, tenant, steps, given={"level": "INFO", "wait": None})
    assert never["steps"]["a"]["output"]["level"] == "info"
    error = never["steps"]["b"]["error"]
    assert (error["code"], error["message"]) == (
        "config_invalid",
        "config.duration: expected number or text, found null",
    )
    assert run(database, tenant, steps, given={"level": "info", "wait": "10ms"})["status"] == "completed"
