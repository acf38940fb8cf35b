"""Instances by the file at the command line, against the real server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Flowgres

MACHINE = """name: crate
states:
  - {name: packed, initial: true}
  - {name: sent}
  - {name: received, final: true}
transitions:
  - {from: packed, to: sent, name: send}
  - {from: sent, to: received, name: deliver, required: [by]}
"""


@pytest.fixture(scope="module")
def crates(live: Flowgres) -> Flowgres:
    """The tenant, with a machine."""
    (live.folder / "crate.yaml").write_text(MACHINE)
    imported = live("import", "crate.yaml")
    assert imported.code == 0, imported.err
    return live


@pytest.fixture
def table() -> str:
    """A table of entities that no other test has."""
    return f"crates_{uuid.uuid4().hex[:8]}"


def lines(table: str, count: int, first: int = 0, **members: Any) -> str:
    return "".join(
        json.dumps({"entity_table": table, "entity_id": str(n), **members}) + "\n" for n in range(first, first + count)
    )


def listed(crates: Flowgres, table: str) -> dict[str, str]:
    rows = crates("instances", "list", "--entity-table", table, "--limit", "1000").json
    return {row["entity_id"]: row["current_state"] for row in rows}


def started(crates: Flowgres, table: str, count: int) -> list[str]:
    answer = crates("instances", "start", "crate", "--from", "-", "-o", "id", stdin=lines(table, count))
    assert answer.code == 0, answer.err
    return answer.out.split()


@pytest.mark.parametrize("form", ["jsonl", "csv", "stdin", "csv on stdin"])
def test_entities_of_a_file_are_started(crates: Flowgres, table: str, write: Callable[..., Path], form: str) -> None:
    as_lines = lines(table, 2, metadata={"n": 1})
    as_csv = f'entity_table,entity_id,metadata\n{table},0,"{{""n"": 1.50, ""text"": ""a, b""}}"\n\n{table},1,\n'
    text = as_csv if "csv" in form else as_lines
    source = "-" if "stdin" in form else str(write(f"crates.{form}", text))
    answer = crates("instances", "start", "crate", "--from", source, stdin=text if source == "-" else "")
    assert answer.code == 0, answer.err
    assert (answer.json["started"], answer.json["refused"]) == (2, 0)
    assert [result["entity_id"] for result in answer.json["results"]] == ["0", "1"]
    shown = crates("instances", "show", answer.json["results"][0]["instance_id"]).json
    assert shown["metadata"]["n"] == (1.5 if "csv" in form else 1)


def test_numbers_of_a_file_keep_their_digits(crates: Flowgres, table: str) -> None:
    line = f'{{"entity_table": "{table}", "entity_id": "1", "metadata": {{"n": 12345678901234567890.10}}}}\n'
    assert crates("instances", "start", "crate", "--from", "-", stdin=line).code == 0
    (exported,) = [row for row in crates("instances", "export", "--workflow", "crate").out.splitlines() if table in row]
    assert "12345678901234567890.10" in exported


def test_all_of_a_call_or_nothing_is_started(crates: Flowgres, table: str) -> None:
    (taken,) = started(crates, table, 1)
    answer = crates("instances", "start", "crate", "--from", "-", stdin=lines(table, 3))
    assert answer.code == 6
    assert "stdin:1 to 3:" in answer.err
    assert taken in answer.err
    assert "[instance_exists]" in answer.err
    assert answer.out == ""
    assert listed(crates, table) == {"0": "packed"}


def test_what_can_be_started_is_where_a_report_is_asked_for(crates: Flowgres, table: str) -> None:
    (taken,) = started(crates, table, 1)
    command = ("instances", "start", "crate", "--from", "-", "--on-error", "report")
    answer = crates(*command, stdin=lines(table, 3))
    assert (answer.code, answer.json["started"], answer.json["refused"]) == (1, 2, 1)
    assert answer.json["results"][0]["error"]["code"] == "instance_exists"
    assert answer.json["results"][0]["instance_id"] == taken
    assert "1 of 3 were refused" in answer.err
    told = crates(*command, "-o", "table", stdin=lines(table, 4)).out
    assert told.count("instance_exists") == 3
    assert taken in told
    again = crates(*command, "-o", "jsonl", stdin=lines(table, 4))
    assert [bool(row.get("error")) for row in again.lines] == [True] * 4
    assert crates(*command, "-o", "id", stdin=lines(table, 6)).out.split() != []
    assert listed(crates, table) == {str(number): "packed" for number in range(6)}


@pytest.mark.parametrize("form", ["id", "jsonl", "csv"])
def test_instances_of_a_list_are_moved(crates: Flowgres, table: str, write: Callable[..., Path], form: str) -> None:
    ids = started(crates, table, 3)
    if form == "csv":
        text = "id,entity_id\n" + "".join(f"{one},x\n" for one in ids)
        source = ("--from", str(write("ids.csv", text)))
    else:
        text = crates("instances", "list", "--entity-table", table, "-o", form).out
        source = ("--from", "-")
    answer = crates("instances", "transition", "--to", "sent", *source, "--notes", "All of them", stdin=text)
    assert answer.code == 0, answer.err
    assert (answer.json["moved"], answer.json["refused"]) == (3, 0)
    assert {result["instance_id"] for result in answer.json["results"]} == set(ids)
    assert crates("instances", "history", ids[0]).json[0]["notes"] == "All of them"


def test_moves_are_all_or_none_or_reported(crates: Flowgres, table: str) -> None:
    ids = started(crates, table, 3)
    assert crates("instances", "transition", ids[1], "sent").code == 0
    command = ("instances", "transition", "--to", "sent", "--from", "-")
    answer = crates(*command, stdin="\n".join(ids))
    assert (answer.code, answer.out) == (6, "")
    assert ids[1] in answer.err
    assert "[transition_not_allowed]" in answer.err
    answer = crates(*command, "--on-error", "report", stdin="\n".join(ids))
    assert (answer.code, answer.json["moved"], answer.json["refused"]) == (1, 2, 1)
    assert set(listed(crates, table).values()) == {"sent"}
    missing = crates("instances", "transition", "--to", "received", "--from", "-", stdin="\n".join(ids))
    assert (missing.code, "by" in missing.err) == (2, True)
    data = ("-d", '{"by": "ann"}')
    assert crates("instances", "transition", "--to", "received", "--from", "-", *data, stdin="\n".join(ids)).code == 0


def test_more_than_a_call_takes_goes_in_several(crates: Flowgres, table: str, write: Callable[..., Path]) -> None:
    source = str(write("many.jsonl", lines(table, 10_500)))
    answer = crates("instances", "start", "crate", "--from", source)
    assert (answer.code, answer.json["started"]) == (0, 10_500), answer.err
    ids = [result["instance_id"] for result in answer.json["results"]]
    assert len(set(ids)) == 10_500
    # The second call is refused; what the first did stays, and is told.
    assert crates("instances", "transition", ids[10_100], "sent").code == 0
    answer = crates("instances", "transition", "--to", "sent", "--from", "-", "-o", "id", stdin="\n".join(ids))
    assert (answer.code, answer.out.split()) == (6, ids[:10_000]), answer.err
    assert "stdin:10001 to 10500:" in answer.err
    assert "10000 before stay as they were done" in answer.err


def test_fewer_go_in_a_call_where_the_server_takes_fewer(crates: Flowgres, table: str) -> None:
    def most(value: int | None) -> None:
        here = crates.environment
        answer = httpx.post(
            f"{here['FLOWGRES_API_URL']}/rpc/set_setting",
            headers={"X-API-Key": here["FLOWGRES_API_KEY"]},
            json={"name": "max_bulk_starts", "value": value},
        )
        assert answer.is_success, answer.text

    most(2)
    try:
        ids = started(crates, table, 5)
        moved = crates("instances", "transition", "--to", "sent", "--from", "-", stdin="\n".join(ids))
    finally:
        most(None)
    assert (len(ids), moved.code, moved.json["moved"]) == (5, 0, 5), moved.err


def test_nothing_to_do_is_no_mistake(crates: Flowgres) -> None:
    for command in (("start", "crate"), ("transition", "--to", "sent")):
        answer = crates("instances", *command, "--from", "-", stdin="\n")
        assert (answer.code, answer.json["results"]) == (0, []), answer.err


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.jsonl", '{"entity_table": "x", "entity_id": "1"}\n\n{"entity_table": "x"}\n', "a.jsonl:3"),
        ("a.jsonl", '{"entity_table": "x", "entity_id": "1"}\n{"a"\n', "a.jsonl:2"),
        ("a.jsonl", "[1]\n", "a.jsonl:1"),
        ("a.csv", "entity_table\nx\n", "a.csv:1"),
        ("a.csv", "entity_table,entity_id,colour\nx,1,red\n", "a.csv:1"),
        ("a.csv", "entity_table,entity_id\nx,1\nx\n", "a.csv:3"),
        ("a.csv", "entity_table,entity_id,metadata\nx,1,{\n", "a.csv:2"),
        ("a.csv", 'entity_table,entity_id\nx,"1\n', "a.csv:"),
        ("a.csv", b"entity_table,entity_id\nx,\xff\n", "a.csv"),
        # The server's word about one of them, with its place in the file.
        ("a.jsonl", '{"entity_table": "x", "entity_id": "1"}\n\n{"entity_table": "x", "entity_id": ""}\n', "a.jsonl:3"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_place(
    crates: Flowgres, write: Callable[..., Path], name: str, text: str | bytes, place: str
) -> None:
    source = str(write(name, text))
    answer = crates("instances", "start", "crate", "--from", source)
    assert answer.code == 2
    assert f"{source.removesuffix(name)}{place}" in answer.err


def test_mistakes_in_ids_are_told_with_their_place(crates: Flowgres, write: Callable[..., Path]) -> None:
    for name, text, line in (("ids.txt", f"{uuid.uuid4()}\nx\n", 2), ("ids.jsonl", '{"name": "x"}\n', 1)):
        source = str(write(name, text))
        answer = crates("instances", "transition", "--to", "sent", "--from", source)
        assert (answer.code, f"{source}:{line}: " in answer.err) == (2, True), answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("start", "crate"),
        ("start", "a", "b", "crate", "--from", "-"),
        ("start", "crate", "--from", "-", "-d", "{}"),
        ("start", "a", "b", "crate", "--on-error", "report"),
        ("start", "crate", "--from", "no-such-file.csv"),
        ("start", "crate", "--from", "-", "--on-error", "ignore"),
        ("transition", "--from", "-"),
        ("transition", str(uuid.UUID(int=1)), "sent", "--from", "-"),
        ("transition", str(uuid.UUID(int=1))),
        ("transition", "--to", "sent"),
        ("transition", "--to", "sent", "--from", "-", "-d", "-"),
        ("migrate", "crate"),
        ("migrate", "crate", "--to", "1", "--map", "a"),
        ("migrate", "crate", "--to", "1", "--map", "a=b", "--map", "a=c"),
        ("verify",),
        ("verify", str(uuid.UUID(int=1)), "--all"),
        ("export", "--format", "csv"),
    ],
    ids=" ".join,
)
def test_calls_that_make_no_sense_are_usage_errors(crates: Flowgres, arguments: tuple[str, ...]) -> None:
    answer = crates("instances", *arguments)
    assert (answer.code, answer.out) == (2, ""), answer.err


def test_unknown_machine_is_told_as_ever(crates: Flowgres) -> None:
    near = crates("instances", "start", "crat", "--from", "-", stdin=lines("x", 1))
    assert (near.code, "Did you mean 'crate'?" in near.err) == (3, True)
