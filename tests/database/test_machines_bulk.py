"""Many instances in one call: all or none, or with a report; and a table of very many of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.database import Db, Row
from tests.support.machines import Machines, machine
from tests.support.races import refusal_code

ORDER = machine("new>paid", "paid>shipped", "*>cancelled", final="shipped cancelled")
MOST = 10_000
STANDING = 200_000
"""Instances of the big table; a million is asked for by its test, at its own time."""


def entities(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"entity_table": "orders", "entity_id": str(first + number)} for number in range(count)]


def start(machines: Machines, given: list[dict[str, Any]], **arguments: Any) -> Any:
    return machines.db.call("flowgres_api.start_workflows", workflow="m", entities=given, **arguments)


def move(machines: Machines, ids: list[str], to: str, on_error: str = "fail") -> Any:
    return machines.db.value(
        "select flowgres_api.execute_transitions(%s::uuid[], %s, on_error => %s)", ids_of(ids), to, on_error
    )


def ids_of(ids: list[str]) -> str:
    """As a literal: lists travel as jsonb."""
    return "{" + ",".join(ids) + "}"


def test_ten_thousand_start_and_move_in_one_call_each(machines: Machines) -> None:
    machines.add(ORDER)
    answer = start(machines, entities(MOST))
    assert (answer["started"], answer["refused"]) == (MOST, 0)
    assert [result["entity_id"] for result in answer["results"]] == [str(number) for number in range(MOST)]
    ids = [result["instance_id"] for result in answer["results"]]
    answer = move(machines, ids, "paid")
    assert (answer["moved"], answer["refused"]) == (MOST, 0)
    assert [result["instance_id"] for result in answer["results"]] == ids
    assert machines.db.column("select distinct current_state from flowgres_api.entity_workflows") == ["paid"]
    found = machines.db.call("flowgres_api.verify_history", limit=MOST)
    assert (found["valid"], found["rows"]) == (True, 2 * MOST)


def test_report_opens_one_of_two_instances_of_an_entity_and_refuses_the_other(machines: Machines) -> None:
    machines.add(machine("new>done", "done>new", final="done"))
    first, second, other = (machines.start(entity) for entity in ("1", "2", "3"))
    machines.move(first, "done")
    again = machines.start("1")
    for one in (again, second, other):
        machines.move(one, "done")
    answer = move(machines, [other, first, again, second], "new", "report")
    assert (answer["moved"], answer["refused"]) == (3, 1)
    told = [(result["instance_id"], result.get("error", {}).get("code")) for result in answer["results"]]
    assert told == [(other, None), (first, None), (again, "instance_exists"), (second, None)]
    assert answer["results"][2]["error"]["details"] == {"instance_id": first}
    assert machines.db.call("flowgres_api.verify_history")["valid"] is True


def test_starts_are_all_or_none(machines: Machines) -> None:
    machines.add(ORDER)
    taken = machines.start("2")
    with pytest.raises(psycopg.Error) as error:
        start(machines, entities(4))
    assert refusal_code(error.value) == "instance_exists"
    assert [r["instance_id"] for r in json.loads(error.value.diag.message_detail or "")] == [taken]
    assert machines.db.value("select count(*) from flowgres_api.entity_workflows") == 1


def test_starts_with_a_report_do_what_they_can(machines: Machines) -> None:
    machines.add(ORDER)
    taken = machines.start("2")
    answer = start(machines, [*entities(4), *entities(1)], on_error="report")
    assert (answer["started"], answer["refused"]) == (3, 2)
    results = answer["results"]
    assert [result.get("error", {}).get("code") for result in results] == [
        None,
        None,
        "instance_exists",
        None,
        "instance_exists",
    ]
    assert results[2]["instance_id"] == taken
    assert results[4]["instance_id"] == results[0]["instance_id"]


def test_transitions_are_all_or_none(machines: Machines) -> None:
    machines.add(ORDER)
    ids = [machines.start(str(number)) for number in range(4)]
    machines.move(ids[1], "cancelled")
    unknown = "00000000-0000-7000-8000-000000000000"
    with pytest.raises(psycopg.Error) as error:
        move(machines, [*ids, unknown], "paid")
    assert refusal_code(error.value) == "transition_not_allowed"
    assert [machines.row(instance)["current_state"] for instance in ids] == ["new", "cancelled", "new", "new"]
    report = move(machines, [*ids, unknown], "paid", "report")
    assert (report["moved"], report["refused"]) == (3, 2)
    codes = [result.get("error", {}).get("code") for result in report["results"]]
    assert codes == [None, "transition_not_allowed", None, None, "instance_not_found"]
    assert [refusal["subject"] for refusal in machines.refusals()] == [ids[1]]


def test_two_that_would_be_active_for_one_entity_are_refused(machines: Machines) -> None:
    machines.add(machine("new>done", "done>new", final="done"))
    ids = []
    for _ in range(2):
        ids.append(machines.start())
        machines.move(ids[-1], "done")
    with pytest.raises(psycopg.Error) as error:
        move(machines, ids, "new")
    assert refusal_code(error.value) == "instance_exists"
    assert move(machines, ids[:1], "new")["moved"] == 1


def test_calls_for_none_are_fine(machines: Machines) -> None:
    machines.add(ORDER)
    assert start(machines, []) == {"started": 0, "refused": 0, "results": []}
    assert move(machines, [], "paid") == {"moved": 0, "refused": 0, "results": []}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("start_workflows('m', '{}')", "entities_invalid"),
        ("start_workflows('m', '[1]')", "entity_invalid"),
        ("start_workflows('m', '[]', 'maybe')", "argument_invalid"),
        ("start_workflows('m', to_jsonb(array_fill('{}'::jsonb, '{10001}')))", "too_many_entities"),
        ("execute_transitions('{}', 'paid', on_error => null)", "argument_invalid"),
        ("execute_transitions('{}', null)", "argument_invalid"),
        ("execute_transitions(array[null]::uuid[], 'paid')", "argument_invalid"),
        ("execute_transitions(array_fill(gen_random_uuid(), '{2}'), 'paid')", "argument_invalid"),
        ("execute_transitions(array_fill(null::uuid, '{10001}'), 'paid')", "too_many_instances"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(machines: Machines, call: str, code: str) -> None:
    machines.add(ORDER)
    with pytest.raises(psycopg.Error) as error:
        machines.db.run(f"select flowgres_api.{call}")
    assert refusal_code(error.value) == code


def test_one_is_written_as_many_are(machines: Machines) -> None:
    # One instance alone goes the short way: what it leaves behind is the same.
    machines.add(machine("a>b", "*>c", final="c"))
    sent: dict[str, Any] = {"executed_by": "ann", "metadata": {"n": 1}, "context": {"c": [None]}, "notes": "because"}
    alone, among = machines.start("1"), machines.start("2")
    for to in ("b", "c"):
        machines.move(alone, to, **sent)
        machines.db.value(
            "select flowgres_api.execute_transitions(%s::uuid[], %s, executed_by => 'ann',"
            """ metadata => '{"n": 1}', context => '{"c": [null]}', notes => 'because')""",
            ids_of([among]),
            to,
        )
    own = {"id", "entity_workflow_instance_id", "entity_id", "executed_at", "hash", "started_at", "updated_at"}

    def told(row: Row) -> Row:
        return {name: value for name, value in row.items() if name not in own}

    assert [told(row) for row in machines.history(alone)] == [told(row) for row in machines.history(among)]
    ends = [machines.row(instance) for instance in (alone, among)]
    assert [row["completed_at"] == row["updated_at"] for row in ends] == [True, True]
    assert told(ends[0]) | {"completed_at": None} == told(ends[1]) | {"completed_at": None}
    assert machines.db.call("flowgres_api.verify_history")["valid"] is True


FILL = """
insert into flowgres.instances (
  tenant_id, id, workflow_id, workflow_name, version_id, entity_table, entity_id, state, metadata, started_by,
  started_at, updated_at, completed_at, history_count, history_head)
