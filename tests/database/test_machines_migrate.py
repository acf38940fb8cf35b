"""Moving instances to another version of their machine: by name or by a map, in batches, written into their history."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.support.database import Database
from tests.support.machines import WORK, Machines, going, links, machine
from tests.support.migrations import MAP, NEW, OLD, assert_sound, migrate, standing, versions
from tests.support.races import refusal_code


def refused(machines: Machines, **arguments: Any) -> tuple[str, Any]:
    """Code and details of the refusal."""
    with pytest.raises(psycopg.Error) as error:
        migrate(machines, **arguments)
    details = error.value.diag.message_detail or ""
    return refusal_code(error.value), json.loads(details) if details[:1] in ("[", "{") else details


def test_states_of_the_same_name_are_the_same_and_others_go_by_the_map(machines: Machines) -> None:
    machines.add(OLD)
    new, paid, checked = standing(machines), standing(machines, "paid"), standing(machines, "paid", "checked")
    ended = standing(machines, "lost")
    machines.add(NEW)
    answer = migrate(machines, map=MAP)
    assert (answer["migrated"], answer["remaining"], answer["dry_run"]) == (3, 0, False)
    assert answer["moves"] == [
        {"from_version": 1, "from_state": source, "to_state": target, "instances": 1}
        for source, target in (("checked", "packed"), ("new", "new"), ("paid", "paid"))
    ]
    assert answer["problems"] == []
    assert {example["instance_id"] for example in answer["examples"]} == {new, paid, checked}
    assert versions(machines) == {
        new: (2, "new", "active"),
        paid: (2, "paid", "active"),
        checked: (2, "packed", "active"),
        ended: (1, "lost", "completed"),
    }
    machines.move(checked, "sent")
    assert_sound(machines)


def test_history_tells_of_it(machines: Machines) -> None:
    machines.add(OLD)
    instance = standing(machines, "paid", "checked")
    machines.add(NEW)
    migrate(machines, map=MAP)
    row = machines.history(instance)[-1]
    assert (row["from_state"], row["to_state"], row["transition_name"]) == ("checked", "packed", "migrated")
    assert (row["seq"], row["transition_id"], row["executed_by"]) == (4, None, "system")
    assert row["metadata"] == {"action": "migrated"}
    assert row["context"] == {"from_version": 1, "to_version": 2}
    assert row["notes"] == "Migrated from version 1 to 2"
    found = machines.row(instance)
    assert (found["current_state"], found["updated_at"]) == ("packed", row["executed_at"])
    audited = machines.db.all(
        "select subject, details from flowgres.audit_log where tenant_id = %s and action = 'instances_migrated'",
        machines.author.tenant_id,
    )
    assert [(row["subject"], row["details"]["migrated"], row["details"]["map"]) for row in audited] == [("m", 1, MAP)]


def test_completed_ones_move_when_asked(machines: Machines) -> None:
    machines.add(OLD)
    ended, sent = standing(machines, "lost"), standing(machines, "paid", "checked", "sent")
    before = machines.row(ended)["completed_at"]
    machines.add(NEW)
    assert migrate(machines)["migrated"] == 0
    assert migrate(machines, map=MAP, completed=True)["migrated"] == 2
    assert versions(machines) == {ended: (2, "gone", "completed"), sent: (2, "sent", "completed")}
    assert machines.row(ended)["completed_at"] == before
    assert_sound(machines)


def test_whether_it_is_completed_is_for_the_new_state_to_say(machines: Machines) -> None:
    machines.add(machine("a>b", "b>c", final="c"))
    closed, opened = standing(machines, "b"), standing(machines, "b", "c")
    machines.add(machine("a>b", "b>c", final="b"))
    assert migrate(machines, completed=True)["migrated"] == 2
    assert versions(machines) == {closed: (2, "b", "completed"), opened: (2, "c", "active")}
    assert machines.row(closed)["completed_at"] == machines.row(closed)["updated_at"]
    assert machines.row(opened)["completed_at"] is None
    assert_sound(machines)


def test_state_without_counterpart_refuses_all(machines: Machines) -> None:
    machines.add(OLD)
    standing(machines)
    standing(machines, "paid", "checked")
    machines.add(NEW)
    before = versions(machines)
    code, problems = refused(machines)
    assert code == "state_unmapped"
    assert [(p["code"], p["from_version"], p["from_state"], p["instances"]) for p in problems] == [
        ("state_unmapped", 1, "checked", 1)
    ]
    # Whatever of it a batch would have reached.
    assert refused(machines, limit=1)[0] == "state_unmapped"
    assert versions(machines) == before
    assert migrate(machines, map={"checked": "packed"})["migrated"] == 2


def test_state_without_counterpart_that_nobody_is_in_is_in_nobody_s_way(machines: Machines) -> None:
    machines.add(OLD)
    standing(machines, "lost")
    standing(machines)
    machines.add(NEW)
    assert migrate(machines)["migrated"] == 1


def test_dry_run_tells_all_and_changes_nothing(machines: Machines) -> None:
    machines.add(OLD)
    standing(machines)
    stuck = standing(machines, "paid", "checked")
    standing(machines, "lost")
    machines.add(NEW)
    before = (versions(machines), machines.db.all("select * from flowgres.instance_history order by id"))
    answer = migrate(machines, dry_run=True)
    assert (answer["dry_run"], answer["migrated"], answer["remaining"]) == (True, 0, 2)
    assert [(m["from_state"], m["to_state"], m["instances"]) for m in answer["moves"]] == [
        ("checked", None, 1),
        ("new", "new", 1),
    ]
    assert [(p["code"], p["from_state"]) for p in answer["problems"]] == [("state_unmapped", "checked")]
    assert answer["examples"][0]["instance_id"] == stuck
    mapped = migrate(machines, dry_run=True, map=MAP, completed=True)
    assert (mapped["problems"], mapped["remaining"], sum(m["instances"] for m in mapped["moves"])) == ([], 3, 3)
    assert (versions(machines), machines.db.all("select * from flowgres.instance_history order by id")) == before


def test_dry_run_warns_of_ends_that_would_lead_nowhere(machines: Machines) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", "b>c", "b>d", final="c d", b={"on_success": "c", "on_failure": "d"}))
    machines.move(machines.start(), "b")
    machines.add(machine("a>b", "b>c", "b>e", final="c e"))
    (told,) = migrate(machines, dry_run=True)["warnings"]
    assert (told["code"], told["from_state"], told["to_state"], told["instances"]) == ("follow_up_unknown", "b", "d", 1)
    assert 'would lead to "d"' in told["message"]
    assert migrate(machines, dry_run=True, map={"d": "e"})["warnings"] == []
    assert migrate(machines)["warnings"] == []


def test_dry_run_shows_a_hundred_at_most(machines: Machines) -> None:
    machines.add(OLD)
    entities = [{"entity_table": "orders", "entity_id": str(number)} for number in range(150)]
    machines.db.call("flowgres_api.start_workflows", workflow="m", entities=entities)
    machines.add(NEW)
    answer = migrate(machines, dry_run=True)
    assert (answer["moves"][0]["instances"], len(answer["examples"])) == (150, 100)


def test_opening_again_beside_an_active_one_is_refused(machines: Machines) -> None:
    machines.add(machine("a>b", "b>c", final="c"))
    old = standing(machines, "b", "c")
    active = machines.start("b-c")
    machines.add(machine("a>b", "b>c", "c>d", final="d"))
    told = migrate(machines, completed=True, dry_run=True)["problems"]
    assert [(p["code"], p["from_state"], p["to_state"], p["instances"]) for p in told] == [
        ("instance_exists", "c", "c", 1)
    ]
    code, problems = refused(machines, completed=True)
    assert (code, problems) == ("instance_exists", told)
    assert versions(machines) == {old: (1, "c", "completed"), active: (1, "a", "active")}
    assert migrate(machines, completed=True, map={"c": "d"})["migrated"] == 2


def test_two_of_one_entity_are_not_both_opened_again(machines: Machines) -> None:
    machines.add(machine("a>b", final="b"))
    for _ in range(2):
        machines.move(machines.start(), "b")
    machines.add(machine("a>b", "b>c", final="c"))
    told = migrate(machines, completed=True, dry_run=True)["problems"]
    assert [(p["code"], p["instances"]) for p in told] == [("instance_exists", 1)]
    assert refused(machines, completed=True)[0] == "instance_exists"
    assert_sound(machines)


def test_batches_go_on_until_nothing_remains(machines: Machines) -> None:
    machines.add(OLD)
    for number in range(5):
        machines.start(str(number))
    standing(machines, "lost")
    machines.add(NEW)
    answers = [migrate(machines, map=MAP, completed=True, limit=2) for _ in range(4)]
    assert [(a["migrated"], a["remaining"]) for a in answers] == [(2, 4), (2, 2), (2, 0), (0, 0)]
    assert_sound(machines)


def test_only_those_of_one_version_move_where_one_is_named(machines: Machines) -> None:
    machines.add(OLD)
    first = standing(machines)
    machines.add(OLD | {"metadata": {"x": 1}})
    second = standing(machines, "paid")
    machines.add(NEW)
    assert migrate(machines, to_version=3, from_version=2)["migrated"] == 1
    assert versions(machines) == {first: (1, "new", "active"), second: (3, "paid", "active")}
    # And back.
    assert migrate(machines, to_version=1)["migrated"] == 1
    assert versions(machines)[second] == (1, "paid", "active")
    assert_sound(machines)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"map": ["checked"]}, "state_map_invalid"),
        ({"map": {"checked": 1}}, "state_map_invalid"),
        ({"map": {"chekced": "packed"}}, "state_unknown"),
        ({"map": {"checked": "pakced"}}, "state_unknown"),
        ({"to_version": 9}, "version_not_found"),
        ({"from_version": 9}, "version_not_found"),
        ({"from_version": 2}, "argument_invalid"),
        ({"to_version": None}, "argument_invalid"),
        ({"limit": 0}, "argument_invalid"),
        ({"limit": 10_001}, "argument_invalid"),
    ],
    ids=str,
)
def test_mistakes_are_told(machines: Machines, arguments: dict[str, Any], code: str) -> None:
    machines.add(OLD)
    machines.add(NEW)
    assert refused(machines, **arguments)[0] == code
    assert refused(machines, dry_run=True, **arguments)[0] == code


def test_ten_thousand_move_in_one_call(machines: Machines) -> None:
    machines.add(OLD)
    entities = [{"entity_table": "orders", "entity_id": str(number)} for number in range(10_000)]
    machines.db.call("flowgres_api.start_workflows", workflow="m", entities=entities)
    machines.add(NEW)
    answer = migrate(machines)
    assert (answer["migrated"], answer["remaining"], len(answer["examples"])) == (10_000, 0, 100)
    found = machines.db.call("flowgres_api.verify_history", limit=10_000)
    assert (found["valid"], found["rows"]) == (True, 20_000)


@pytest.mark.parametrize("role", ["viewer", "member", "admin"])
def test_migration_is_for_administrators(database: Database, machines: Machines, role: Any) -> None:
    machines.add(OLD)
    standing(machines)
    machines.add(NEW)
    with database.as_role(role, tenant_id=machines.author.tenant_id) as caller:
        query = "select flowgres_api.migrate_instances(workflow => 'm', to_version => 2)"
        if role == "admin":
            assert caller.value(query)["migrated"] == 1
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                caller.value(query)


def test_instances_of_others_stay_where_they_are(database: Database, machines: Machines) -> None:
    machines.add(OLD)
    standing(machines)
    machines.add(NEW)
    bob = database.make_tenant("Bob")
    with database.as_role("admin", tenant_id=bob.tenant_id) as caller:
        with pytest.raises(psycopg.Error) as error:
            caller.value("select flowgres_api.migrate_instances(workflow => 'm', to_version => 2)")
        assert "workflow_not_found" in str(error.value)
    assert {version for version, _, _ in versions(machines).values()} == {1}


def test_end_of_what_is_under_way_leads_to_the_state_of_the_new_version(machines: Machines) -> None:
    machines.author.import_(WORK)
    machines.add(going("a>b", "*>lost", final="lost", b={"on_failure": "lost"}))
    instance = machines.start()
    machines.move(instance, "b")
    machines.add(machine("a>b", "*>gone", final="gone"))
    migrate(machines, map={"lost": "gone"})
    machines.db.call(
        "flowgres_api.cancel_execution",
        execution_id=machines.db.value(
            "select execution_id from flowgres.instance_executions where instance_id = %s", instance
        ),
    )
    assert links(machines, "moved_to, reason", instance) == [("gone", None)]
    assert_sound(machines)
