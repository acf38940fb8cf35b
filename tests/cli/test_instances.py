"""Instances of state machines at the command line, against the real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.database import Database

from .conftest import Flowgres

MACHINE = """name: parcel
states:
  - {name: packed, initial: true}
  - {name: sent}
  - {name: received, final: true}
  - {name: lost, final: true}
transitions:
  - {from: packed, to: sent, name: send, required: [carrier]}
  - {from: sent, to: received, name: deliver, roles: [courier]}
  - {from: received, to: sent, name: reopen}
  - {from: "*", to: lost, name: lose, guard: "$.data.searched_days > 3"}
"""
LETTER = """name: letter
states:
  - {name: written, initial: true}
  - {name: weighed}
  - {name: sent, final: true}
  - {name: lost, final: true}
transitions:
  - {from: written, to: weighed, name: weigh, start: {on_success: sent, on_failure: lost, workflow: weigh}}
  - {from: weighed, to: sent, name: send}
  - {from: "*", to: lost, name: lose}
"""


@pytest.fixture(scope="module")
def parcels(live: Flowgres) -> Flowgres:
    """The tenant, with a machine."""
    (live.folder / "parcel.yaml").write_text(MACHINE)
    imported = live("import", "parcel.yaml")
    assert imported.code == 0, imported.err
    return live


@pytest.fixture
def start(parcels: Flowgres) -> Callable[[], str]:
    """`start()` starts one for a new entity, and gives its id."""

    def start() -> str:
        started = parcels("instances", "start", "parcels", str(uuid.uuid4()), "parcel", "-o", "id")
        assert started.code == 0, started.err
        return started.out.strip()

    return start


def test_instance_is_started_listed_moved_and_told_of(parcels: Flowgres) -> None:
    started = parcels("instances", "start", "parcels", "7", "parcel", "-d", '{"weight": 1.50}')
    assert started.code == 0, started.err
    instance = started.json["id"]
    assert (started.json["current_state"], started.json["metadata"]) == ("packed", {"weight": 1.5})

    (listed,) = parcels("instances", "list", "--entity-table", "parcels", "--entity-id", "7").json
    assert (listed["id"], listed["status"], listed["workflow_name"]) == (instance, "active", "parcel")
    assert parcels("instances", "list", "--workflow-name", "parcel", "--state", "packed", "-o", "id").out.split() == [
        instance
    ]
    assert parcels("instances", "list", "--status", "completed", "--workflow", "parcel").json == []

    data = ("--metadata", '{"carrier": "snail"}', "--context", '{"shelf": 3}')
    moved = parcels("instances", "transition", instance, "sent", "--executed-by", "ann", *data, "--notes", "At last")
    assert (moved.code, moved.json["current_state"]) == (0, "sent"), moved.err

    newest, first = parcels("instances", "history", instance).json
    assert (newest["from_state"], newest["to_state"], newest["transition_name"]) == ("packed", "sent", "send")
    assert (newest["executed_by"], newest["notes"]) == ("ann", "At last")
    assert (newest["metadata"], newest["context"]) == ({"carrier": "snail"}, {"shelf": 3})
    assert newest["actor"].startswith("key:")
    assert (first["from_state"], first["to_state"]) == (None, "packed")


def test_machine_is_named_by_its_id_as_well(parcels: Flowgres) -> None:
    workflow = parcels("workflows", "show", "parcel").json["id"]
    started = parcels("instances", "start", "parcels", "by id", workflow)
    assert (started.code, started.json["workflow_name"]) == (0, "parcel"), started.err
    unknown = parcels("instances", "start", "parcels", "by id", str(uuid.uuid4()))
    assert (unknown.code, "flowgres workflows list" in unknown.err) == (3, True)


def test_show_tells_what_may_come_next_and_what_it_needs(parcels: Flowgres, start: Callable[[], str]) -> None:
    instance = start()
    shown = parcels("instances", "show", instance).json
    found = {row["to_state_name"]: row for row in shown["transitions"]}
    assert set(found) == {"sent", "lost"}
    assert found["sent"]["transition_name"] == "send"
    table = parcels("instances", "show", instance, "-o", "table").out
    assert "with carrier" in table
    assert "$.data.searched_days > 3" in table or '$."data"."searched_days" > 3' in table
    parcels("instances", "transition", instance, "sent", "-d", '{"carrier": "x"}')
    assert "courier" in parcels("instances", "show", instance, "-o", "table").out


def test_machine_is_shown_and_drawn_by_its_name(parcels: Flowgres) -> None:
    shown = parcels("workflows", "show", "parcel", "-o", "table").out
    lines = [line.split() for line in shown.splitlines()]
    assert ["packed", "yes"] in lines
    assert ["send", "packed", "sent"] in lines
    assert ["lose", "*", "lost"] in lines
    for form in ("ascii", "mermaid", "svg"):
        by_name = parcels("graph", "parcel", "--format", form)
        assert by_name.code == 0, by_name.err
        assert by_name.out == parcels("graph", "parcel.yaml", "--format", form).out


@pytest.mark.parametrize("command", [("list",), ("show",), ("history",)])
def test_tables_fit_a_terminal(parcels: Flowgres, start: Callable[[], str], command: tuple[str, ...]) -> None:
    instance = start()
    arguments = command if command == ("list",) else (*command, instance)
    table = parcels("instances", *arguments, "-o", "table", COLUMNS="80")
    assert table.code == 0, table.err
    assert instance in table.out or command == ("history",)
    assert max(len(line) for line in table.out.splitlines()) <= 80, table.out


def test_what_cannot_be_is_refused_with_its_exit_code(parcels: Flowgres, start: Callable[[], str]) -> None:
    instance = start()

    def refused(*arguments: str) -> tuple[int, str]:
        answer = parcels("instances", "transition", instance, *arguments)
        assert answer.out == ""
        return answer.code, answer.err

    code, told = refused("sent")
    assert code == 2
    assert "[transition_fields_missing]" in told
    assert f"flowgres instances show {instance}" in told
    code, told = refused("sennt", "-d", '{"carrier": "x"}')
    assert code == 2
    assert "[state_unknown]" in told
    assert "Did you mean 'sent'?" in told
    code, told = refused("received")
    assert code == 6
    assert "[transition_not_allowed]" in told
    assert "packed" in told
    code, told = refused("lost", "-d", '{"searched_days": 1}')
    assert code == 2
    assert "[transition_guard_refused]" in told
    assert parcels("instances", "transition", instance, "sent", "-d", '{"carrier": "x"}').code == 0
    code, told = refused("received")
    assert code == 5
    assert "[transition_forbidden]" in told


def test_second_start_for_an_entity_names_the_first(parcels: Flowgres) -> None:
    first = parcels("instances", "start", "parcels", "twice", "parcel", "-o", "id").out.strip()
    again = parcels("instances", "start", "parcels", "twice", "parcel")
    assert (again.code, first in again.err) == (6, True), again.err
    assert "flowgres instances list --entity-table parcels --entity-id twice" in again.err


def test_mistakes_have_their_exit_codes(
    parcels: Flowgres, start: Callable[[], str], write: Callable[..., Path]
) -> None:
    instance = start()
    nobody = str(uuid.uuid4())
    for command in (("show", nobody), ("history", nobody), ("transition", nobody, "sent")):
        answer = parcels("instances", *command)
        assert (answer.code, "flowgres instances list" in answer.err) == (3, True), answer.err
    assert parcels("instances", "show", "none").code == 2
    near = parcels("instances", "start", "parcels", "8", "parcle")
    assert (near.code, "Did you mean 'parcel'?" in near.err) == (3, True)
    kind = parcels("instances", "start", "parcels", "8", "greet")
    assert (kind.code, "[workflow_kind_mismatch]" in kind.err) == (2, True), kind.err
    other = parcels("run", "parcel", "--detach")
    assert (other.code, "[workflow_kind_mismatch]" in other.err) == (2, True), other.err
    for data in ("[1]", "{", "@" + str(write("list.json", "[]"))):
        assert parcels("instances", "start", "parcels", "8", "parcel", "-d", data).code == 2
    wrong = parcels("instances", "transition", instance, "sent", "--context", "{")
    assert (wrong.code, "--context:1:2" in wrong.err) == (2, True), wrong.err
    assert parcels("instances", "transition", instance, "sent", "-d", "-", "--context", "-").code == 2


def test_instance_and_execution_show_each_other(parcels: Flowgres) -> None:
    (parcels.folder / "weigh.yaml").write_text(
        "name: weigh\nsteps: [{id: wait, type: delay, config: {duration: 1h}}]\n"
    )
    (parcels.folder / "letter.yaml").write_text(LETTER)
    imported = parcels("import", "weigh.yaml", "letter.yaml")
    assert imported.code == 0, imported.err
    instance = parcels("instances", "start", "letters", "9", "letter", "-o", "id").out.strip()
    assert parcels("instances", "transition", instance, "weighed").code == 0
    (link,) = parcels("instances", "show", instance).json["executions"]
    execution = link["execution_id"]
    assert (link["transition_name"], link["finished_at"]) == ("weigh", None)
    table = parcels("instances", "show", instance, "-o", "table", COLUMNS="80").out
    assert execution in table
    assert max(len(line) for line in table.splitlines()) <= 80, table
    assert "success: sent, failure: lost" in parcels("instances", "show", instance, "-o", "table", COLUMNS="160").out
    shown = parcels("executions", "show", execution)
    assert shown.json["instance_id"] == instance
    line = f"machine letter, letters 9, at weighed ({instance}): success: sent, failure: lost"
    assert line in parcels("executions", "show", execution, "-o", "table", COLUMNS="160").out

    assert parcels("executions", "cancel", execution).code == 0
    assert parcels("instances", "list", "--entity-id", "9").json[0]["current_state"] == "lost"
    assert "moved to lost" in parcels("instances", "show", instance, "-o", "table", COLUMNS="120").out
    assert parcels("executions", "show", execution, "-o", "table").out.count("moved to lost") == 1


def test_start_that_is_refused_refuses_the_transition(parcels: Flowgres) -> None:
    (parcels.folder / "note.yaml").write_text(LETTER.replace("letter", "note").replace("weigh}", "wiegh}"))
    assert parcels("import", "note.yaml").code == 0
    instance = parcels("instances", "start", "notes", "1", "note", "-o", "id").out.strip()
    refused = parcels("instances", "transition", instance, "weighed")
    assert (refused.code, "[workflow_not_found]" in refused.err) == (3, True), refused.err


def test_history_is_verified(parcels: Flowgres, start: Callable[[], str], module_database: Database) -> None:
    instance = start()
    parcels("instances", "transition", instance, "sent", "-d", '{"carrier": "x"}')
    sound = parcels("instances", "history", instance, "--verify")
    assert sound.code == 0, sound.err
    with module_database.connect() as db:
        db.run("set session_replication_role = replica")
        db.run("update flowgres.instance_history set notes = 'never' where instance_id = %s and seq = 2", instance)
    broken = parcels("instances", "history", instance, "--verify")
    assert broken.code == 1
    assert f"{instance}, row 2" in broken.err
