"""The history of instances: nobody changes it, and whoever did is found."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db
from tests.support.machines import Machines, machine

ROLES = (
    "flowgres_definer",
    "flowgres_engine",
    "flowgres_viewer",
    "flowgres_member",
    "flowgres_admin",
    "flowgres_operator",
)


def verify(machines: Machines, instance: str | None = None, **arguments: Any) -> dict[str, Any]:
    """What verify_history says."""
    answer = machines.db.call("flowgres_api.verify_history", instance_id=instance, **arguments)
    return dict(answer)


def moved(machines: Machines, entity_id: str = "1") -> str:
    """An instance with a history of four rows."""
    instance = machines.start(entity_id, metadata={"amount": 3})
    for state in ("b", "a", "b"):
        machines.move(instance, state, metadata={"to": state}, notes="because")
    return instance


@pytest.fixture
def instance(machines: Machines) -> str:
    machines.add(machine("a>b", "b>a", "b>c", final="c"))
    return moved(machines)


def test_whole_history_is_valid(machines: Machines, instance: str) -> None:
    assert verify(machines, instance) == {"valid": True, "instances": 1, "rows": 4, "problems": [], "next": None}


def test_hash_depends_on_nothing_of_the_session(machines: Machines, instance: str) -> None:
    machines.db.run("set timezone to 'Asia/Kathmandu'; set datestyle to 'German'; set extra_float_digits to 0")
    assert verify(machines, instance)["valid"] is True


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "update flowgres.instance_history set notes = 'x'",
        "delete from flowgres.instance_history",
        "truncate flowgres.instance_history",
        "delete from flowgres.instances",
        "truncate flowgres.instances",
    ],
)
def test_no_role_may_change_or_remove_history(machines: Machines, instance: str, role: str, statement: str) -> None:
    with machines.db.connection.transaction(force_rollback=True):
        machines.db.run(f"set local role {role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            machines.db.run(statement)


HISTORY = "update flowgres.instance_history set {} where instance_id = %s and seq = 3"
CHANGES = {
    **{
        f"history {change}": (HISTORY.format(change), 3, "row_changed")
        for change in (
            "id = gen_random_uuid()",
            "from_state = 'x'",
            "to_state = 'x'",
            "transition_id = gen_random_uuid()",
            "transition_name = null",
            "executed_by = 'x'",
            "actor = 'x'",
            "executed_at = executed_at + interval '1 microsecond'",
            "metadata = '{{}}'".replace("{{}}", "{}"),
            "context = '[]'",
            "notes = null",
        )
    },
    **{
        f"instance {change}": (f"update flowgres.instances set {change} where id = %s", 1, "row_changed")
        for change in (
            "entity_id = 'x'",
            "entity_table = 'x'",
            "metadata = '{}'",
            "started_by = 'x'",
            "started_at = started_at - interval '1 microsecond'",
            "workflow_name = 'x'",
        )
    },
    "state": ("update flowgres.instances set state = 'a' where id = %s", 4, "state_changed"),
    "head": ("update flowgres.instances set history_head = 'x' where id = %s", 4, "head_changed"),
    "first removed": ("delete from flowgres.instance_history where instance_id = %s and seq = 1", 1, "row_removed"),
    "middle removed": ("delete from flowgres.instance_history where instance_id = %s and seq = 2", 2, "row_removed"),
    "last removed": ("delete from flowgres.instance_history where instance_id = %s and seq = 4", 4, "row_removed"),
    "all removed": ("delete from flowgres.instance_history where instance_id = %s", 4, "row_removed"),
    "instance removed": ("delete from flowgres.instances where id = %s", 4, "instance_removed"),
    "inserted": (
        "insert into flowgres.instance_history"
        " select tenant_id, instance_id, 5, id, from_state, to_state, transition_id, transition_name, executed_by,"
        " actor, executed_at, metadata, context, notes, hash"
        " from flowgres.instance_history where instance_id = %s and seq = 4",
        5,
        "row_inserted",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_superuser_does_is_found(machines: Machines, instance: str, change: str) -> None:
    other = moved(machines, "2")
    statement, seq, problem = CHANGES[change]
    machines.db.run(statement, instance)
    found = verify(machines, instance)
    assert found["valid"] is False
    assert {"instance_id": instance, "seq": seq, "problem": problem} in found["problems"]
    everything = verify(machines)
    assert everything["problems"] == found["problems"]
    assert verify(machines, other)["valid"] is True


def test_row_that_was_moved_into_the_middle_is_found(machines: Machines, instance: str) -> None:
    machines.db.run("update flowgres.instance_history set seq = 5 where instance_id = %s and seq = 4", instance)
    machines.db.run(
        "insert into flowgres.instance_history"
        " select tenant_id, instance_id, 4, gen_random_uuid(), 'b', 'a', null, null,"
        " 'x', 'x', now(), '{}', '{}', null, hash from flowgres.instance_history where instance_id = %s and seq = 3",
        instance,
    )
    problems = {(p["seq"], p["problem"]) for p in verify(machines, instance)["problems"]}
    assert {(4, "row_changed"), (5, "row_inserted")} <= problems


def test_all_of_a_tenant_is_verified_in_pages(machines: Machines, instance: str) -> None:
    instances = sorted([instance] + [moved(machines, str(number)) for number in range(2, 6)])
    machines.db.run(
        "update flowgres.instance_history set notes = 'x' where instance_id = %s and seq = 2", instances[-1]
    )
    pages, after = [], None
    while True:
        page = verify(machines, after=after, limit=2)
        pages.append(page)
        after = page["next"]
        if after is None:
            break
    assert [page["instances"] for page in pages] == [2, 2, 1]
    assert [page["valid"] for page in pages] == [True, True, False]
    assert sum(page["rows"] for page in pages) == 20


def test_history_that_does_not_exist_is_not_found(machines: Machines) -> None:
    with pytest.raises(psycopg.Error) as error:
        verify(machines, "00000000-0000-7000-8000-000000000000")
    assert (error.value.sqlstate, error.value.diag.constraint_name) == ("FG404", "instance_not_found")


def test_verification_reads_only_the_own_tenant(database: Database, machines: Machines, instance: str, db: Db) -> None:
    bob = database.make_tenant("Bob")
    with database.as_role("viewer", tenant_id=bob.tenant_id) as viewer:
        assert viewer.value("select flowgres_api.verify_history()")["instances"] == 0
