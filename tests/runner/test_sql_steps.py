"""Sql steps with a real runner: what a function is given, what its step gives, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, get, import_workflow, start
from tests.support.functions import calling, make_shop, sql_environment
from tests.support.runner import Runner, run_to_end, wait_for

Run = Callable[..., dict[str, Any]]

FUNCTIONS = Path(__file__).with_name("sql_steps.sql").read_text()


@pytest.fixture(scope="module")
def module_db(module_database: Database) -> Iterator[Db]:
    with module_database.connect() as db:
        make_shop(db, allow=False)
        db.run(FUNCTIONS)
        db.run("grant execute on all functions in schema shop to flowgres_sql")
        for name in db.column("select oid::regprocedure::text from pg_proc where pronamespace = 'shop'::regnamespace"):
            db.call("flowgres_api.allow_function", signature=name)
        yield db


@pytest.fixture(scope="module")
def module_runner(
    module_database: Database, module_db: Db, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    log: Path = tmp_path_factory.mktemp("runner") / "runner.log"
    with Runner(module_database, log_path=log, environment=sql_environment(module_database)) as runner:
        yield runner


@pytest.fixture
def tenant(module_database: Database) -> Tenant:
    return module_database.make_tenant()


@pytest.fixture
def run(module_database: Database, module_db: Db, module_runner: Runner, tenant: Tenant) -> Run:
    """`run(step, ..., name=input)` runs a workflow of these steps to its end."""

    def make(*steps: dict[str, Any], **inputs: Any) -> dict[str, Any]:
        return run_to_end(module_database, module_db, tenant, *steps, **inputs)

    return make


def effects(db: Db, tenant: Tenant) -> list[str]:
    return db.column("select step from shop.effects where tenant_id = %s order by at", tenant.tenant_id)


def test_a_function_gets_named_arguments_and_its_result_is_the_output(run: Run, module_db: Db, tenant: Tenant) -> None:
    execution = run(calling("shop.reserve", args={"step": "{{ input.name }}", "quantity": 3}), name="a")
    assert execution["status"] == "completed"
    assert execution["steps"]["call"]["output"] == {"step": "a", "quantity": 3}
    assert effects(module_db, tenant) == ["a"], "for the tenant of the step"
    assert module_db.value("select count(*) from flowgres.sql_calls") == 0


def test_values_become_what_the_arguments_are(run: Run) -> None:
    args = {"a": "{{ input.n }}", "b": "1.50", "c": True, "d": ["p", "q"], "e": {"deep": [1]}, "f": "2026-01-31"}
    execution = run(calling("shop.types", args=args), n=7)
    assert execution["steps"]["call"]["output"] == [7, 1.5, True, ["p", "q"], {"deep": [1]}, "2026-01-31", "x"]


@pytest.mark.parametrize(
    ("function", "args", "output"),
    [
        ("shop.one", {"n": 3}, [{"n2": 3, "word": "w"}]),
        ("shop.row", {"n": 3}, {"a": 3, "b": "b"}),
        ("shop.many", {"n": 3}, [1, 2, 3]),
        ("shop.many", {"n": 0}, []),
        ("shop.nothing", {}, None),
        ("shop.path", {}, "pg_catalog, shop, pg_temp"),
    ],
)
def test_a_result_is_an_output(run: Run, function: str, args: dict[str, Any], output: Any) -> None:
    execution = run(calling(function, args=args))
    assert execution["status"] == "completed", execution["error"]
    assert execution["steps"]["call"]["output"] == output


def test_items_and_rounds_call_once_each(run: Run, module_db: Db, tenant: Tenant) -> None:
    each = calling("shop.reserve", step="each", args={"step": "{{ item }}"}, foreach={"items": ["a", "b", "c"]})
    rounds = calling(
        "shop.reserve", step="rounds", args={"step": "r{{ round }}"}, repeat={"until": "{{ round == 3 }}"},
        depends_on=["each"], output="{{ output.step }}",
    )  # fmt: skip
    execution = run(each, rounds)
    assert [output["step"] for output in execution["steps"]["each"]["output"]] == ["a", "b", "c"]
    assert execution["steps"]["rounds"]["output"] == "r3"
    assert sorted(effects(module_db, tenant)) == ["a", "b", "c", "r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("kind", "code", "attempts", "details"),
    [
        ("own", "sql_failed", 1, {"sqlstate": "ST001", "hint": "order some", "detail": "sku 7"}),
        ("check", "sql_failed", 1, {"sqlstate": "23514", "table": "stock", "constraint": "stock_n_check"}),
        ("serial", "sql_conflict", 2, {"sqlstate": "40001"}),
        ("refused", "too_much", 2, {"sqlstate": "FG429", "status": 429}),
    ],
)
def test_an_error_fails_the_step_and_undoes_what_the_function_did(
    run: Run, module_db: Db, kind: str, code: str, attempts: int, details: dict[str, Any]
) -> None:
    retry = {"attempts": 2, "delay": 0}
    execution = run(calling("shop.broken", args={"kind": kind}, retry=retry))
    step = execution["steps"]["call"]
    assert (step["error"]["code"], step["attempts"], step["error"]["details"]) == (code, attempts, details)
    assert module_db.value("select count(*) from shop.effects where step = 'broken'") == 0


def test_what_was_put_off_to_the_commit_fails_the_step(run: Run, module_db: Db) -> None:
    error = run(calling("shop.late"))["steps"]["call"]["error"]
    assert (error["code"], error["details"]["sqlstate"]) == ("sql_failed", "23503")


def test_a_slow_function_ends_with_its_attempt(run: Run) -> None:
    step = run(calling("shop.slow", args={"seconds": 30}, timeout=0.3, retry={"attempts": 1}))["steps"]["call"]
    assert (step["error"]["code"], step["error"]["class"]) == ("sql_timeout", "timeout")


@pytest.mark.parametrize(
    ("function", "args", "code"),
    [("shop.large", {"bytes": 1_100_000}, "output_too_large"), ("shop.many", {"n": 10_001}, "too_many_rows")],
)
def test_an_output_that_is_too_large_undoes_the_call(run: Run, function: str, args: dict[str, Any], code: str) -> None:
    step = run(calling(function, args=args))["steps"]["call"]
    assert (step["error"]["code"], step["attempts"]) == (code, 1)


def test_what_a_function_leaves_in_its_session_is_gone_for_the_next(run: Run) -> None:
    execution = run(calling("shop.leave", step="first"), calling("shop.look", step="next", depends_on=["first"]))
    assert execution["steps"]["first"]["output"] == "behind"
    assert execution["steps"]["next"]["output"] == "0,0"


def test_a_value_that_is_none_of_its_type_is_an_error_of_the_step(run: Run) -> None:
    error = run(calling("shop.many", args={"n": "{{ 'many' }}"}))["steps"]["call"]["error"]
    assert (error["code"], error["details"]["sqlstate"]) == ("sql_failed", "22P02")
    assert "many" in error["message"]


def test_an_argument_that_an_expression_names_wrongly_is_told_of(run: Run) -> None:
    error = run(calling("shop.many", args="{{ {'m': 3} }}"))["steps"]["call"]["error"]
    assert (error["code"], error["class"], error["details"]["hint"]) == ("unknown_argument", "validation", "One of: n.")


def test_a_function_that_is_no_longer_allowed_is_not_called(
    module_database: Database, module_db: Db, module_runner: Runner, tenant: Tenant
) -> None:
    module_db.run("create function shop.gone() returns void language sql as 'select'")
    module_db.run("grant execute on function shop.gone() to flowgres_sql")
    module_db.call("flowgres_api.allow_function", signature="shop.gone()", tenant=tenant.slug)
    wait = {"id": "wait", "type": "wait", "config": {"signal": "go"}}
    name = import_workflow(module_db, tenant, dag("subject", [wait, calling("shop.gone", depends_on=["wait"])]))
    execution_id = start(module_database, tenant, name)
    module_db.call("flowgres_api.disallow_function", signature="shop.gone()", tenant=tenant.slug)
    with module_database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.send_signal", name="go", payload={}, execution_id=execution_id)
    wait_for(lambda: get(module_database, tenant, execution_id)["status"] == "failed", what="the end")
    step = get(module_database, tenant, execution_id)["steps"]["call"]
    assert (step["error"]["code"], step["attempts"]) == ("function_not_allowed", 1)


def test_slow_functions_of_one_tenant_keep_nobody_else_waiting(
    module_database: Database, module_db: Db, module_runner: Runner, tenant: Tenant
) -> None:
    other = module_database.make_tenant("Other")
    slow = [calling("shop.slow", step=f"s{n}", args={"seconds": 60}, timeout=90) for n in range(6)]
    import_workflow(module_db, tenant, dag("slow", slow))
    execution_id = start(module_database, tenant, "slow")
    calls = "select count(*) from pg_stat_activity where query like '%shop.slow%' and usename = 'flowgres_sql'"
    wait_for(lambda: module_db.value(f"{calls} and datname = current_database()") == 4, what="all connections in use")
    import_workflow(module_db, other, dag("quick", [calling("shop.nothing")]))
    quick = start(module_database, other, "quick")
    wait_for(lambda: get(module_database, other, quick)["status"] == "completed", what="the other's call")
    with module_database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.cancel_execution", execution_id=execution_id)
    idle = f"{calls} and datname = current_database() and state = 'active'"
    wait_for(lambda: module_db.value(idle) == 0, what="the end of what was cancelled")
