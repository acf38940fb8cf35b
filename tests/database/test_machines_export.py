"""History as lines that are checked without the database: by what the page about machines says, in Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db
from tests.support.machines import Machines, faults_of_export, machine
from tests.support.races import refusal_code

# What text, JSON and hashes could disagree about.
AWKWARD = {
    "ключ": "ё",
    "aé": 1.50,
    "zz": [1e3, -0.0, 12345678901234567890123, 0.1],
    "": {"b": None, "a": True, "Z": [], "long key": {}},
    "text": 'quote " back \\ slash / line \n tab \t bell \u0007 delete \u007f 🂡',
}


def pages(machines: Machines, **arguments: Any) -> Iterator[list[str]]:
    after = None
    while True:
        page = machines.db.call("flowgres_api.export_history", after=after, **arguments)
        yield page["lines"]
        after = page["next"]
        if after is None:
            return


def export(machines: Machines, **arguments: Any) -> list[str]:
    return [line for page in pages(machines, **arguments) for line in page]


@pytest.fixture
def instances(machines: Machines) -> list[str]:
    """Three with four rows each."""
    machines.add(machine("a>b", "b>a", "b>c", final="c"))
    found = []
    for number in range(3):
        instance = machines.start(f"№ {number}", metadata=AWKWARD)
        for state in ("b", "a", "b"):
            machines.move(instance, state, metadata=AWKWARD, context={"n": AWKWARD}, notes='a "note"\n')
        found.append(instance)
    return sorted(found)


def test_export_is_sound_by_the_hashes_that_python_computes(machines: Machines, instances: list[str]) -> None:
    lines = export(machines)
    rows = [json.loads(line) for line in lines]
    assert [(row["instance_id"], row["seq"]) for row in rows] == [(one, n) for one in instances for n in (1, 2, 3, 4)]
    assert all("\n" not in line for line in lines)
    assert faults_of_export(lines) == []


def test_migrated_instance_is_sound(machines: Machines, instances: list[str]) -> None:
    machines.add(machine("a>b", "b>d", final="d"))
    machines.db.call("flowgres_api.migrate_instances", workflow="m", to_version=2)
    machines.move(instances[0], "d")
    assert len(export(machines)) == 16
    assert faults_of_export(export(machines)) == []


def test_lines_hold_the_rows(machines: Machines, instances: list[str]) -> None:
    first, second = (json.loads(line) for line in export(machines)[:2])
    started, moved = machines.history(instances[0])[:2]
    assert first["instance"] | {"metadata": None} == {
        "workflow_id": str(machines.row(instances[0])["workflow_id"]),
        "workflow_name": "m",
        "entity_table": "orders",
        "entity_id": moved["entity_id"],
        "metadata": None,
        "started_by": started["actor"],
        "started_at": first["executed_at"],
    }
    assert second["instance"] is None
    assert (second["previous_hash"], second["hash"]) == (started["hash"], moved["hash"])
    for name in ("seq", "from_state", "to_state", "transition_name", "executed_by", "actor", "notes", "metadata"):
        assert second[name] == moved[name], name


def test_session_changes_nothing(machines: Machines, instances: list[str]) -> None:
    before = export(machines)
    machines.db.run("set timezone to 'Asia/Kathmandu'; set datestyle to 'German'; set intervalstyle to 'iso_8601'")
    assert export(machines) == before


@pytest.mark.parametrize("limit", [1, 3, 12, 10_000])
def test_pages_give_every_row_once(machines: Machines, instances: list[str], limit: int) -> None:
    assert export(machines, limit=limit) == export(machines)
    assert all(len(page) <= limit for page in pages(machines, limit=limit))


def test_page_ends_when_it_is_large(machines: Machines) -> None:
    machines.add(machine("a>b", "b>a"))
    instance = machines.start()
    for state in ("b", "a") * 4:
        machines.move(instance, state, metadata={"x": "y" * 900_000})
    sizes = [len(page) for page in pages(machines)]
    assert max(sizes) <= 6
    assert sum(sizes) == 9


def test_only_what_is_asked_for_comes(machines: Machines, instances: list[str]) -> None:
    machines.add(machine("x>y", name="other"))
    other = machines.start("1", name="other")
    lines = [json.loads(line) for line in export(machines, workflow="other")]
    assert [(line["instance_id"], line["workflow_name"]) for line in lines] == [(other, "other")]
    assert len(export(machines, workflow="m")) == 12
    since = machines.history(instances[1])[2]["executed_at"]
    later = export(machines, since=since)
    expected = machines.db.value("select count(*) from flowgres.instance_history where executed_at >= %s", since)
    assert 0 < len(later) == expected < 13
    # Each goes on from the first line that is there.
    assert faults_of_export(later) == []


CHANGES = {
    "notes": "update flowgres.instance_history set notes = 'x' where instance_id = %s and seq = 2",
    "metadata": "update flowgres.instance_history set metadata = '{}' where instance_id = %s and seq = 3",
    "moment": (
        "update flowgres.instance_history set executed_at = executed_at + '1 us' where instance_id = %s and seq = 1"
    ),
    "row removed": "delete from flowgres.instance_history where instance_id = %s and seq = 2",
    "first removed": "delete from flowgres.instance_history where instance_id = %s and seq = 1",
    "entity": "update flowgres.instances set entity_id = 'x' where id = %s",
    "instance removed": "delete from flowgres.instances where id = %s",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_superuser_does_is_found_without_the_database(
    machines: Machines, instances: list[str], change: str
) -> None:
    machines.db.run(CHANGES[change], instances[1])
    found = faults_of_export(export(machines))
    assert {instance for instance, _, _ in found} == {instances[1]}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"workflow": "none"}, "workflow_not_found"),
        ({"limit": 0}, "argument_invalid"),
        ({"limit": 10_001}, "argument_invalid"),
        ({"after": "x"}, "argument_invalid"),
        ({"after": "00000000-0000-0000-0000-000000000000/99999999999"}, "argument_invalid"),
    ],
    ids=str,
)
def test_mistakes_are_told(machines: Machines, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(psycopg.Error) as error:
        machines.db.call("flowgres_api.export_history", **arguments)
    assert refusal_code(error.value) == code


def test_export_reads_only_the_own_tenant(database: Database, machines: Machines, instances: list[str], db: Db) -> None:
    bob = database.make_tenant("Bob")
    for tenant_id, count in ((bob.tenant_id, 0), (str(machines.author.tenant_id), 12)):
        with database.as_role("viewer", tenant_id=tenant_id) as viewer:
            assert len(viewer.value("select flowgres_api.export_history()")["lines"]) == count
