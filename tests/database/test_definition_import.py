"""Importing: the same content is the same version, drafts, concurrency, inputs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.database import Database
from tests.support.definitions import Author, Definition, log_step, sub_workflow, workflow


@pytest.fixture(scope="module")
def shared_author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


@pytest.fixture
def author(shared_author: Author) -> Author:
    return Author(shared_author.database, shared_author.db)


def outcome(result: Definition) -> tuple[int, bool, str]:
    return result["version"], result["created"], result["state"]


def test_same_content_is_the_same_version(author: Author) -> None:
    first = author.import_(workflow(log_step("a"), metadata={"x": 1, "y": 2}))
    again = author.import_(workflow(log_step("a"), metadata={"y": 2, "x": 1}))
    assert (outcome(first), outcome(again)) == ((1, True, "checking"), (1, False, "checking"))
    assert first["version_id"] == again["version_id"]


def test_other_content_is_the_next_version(author: Author) -> None:
    versions = [author.import_(workflow(log_step(step)))["version"] for step in "abca"]
    assert versions == [1, 2, 3, 1]
    workflow_row = author.db.one("select * from flowgres.workflows where tenant_id = %s", author.tenant_id)
    assert (workflow_row["active_version"], workflow_row["latest_version"]) == (1, 3)


def test_invalid_definition_stores_nothing_and_tells_every_error(author: Author) -> None:
    with pytest.raises(psycopg.Error) as caught:
        author.import_(workflow(log_step("A"), log_step("b", "z")))
    assert (caught.value.sqlstate, caught.value.diag.constraint_name) == ("FG422", "definition_invalid")
    details = author.db.value("select %s::jsonb", caught.value.diag.message_detail)
    assert [error["code"] for error in details] == ["invalid_name", "unknown_step"]
    assert author.db.value("select count(*) from flowgres.workflows where tenant_id = %s", author.tenant_id) == 0


STATES = {"states": [{"name": "new", "initial": True}]}


@pytest.mark.parametrize("body", [{"steps": [log_step("a")]}, STATES], ids=["dag", "machine"])
def test_header_may_stand_below_a_key_of_its_own(author: Author, body: Definition) -> None:
    flat = {"name": "told", "version": "1.0", "metadata": {"description": "x"}}
    first = author.import_(flat | body)
    again = author.import_({"workflow": flat | {"title": None}, "name": None, **body})
    assert (again["name"], again["version"], again["created"]) == ("told", first["version"], False)
    checked = author.db.call("flowgres_api.validate_workflow", definition={"workflow": flat, **body})
    assert checked == author.db.call("flowgres_api.validate_workflow", definition=flat | body)


def test_what_is_wrong_in_a_header_is_told_of_where_it_stands(author: Author) -> None:
    definition = {"workflow": {"name": "No Name", "metadata": [], "owner": "me"}, "description": 7, **STATES}
    checked = author.db.call("flowgres_api.validate_workflow", definition=definition)
    assert {(error["path"], error["code"]) for error in checked["errors"]} == {
        ("workflow", "unknown_key"), ("workflow.name", "invalid_name"), ("workflow.metadata", "wrong_kind"),
        ("description", "wrong_kind"),
    }  # fmt: skip


def test_inline_secret_has_its_own_code(author: Author) -> None:
    with pytest.raises(psycopg.Error) as caught:
        author.import_(workflow(log_step("a"), trigger_type="webhook", webhook_secret="hunter2"))
    assert (caught.value.sqlstate, caught.value.diag.constraint_name) == ("FG422", "inline_secret")
    assert "hunter2" not in f"{caught.value} {caught.value.diag.message_detail}"


def test_draft_is_rewritten_until_it_is_activated(author: Author) -> None:
    first = author.import_(workflow(log_step("a")), activate=False)
    second = author.import_(workflow(log_step("b")), activate=False)
    assert (outcome(first), outcome(second)) == ((1, True, "draft"), (1, True, "draft"))
    assert first["version_id"] != second["version_id"], "a draft's id is never reused for another content"
    assert second["status"] == "draft"
    frozen = author.import_(workflow(log_step("b")))
    assert outcome(frozen) == (1, False, "checking")
    assert outcome(author.import_(workflow(log_step("c")), activate=False)) == (2, True, "draft")


def test_draft_leaves_the_active_version_alone(author: Author) -> None:
    author.import_(workflow(log_step("a"), title="First"))
    result = author.import_(workflow(log_step("b"), title="Second"), activate=False)
    row = author.db.one("select * from flowgres.workflows where tenant_id = %s", author.tenant_id)
    assert (result["status"], row["active_version"], row["title"]) == ("active", 1, "First")


def test_import_that_runs_leaves_a_draft_alone(author: Author) -> None:
    author.import_(workflow(log_step("a")))
    draft = author.import_(workflow(log_step("b")), activate=False)
    assert outcome(author.import_(workflow(log_step("c")))) == (3, True, "checking")
    assert author.version(draft["version_id"])["state"] == "draft"


def test_imports_of_one_new_name_at_once_make_one_workflow(author: Author) -> None:
    results: list[Any] = []
    together = threading.Barrier(8)

    def import_one(number: int) -> None:
        with author.connect() as db:
            together.wait()
            definition = workflow(log_step(f"s{number % 2}"))
            results.append(db.call("flowgres.import_workflow", p_definition=definition, p_activate=True))

    threads = [threading.Thread(target=import_one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len({result["workflow_id"] for result in results}) == 1
    assert sorted(result["created"] for result in results) == [False] * 6 + [True] * 2
    assert {result["version"] for result in results} == {1, 2}


def test_front_vouches_for_expressions(author: Author) -> None:
    with author.database.connect("front") as db, db.connection.transaction():
        db.run("select set_config('flowgres.tenant_id', %s, true)", str(author.tenant_id))
        db.run("set local role flowgres_member")
        result = db.call("flowgres.import_checked_workflow", p_definition=workflow(log_step("a")))
    assert outcome(result) == (1, True, "ready")


def test_nobody_else_vouches_for_expressions(author: Author) -> None:
    with (
        author.database.as_role("member", tenant_id=author.tenant_id, sub="ann") as db,
        pytest.raises(psycopg.Error, match="only the front"),
    ):
        db.call("flowgres.import_checked_workflow", p_definition=workflow(log_step("a")))


def test_import_by_rpc_is_ready_when_the_front_imports_the_same(author: Author) -> None:
    author.import_(workflow(log_step("a")))
    with author.database.connect("front") as db, db.connection.transaction():
        db.run("select set_config('flowgres.tenant_id', %s, true)", str(author.tenant_id))
        db.run("set local role flowgres_member")
        assert outcome(db.call("flowgres.import_checked_workflow", p_definition=workflow(log_step("a")))) == (
            1,
            False,
            "ready",
        )


def test_unknown_sub_workflow_is_a_warning(author: Author) -> None:
    (warning,) = author.import_(workflow(sub_workflow("call", "later")))["warnings"]
    assert (warning["code"], warning["path"]) == ("workflow_not_found", "steps[0].config.workflow")


INPUTS = {
    "order_id": {"type": "string", "required": True, "max_length": 5},
    "amount": {"type": "number", "minimum": 0, "default": 0},
    "items": {"type": "array", "default": []},
    "kind": {"type": "string", "enum": ["a", "b"]},
}


def check_input(author: Author, declarations: Any, given: Any, *, is_open: bool = False) -> Any:
    query = "select flowgres.check_input(p_inputs => %s, p_takes_additional => %s, p_input => %s)"
    return author.db.value(query, Jsonb(declarations) if declarations else None, is_open, Jsonb(given))


def test_input_gets_its_defaults(author: Author) -> None:
    assert check_input(author, INPUTS, {"order_id": "1"}) == {"order_id": "1", "amount": 0, "items": []}
    assert check_input(author, None, {"x": 1}) == {"x": 1}


def test_input_that_takes_more_keeps_what_is_not_declared(author: Author) -> None:
    found = check_input(author, INPUTS, {"order_id": "1", "more": 2}, is_open=True)
    assert found == {"order_id": "1", "amount": 0, "items": [], "more": 2}


def test_integers_have_any_number_of_digits_and_are_written_like_ones(author: Author) -> None:
    given = {"a": 9223372036854775807, "b": 10**200, "c": 5.0, "d": -(10**15), "e": 1e3}
    found = author.db.value(
        "select flowgres.check_input(p_inputs => %s, p_takes_additional => false, p_input => %s::jsonb)::text",
        Jsonb({name: {"type": "integer"} for name in given}),
        Jsonb(given),
    )
    assert found == f'{{"a": 9223372036854775807, "b": {10**200}, "c": 5, "d": -1000000000000000, "e": 1000}}'


@pytest.mark.parametrize("given", [5.5, "5", True, None, [5]])
def test_what_is_no_integer_is_refused_for_one(author: Author, given: Any) -> None:
    with pytest.raises(psycopg.Error, match="must be of type integer"):
        check_input(author, {"n": {"type": "integer"}}, {"n": given})


def test_input_is_refused_with_all_its_problems(author: Author) -> None:
    with pytest.raises(psycopg.Error) as caught:
        check_input(author, INPUTS, {"order_di": "1", "amount": -1, "items": {}, "kind": "c"})
    assert (caught.value.sqlstate, caught.value.diag.constraint_name) == ("FG422", "input_invalid")
    assert caught.value.diag.message_hint == 'Did you mean "order_id"?'
    details = author.db.value("select %s::jsonb", caught.value.diag.message_detail)
    assert {error["path"]: error["code"] for error in details} == {
        "order_di": "unknown_input",
        "order_id": "required",
        "amount": "out_of_range",
        "items": "wrong_kind",
        "kind": "not_allowed",
    }


STARTS = [
    "flowgres_api.start_execution('w', '{\"nme\": \"Ann\"}')",
    'flowgres_api.start_executions(\'w\', \'[{"name": "Ann"}, {"nme": "Ann"}]\')',
]


@pytest.mark.parametrize("call", STARTS)
def test_every_start_refuses_an_input_that_nobody_declared(author: Author, call: str) -> None:
    author.import_(workflow(log_step("a"), inputs={"name": {"type": "string", "default": "world"}}))
    with pytest.raises(psycopg.Error) as caught:
        author.db.run(f"select {call}")
    assert (caught.value.sqlstate, caught.value.diag.constraint_name) == ("FG422", "input_invalid")
    assert caught.value.diag.message_hint == 'Did you mean "name"?'


@pytest.mark.parametrize("call", STARTS)
def test_every_start_takes_additional_inputs_where_the_workflow_says_so(author: Author, call: str) -> None:
    author.import_(workflow(log_step("a"), inputs={"name": {"type": "string"}}, additional_inputs=True))
    assert author.db.value(f"select {call}")


def test_version_from_before_inputs_were_closed_stays_open_until_it_is_imported_again(author: Author) -> None:
    definition = workflow(log_step("a"), inputs={"name": {"type": "string"}})
    first = author.import_(definition)
    author.db.run(
        "update flowgres.workflow_versions set takes_additional_inputs = true where id = %s", first["version_id"]
    )
    assert author.db.value(f"select {STARTS[0]}")
    assert outcome(author.import_(definition)) == (2, True, "checking")


def test_call_with_an_input_that_the_child_does_not_declare_is_a_warning(author: Author) -> None:
    author.import_(workflow(log_step("a"), name="child", inputs={"name": {"type": "string"}}))
    caller = workflow(sub_workflow("call", "child", input={"nme": "{{ input.x }}"}))
    (warning,) = author.import_(caller)["warnings"]
    assert (warning["code"], warning["path"]) == ("unknown_input", "steps[0].config.input.nme")


@pytest.mark.parametrize("given", [[], "x", 1, None])
def test_input_is_an_object(author: Author, given: Any) -> None:
    with pytest.raises(psycopg.Error, match="the input is not an object"):
        check_input(author, None, given)
