"""State machines as definitions: their canonical form, which is Python's as well, and their way to an import."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from flowgres_definitions.dialects import translate
from flowgres_definitions.loader import load_definition
from flowgres_definitions.machines import form_machine
from tests.support.database import Database
from tests.support.definitions import Author
from tests.support.parity_machines import MACHINES, ODD, machine, states, way

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*/machine.yaml"))
SOUND = [definition for definition, errors in [*MACHINES, *((one, {}) for one, _ in ODD)] if not errors]

ORDER = """\
name: order_state
states:
  - {name: new, initial: true, sla: {after: 48h, to: cancelled}}
  - {name: approved}
  - {name: shipped, final: true}
  - {name: cancelled, final: true}
transitions:
  - from: new
    to: approved
    name: approve
    guard: "$.metadata.amount <= 10000"
    roles: [manager]
    start: {workflow: order_pipeline, input: {order_id: "$.entity_id"}, on_failure: cancelled}
  - {from: approved, to: shipped, name: ship}
  - {from: "*", to: cancelled, name: cancel}
"""


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def read(path: Path) -> dict[str, Any]:
    return translate(load_definition(path.read_bytes(), source=path.name).document).document


def test_every_value_has_its_form_and_every_transition_a_name(author: Author) -> None:
    plain: dict[str, Any] = {"conditions": {}, "context": {}, "metadata": {}}
    start = {"workflow": "order_pipeline", "input": {"order_id": "$.entity_id"}, "on_failure": "cancelled"}
    assert author.canonical(yaml.safe_load(ORDER)) == {
        "name": "order_state",
        "states": [
            {
                "name": "new",
                "initial": True,
                "final": False,
                "metadata": {},
                "sla": {"after": 172800, "to": "cancelled"},
            },
            {"name": "approved", "initial": False, "final": False, "metadata": {}},
            {"name": "shipped", "initial": False, "final": True, "metadata": {}},
            {"name": "cancelled", "initial": False, "final": True, "metadata": {}},
        ],
        "transitions": [
            {
                **plain,
                **{"from": "new", "to": "approved", "name": "approve", "guard": "$.metadata.amount <= 10000"},
                "roles": ["manager"],
                "start": start,
            },
            {**plain, "from": "approved", "to": "shipped", "name": "ship"},
            {**plain, "from": "*", "to": "cancelled", "name": "cancel"},
        ],
    }


def test_what_is_left_out_is_filled_in(author: Author) -> None:
    given = machine(
        way(roles="manager", required=["a", "b", "a"], enforce=False, start={"workflow": "ship"}),
        way("*", "open", enforce=True, conditions={"field_required": "a"}, metadata=None, guard=None),
    )
    first, second = author.canonical(given)["transitions"]
    plain: dict[str, Any] = {"conditions": {}, "context": {}, "metadata": {}}
    assert first == plain | {
        **{"from": "new", "to": "done", "name": "new_to_done", "roles": ["manager"], "required": ["a", "b"]},
        "start": {"workflow": "ship", "input": {}},
    }
    assert second == plain | {
        **{"from": "*", "to": "open", "name": "any_to_open", "enforce": True},
        "conditions": {"field_required": "a"},
    }


@pytest.mark.parametrize("given", [states({"name": "open"}), machine(), machine(transitions=None)])
def test_a_machine_without_transitions_has_none(author: Author, given: dict[str, Any]) -> None:
    assert author.canonical(given)["transitions"] == []


@pytest.mark.parametrize("definition", SOUND)
def test_both_make_the_same_form_and_again_the_same(author: Author, definition: dict[str, Any]) -> None:
    canonical = author.canonical(definition)
    assert form_machine(copy.deepcopy(definition), {}) == canonical
    assert author.canonical(canonical) == canonical


def test_one_content_has_one_checksum(author: Author) -> None:
    def checksum(definition: Any) -> str:
        value: str = author.db.value("select flowgres.definition_checksum(%s::jsonb)", author.canonical(definition))
        return value

    given = machine(way(name="finish"), version="1.0", metadata={"a": 1, "b": 2})
    header = {"workflow": {"metadata": {"b": 2, "a": 1}, "version": "1.0", "name": "w"}} | {
        key: given[key] for key in ("transitions", "states")
    }
    assert checksum(translate(header).document) == checksum(given)
    assert checksum(given | {"transitions": [way(name="finish", context={}, enforce=False)]}) == checksum(given)
    assert checksum(given | {"transitions": [way(name="end")]}) != checksum(given)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_examples_are_valid_and_keep_what_they_say(author: Author, path: Path) -> None:
    definition = read(path)
    found = author.check(definition)
    assert found["errors"] == []
    formed = found["definition"]
    assert formed == form_machine(definition, {})
    assert [one["metadata"]["display_name"] for one in formed["states"] + formed["transitions"]]
    said = yaml.safe_load(path.read_text())
    assert formed["metadata"] == said["metadata"]
    for key in ("states", "transitions"):
        assert [{**whole, **part} for whole, part in zip(formed[key], said[key], strict=True)] == formed[key]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_header_may_stand_below_workflow(author: Author, path: Path, tmp_path: Path) -> None:
    head, rest = path.read_text().split("\n\n", 1)
    text = (
        "workflow:\n" + "".join(f"  {line}\n" for line in head.split("\n")) + "    \n" + rest.replace("\n\n", "\n  \n")
    )
    (tmp_path / "machine.yaml").write_text(text)
    assert author.canonical(read(tmp_path / "machine.yaml")) == author.canonical(read(path))


def test_examples_say_what_is_odd_about_them(author: Author) -> None:
    warned = {path.parent.name: author.check(read(path))["warnings"] for path in FILES}
    assert {name: {one["path"]: one["code"] for one in told} for name, told in warned.items()} == {
        "fraud_detection": {},
        "loan_check": {"transitions[0].start.workflow": "workflow_not_found"},
        "order_state_machine": {
            "transitions[5].from": "leaves_final_state",
            "transitions[6]": "repeated_transition",
        },
    }


def test_names_that_are_nearly_known_are_suggested(author: Author) -> None:
    found = author.check(machine(way("opened", "dnoe"), way("new", "shipped")))
    assert [error["hint"] for error in found["errors"]] == [
        'Did you mean "open"?',
        'Did you mean "done"?',
        "One of: new, open, done.",
    ]


def test_a_start_of_what_is_there_is_no_warning(author: Author) -> None:
    author.import_({"name": "ship", "steps": [{"id": "a", "type": "log", "config": {"message": "x"}}]})
    found = author.check(machine(way("new", "open", start={"workflow": "ship"}), way("open")))
    assert (found["errors"], found["warnings"]) == ([], [])


@pytest.mark.parametrize(
    "guard",
    [
        "$.metadata.amount <= 10000",
        'exists($.data.reason) && $.state != "x"',
        '$.entity_id like_regex "^[0-9]+$"',
        "$.context.at.datetime() < $.metadata.until.datetime()",
        "strict $.metadata.amount > 1",
        "1 / 0 == 1",
        "!($.data.amount > 1)",
        "($.data.amount > 1) is unknown",
        "true",
    ],
)
def test_a_guard_is_any_jsonpath(author: Author, guard: str) -> None:
    assert author.errors(machine(way(guard=guard))) == {}


def test_a_guard_that_cannot_be_read_says_why(author: Author) -> None:
    (error,) = author.check(machine(way(guard="$.metadata.amount > $limit")))["errors"]
    assert error["code"] == "jsonpath_invalid"
    assert "limit" in error["message"]


def test_the_largest_machine_is_checked_as_a_whole(author: Author) -> None:
    names = [f"s{number}" for number in range(200)]
    listed = [{"name": name, "initial": name == "s0"} for name in names]
    ways = [way("*", name) for name in names] * 5
    found = author.check({"name": "w", "states": listed, "transitions": ways})
    assert found["errors"] == []
    assert {one["code"] for one in found["warnings"]} == {"repeated_transition"}
    assert len(found["warnings"]) == 200, "of eight hundred"
    assert author.check({"name": "w", "states": listed})["warnings"] == []


def test_many_unknown_states_are_told_up_to_a_bound(author: Author) -> None:
    found = author.check(machine(*(way(f"x{number}", f"y{number}") for number in range(20_000))))
    assert not found["valid"]
    assert len(found["errors"]) <= 200


def test_an_import_keeps_a_machine_and_refuses_a_broken_one(author: Author) -> None:
    with pytest.raises(psycopg.Error) as caught:
        author.import_(machine(way("nwe")))
    assert caught.value.diag.constraint_name == "definition_invalid"
    answer = author.import_(machine(way()))
    assert (answer["kind"], answer["status"], answer["state"]) == ("state_machine", "active", "ready")
    assert author.import_(machine(way()))["version"] == answer["version"]
    transitions = "select count(*) from flowgres.machine_transitions where tenant_id = %s and version_id = %s"
    assert author.db.value(transitions, author.tenant_id, answer["version_id"]) == 1
