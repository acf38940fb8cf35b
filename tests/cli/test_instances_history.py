"""Verifying, exporting and migrating instances at the command line, against the real server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.database import Database
from tests.support.machines import faults_of_export

from .conftest import Flowgres

MACHINE = """name: crate
states:
  - {name: packed, initial: true}
  - {name: sent}
  - {name: received, final: true}
transitions:
  - {from: packed, to: sent, name: send}
  - {from: sent, to: received, name: deliver}
"""


@pytest.fixture
def crates(live: Flowgres) -> Flowgres:
    """The tenant, with a machine in two versions of which the first is active."""
    name = f"crate_{uuid.uuid4().hex[:8]}"
    text = MACHINE.replace("crate", name)
    for version in (text, text.replace("sent", "on_its_way")):
        (live.folder / "crate.yaml").write_text(version)
        imported = live("import", "crate.yaml")
        assert imported.code == 0, imported.err
    assert live("workflows", "activate", name, "--version", "1").code == 0
    return live.with_environment(CRATE=name)


@pytest.fixture
def start(crates: Flowgres) -> Callable[..., str]:
    """`start("sent")` starts one and moves it there."""

    def start(*states: str) -> str:
        name = crates.environment["CRATE"]
        instance = crates("instances", "start", "crates", str(uuid.uuid4()), name, "-o", "id").out.strip()
        for state in states:
            assert crates("instances", "transition", instance, state).code == 0
        return instance

    return start


@pytest.fixture
def spoil(module_database: Database) -> Callable[[str, str], None]:
    """`spoil(instance, notes)` changes its first row, as only a superuser can."""

    def spoil(instance: str, notes: str) -> None:
        with module_database.connect() as db:
            db.run(
                "update flowgres.instance_history set notes = %s where instance_id = %s and seq = 1", notes, instance
            )

    return spoil


def migrate(crates: Flowgres, *arguments: str) -> Any:
    return crates("instances", "migrate", crates.environment["CRATE"], *arguments)


def test_history_of_one_and_of_all_is_verified(
    crates: Flowgres, start: Callable[..., str], spoil: Callable[[str, str], None]
) -> None:
    instance, other = start("sent"), start()
    sound = crates("instances", "verify", instance)
    assert (sound.code, sound.json["valid"], sound.json["rows"]) == (0, True, 2)
    everything = crates("instances", "verify", "--all")
    assert (everything.code, everything.json["instances"] >= 2) == (0, True)
    spoil(instance, "never")
    try:
        for arguments in ((instance,), ("--all",)):
            broken = crates("instances", "verify", *arguments)
            assert broken.code == 1
            assert broken.json["valid"] is False
            assert broken.json["problems"] == [{"instance_id": instance, "seq": 1, "problem": "row_changed"}]
            assert f"{instance}, row 1: row changed" in broken.err
            assert "[history_changed]" in broken.err
        assert instance in crates("instances", "verify", "--all", "-o", "table").out
        assert crates("instances", "verify", other).code == 0
    finally:
        spoil(instance, "Workflow started")
    assert crates("instances", "verify", str(uuid.UUID(int=1))).code == 3


def test_export_is_checked_without_the_server(
    crates: Flowgres, start: Callable[..., str], spoil: Callable[[str, str], None]
) -> None:
    instances = sorted([start("sent", "received"), start()])
    command = ("instances", "export", "--workflow", crates.environment["CRATE"])
    exported = crates(*command)
    assert (exported.code, "4 rows" in exported.err) == (0, True)
    assert sorted({line["instance_id"] for line in exported.lines}) == instances
    assert faults_of_export(exported.out.splitlines()) == []
    assert [line["hash"] for line in exported.lines if line["instance_id"] == instances[0]] == [
        row["hash"] for row in reversed(crates("instances", "history", instances[0]).json)
    ]
    assert crates(*command, "--since", "2999-01-01", "--format", "jsonl").out == ""
    spoil(instances[1], "never")
    assert {place[:2] for place in faults_of_export(crates(*command).out.splitlines())} == {(instances[1], 1)}
    spoil(instances[1], "Workflow started")


def test_export_refuses_what_is_not_there(crates: Flowgres) -> None:
    unknown = crates("instances", "export", "--workflow", "none")
    assert (unknown.code, unknown.out, "[workflow_not_found]" in unknown.err) == (3, "", True)
    assert crates("instances", "export", "--since", "soon").code != 0


def test_export_of_very_many_rows_comes_in_pages(crates: Flowgres) -> None:
    name = crates.environment["CRATE"]
    rows = "".join(json.dumps({"entity_table": "c", "entity_id": f"{name} {n}"}) + "\n" for n in range(3000))
    assert crates("instances", "start", name, "--from", "-", "-o", "id", stdin=rows).code == 0
    exported = crates("instances", "export", "--workflow", name).out.splitlines()
    assert (len(exported), faults_of_export(exported)) == (3000, [])


def test_instances_are_moved_to_another_version(crates: Flowgres, start: Callable[..., str]) -> None:
    waiting, going, gone = start(), start("sent"), start("sent", "received")
    pair = ("--map", "sent=on_its_way")
    dry = migrate(crates, "--to", "2", "--dry-run", *pair)
    assert (dry.code, dry.json["migrated"], dry.json["remaining"]) == (0, 0, 2), dry.err
    done = migrate(crates, "--to", "2", *pair)
    assert (done.code, done.json["migrated"], done.json["remaining"]) == (0, 2, 0), done.err
    assert [(move["from_state"], move["to_state"], move["instances"]) for move in done.json["moves"]] == [
        ("packed", "packed", 1),
        ("sent", "on_its_way", 1),
    ]
    assert crates("instances", "show", going).json["current_state"] == "on_its_way"
    assert crates("instances", "history", going).json[0]["transition_name"] == "migrated"
    assert crates("instances", "transition", waiting, "on_its_way").code == 0
    ended = migrate(crates, "--to", "2", "--completed", "--from-version", "1")
    assert (ended.code, ended.json["examples"][0]["instance_id"]) == (0, gone)
    assert crates("instances", "verify", "--all").code == 0


def test_state_without_counterpart_is_told(crates: Flowgres, start: Callable[..., str]) -> None:
    going = start("sent")
    for arguments in (("--dry-run",), ("--dry-run", "-o", "table"), ()):
        answer = migrate(crates, "--to", "2", *arguments)
        assert answer.code == (1 if arguments else 2)
        assert 'the state "sent" of version 1 has no counterpart' in answer.err
        assert "--map OLD=NEW" in answer.err
        assert (answer.out == "") == (not arguments)
    assert crates("instances", "show", going).json["current_state"] == "sent"
    wrong = migrate(crates, "--to", "2", "--map", "sent=nowhere")
    assert (wrong.code, "[state_unknown]" in wrong.err) == (2, True)
    unknown = migrate(crates, "--to", "9")
    assert (unknown.code, "[version_not_found]" in unknown.err) == (3, True)


def test_migration_is_for_administrators(crates: Flowgres, start: Callable[..., str]) -> None:
    start()
    made = crates("keys", "create", "member of crates", "--role", "member", "-o", "json")
    assert made.code == 0, made.err
    member = crates.with_environment(FLOWGRES_API_KEY=made.json["api_key"])
    assert migrate(member, "--to", "2", "--dry-run").code == 5