select
  i.tenant_id, gen_random_uuid(), i.workflow_id, i.workflow_name, i.version_id, 'orders', 'e' || g,
  (array['new', 'paid', 'shipped'])[1 + mod(g, 3)], '{}', 'x', now() - g * interval '1 second',
  now() - g * interval '1 second', case mod(g, 3) when 2 then now() end, 1, ''
from flowgres.instances as i cross join generate_series(1, %s) as g
where i.id = %s
"""
LISTS = {
    "of an entity": "entity_table = 'orders' and entity_id = 'e77'",
    "of a machine and a state, newest first": "workflow_name = 'm' and current_state = 'paid'"
    " order by updated_at desc limit 10",
    "of all, newest first": "true order by updated_at desc limit 10",
    "of a machine, newest first": "workflow_name = 'm' order by updated_at desc limit 10",
    "active ones, newest first": "status = 'active' order by updated_at desc limit 10",
}  # fmt: skip


@contextmanager
def viewer_of(machines: Machines) -> Iterator[Db]:
    """A viewer's transaction, whose policies count."""
    with machines.author.database.as_role("viewer", tenant_id=machines.author.tenant_id) as viewer:
        yield viewer


@pytest.mark.slow
def test_big_table_is_read_and_moved_by_its_indexes(machines: Machines) -> None:
    machines.add(ORDER)
    instance = machines.start("0")
    machines.db.run(FILL, STANDING, instance)
    machines.db.run("vacuum analyze flowgres.instances")
    with viewer_of(machines) as viewer:
        for name, condition in LISTS.items():
            plan = viewer.value(
                f"explain (analyze, buffers, format json) select * from flowgres_api.entity_workflows where {condition}"
            )[0]["Plan"]
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 400, (name, json.dumps(plan, indent=1))
    before = blocks(machines.db)
    machines.move(instance, "paid")
    assert blocks(machines.db) - before < 300


def blocks(db: Db) -> int:
    """Blocks of the table and its indexes that were looked at by now."""
    db.run("select pg_stat_force_next_flush()")
    return int(
        db.value(
            "select heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit"
            " from pg_statio_all_tables where relid = 'flowgres.instances'::regclass"
        )
    )
