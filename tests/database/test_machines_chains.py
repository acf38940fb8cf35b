"""Executions that follow each other by the states of an instance, and very many at once."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db
from tests.support.definitions import Author
from tests.support.engine import Hands, completed, dag, failed
from tests.support.machines import WORK, Machines, going, links
from tests.support.races import refusal_code

MOST = 10_000
MANY = 1000


def count(db: Db) -> int:
    return int(db.value("select count(*) from flowgres.executions"))


def many(machines: Machines, number: int) -> list[str]:
    entities = [{"entity_table": "orders", "entity_id": str(place)} for place in range(number)]
    answer = machines.db.call("flowgres_api.start_workflows", workflow="m", entities=entities)
    return [result["instance_id"] for result in answer["results"]]


def move(db: Db, ids: list[str], to: str, on_error: str = "fail") -> Any:
    query = "select flowgres_api.execute_transitions(%s::uuid[], %s, on_error => %s)"
    return db.value(query, "{" + ",".join(ids) + "}", to, on_error)


def test_end_starts_the_next_execution(machines: Machines, runner: Hands) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", "b>c", "c>d", final="d", b={"on_success": "c"}, c={"on_success": "d"}))
    instance = machines.start()
    machines.move(instance, "b")
    assert runner.work() == ["do", "do"]
    assert machines.row(instance)["status"] == "completed"
    first, second = links(machines, "execution_id, moved_to")
    assert (first[1], second[1]) == ("c", "d")
    following = machines.db.one("select created_by, trigger from flowgres_api.executions where id = %s", second[0])
    assert following["created_by"] == "engine"
    assert (following["trigger"]["after"], following["trigger"]["hops"]) == (str(first[0]), 1)


def test_executions_that_go_round_come_to_an_end(machines: Machines, runner: Hands) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", "b>a", "a>a", a={"on_success": "b"}, b={"on_success": "a"}))
    most = int(machines.db.value("select value::int from flowgres.settings where name = 'max_event_hops'"))
    instance = machines.start()
    machines.move(instance, "b")
    runner.work()
    reasons = [reason for (reason,) in links(machines, "reason")]
    assert reasons == [None] * most + ["event_loop"]
    # By hand it begins anew.
    machines.move(instance, "a" if machines.row(instance)["current_state"] == "b" else "b")
    runner.work()
    assert [reason for (reason,) in links(machines, "reason")].count("event_loop") == 2


def test_step_that_asks_for_a_transition_is_in_the_row(machines: Machines, runner: Hands) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", "b>a", b={}))
    instance = machines.start()
    machines.move(instance, "b")
    (first,) = links(machines, "execution_id")
    runner.work()
    with machines.db.connection.transaction():
        machines.db.run("select set_config('flowgres.origin', %s, true)", str(first[0]))
        machines.move(instance, "a")
        machines.move(instance, "b")
    hops = machines.db.column("select trigger -> 'hops' from flowgres.executions order by id")
    assert hops == [None, 1]


def test_refused_follow_up_start_fails_neither_the_end_nor_the_others(machines: Machines, runner: Hands) -> None:
    picky = dag("picky", [{"id": "do"}], inputs={"n": {"type": "integer", "required": True}})
    machines.author.import_(WORK)
    machines.author.import_(picky)
    definition = going("a>b", "b>c", b={"on_success": "c"})
    definition["transitions"][1]["start"] = {"workflow": "picky", "input": {"n": "$.metadata.n"}}
    machines.add(definition)
    good, bad = machines.start("good", metadata={"n": 1}), machines.start("bad", metadata={"n": "x"})
    move(machines.db, [good, bad], "b")
    runner.work()
    assert [machines.row(instance)["current_state"] for instance in (good, bad)] == ["c", "b"]
    assert links(machines, "status, reason", bad) == [("completed", "input_invalid")]
    assert machines.db.column("select distinct status from flowgres.executions") == ["completed"]
    assert [row["details"]["code"] for row in machines.refusals()] == ["input_invalid"]


def test_ten_thousand_transitions_start_as_many_executions_in_one_call(machines: Machines) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", b={}))
    machines.db.run("update flowgres.settings set value = '1000000' where name = 'rate_limit_per_minute'")
    ids = many(machines, MOST)
    assert move(machines.db, ids, "b")["moved"] == MOST
    assert (count(machines.db), len(links(machines, "seq"))) == (MOST, MOST)
    assert machines.db.value("select count(distinct trigger ->> 'entity_id') from flowgres.executions") == MOST


def test_bulk_is_all_or_none_or_with_a_report(machines: Machines) -> None:
    machines.author.import_(dag("work", [{"id": "do"}], inputs={"n": {"type": "integer", "required": True}}))
    machines.add(going("a>b", b={"input": {"n": "$.metadata.n"}}))
    ids = [machines.start(str(n), metadata={"n": n if n != 1 else "x"}) for n in range(3)]
    with pytest.raises(psycopg.Error) as error:
        move(machines.db, ids, "b")
    assert refusal_code(error.value) == "input_invalid"
    assert count(machines.db) == 0
    report = move(machines.db, ids, "b", "report")
    assert (report["moved"], report["refused"]) == (2, 1)
    assert report["results"][1]["error"]["code"] == "input_invalid"
    assert machines.db.column("select input ->> 'n' from flowgres.executions order by 1") == ["0", "2"]
    assert machines.row(ids[1])["current_state"] == "a"


def test_starts_count_for_the_rate_of_their_tenant(machines: Machines) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", b={}))
    machines.db.run("update flowgres.settings set value = '2' where name = 'rate_limit_per_minute'")
    ids = [machines.start(str(n)) for n in range(3)]
    with pytest.raises(psycopg.Error) as error:
        move(machines.db, ids, "b")
    assert refusal_code(error.value) == "start_rate_exceeded"
    assert move(machines.db, ids[:2], "b")["moved"] == 2


def test_rule_of_starts_does_not_hold_for_instances(machines: Machines, runner: Hands) -> None:
    machines.author.import_(
        dag("work", [{"id": "do"}], settings={"start": {"debounce": 3600, "key": "$.kind"}})
        | {"inputs": {"kind": {"type": "string", "default": "x"}}}
    )
    machines.add(going("a>b", "b>c", b={"on_success": "c"}))
    move(machines.db, many(machines, 3), "b")
    assert count(machines.db) == 3
    runner.work()
    assert machines.db.column("select distinct current_state from flowgres_api.entity_workflows") == ["c"]


@pytest.mark.parametrize("end", [completed(), failed()], ids=["completed", "failed"])
def test_a_thousand_ends_at_once_move_as_many_instances(machines: Machines, runner: Hands, end: dict[str, Any]) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", "b>c", "b>d", b={"on_success": "c", "on_failure": "d"}))
    machines.db.run("update flowgres.settings set value = '1000000' where name = 'rate_limit_per_minute'")
    move(machines.db, many(machines, MANY), "b")
    leases = runner.claim(MANY)
    assert len(leases) == MANY
    runner.report([runner.result(lease, end) for lease in leases])
    state = "c" if end["o"] == "completed" else "d"
    assert links(machines, "distinct moved_to, 1 as started_at, 1 as seq") == [(state, 1, 1)]
    assert machines.db.call("flowgres_api.verify_history", limit=MOST)["valid"] is True


def test_workflow_of_another_tenant_is_not_started(machines: Machines, database: Database) -> None:
    with database.connect() as own:
        Author(database, own).import_(WORK)
    machines.add(going("a>b", b={}))
    with pytest.raises(psycopg.Error) as error:
        machines.move(machines.start(), "b")
    assert refusal_code(error.value) == "workflow_not_found"


def test_history_is_whole_when_executions_are_gone(machines: Machines, runner: Hands) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", "b>c", b={"on_success": "c"}))
    instance = machines.start()
    machines.move(instance, "b")
    runner.work()
    for table, column in (("step_executions", "execution_id"), ("events", "execution_id"), ("executions", "id")):
        machines.db.run(f"delete from flowgres.{table} where {column} is not null")
    assert links(machines, "status, moved_to") == [("completed", "c")]
    assert machines.db.call("flowgres_api.verify_history", instance_id=instance)["valid"] is True
