"""Every mistake of a definition is told, at once, with its path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.database import Database
from tests.support.definitions import Author, condition, listed_step, log_step, workflow


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def typed(kind: str, **config: Any) -> dict[str, Any]:
    return {"id": "a", "type": kind, "config": config}


def test_all_mistakes_are_told_at_once(author: Author) -> None:
    definition = workflow(
        typed("http", metod="GET", url="ftp://x"),
        {"id": "B", "type": "lgo", "config": {}},
        log_step("c", "z", timeout="soon", on_error="ignore"),
        settings={"priority": 12},
        extra=1,
    )
    assert author.errors(definition) == {
        "extra": "unknown_key",
        "settings.priority": "out_of_range",
        "steps[0].config.metod": "unknown_key",
        "steps[0].config.url": "invalid_text",
        "steps[1].id": "invalid_name",
        "steps[1].type": "unknown_step_type",
        "steps[2].depends_on[0]": "unknown_step",
        "steps[2].on_error": "unknown_word",
        "steps[2].timeout": "duration_invalid",
    }


def test_unknown_key_comes_with_a_suggestion(author: Author) -> None:
    (error, *_) = author.check(workflow({"id": "a", "type": "log", "confg": {}}))["errors"]
    assert (error["path"], error["hint"]) == ("steps[0].confg", 'Did you mean "config"?')


@pytest.mark.parametrize("definition", [None, 1, "x", [], True])
def test_definition_is_an_object(author: Author, definition: Any) -> None:
    result = author.db.value("select flowgres.validate_workflow(%s::jsonb)", json.dumps(definition))
    assert [error["code"] for error in result["errors"]] == ["wrong_kind"]


@pytest.mark.parametrize(
    ("definition", "errors"),
    [
        ({}, {"name": "missing_key", "steps": "missing_key"}),
        ({"name": 1, "steps": {}}, {"name": "wrong_kind", "steps": "wrong_kind"}),
        (workflow(), {"steps": "no_steps"}),
        (workflow(1, None, [], "x"), {f"steps[{place}]": "wrong_kind" for place in range(4)}),
        (workflow({}), {"steps[0].id": "missing_key", "steps[0].type": "missing_key"}),
        (
            workflow({"id": 1, "type": 2, "config": 3, "depends_on": 4}),
            {f"steps[0].{key}": "wrong_kind" for key in ("id", "type", "config", "depends_on")},
        ),
        ({"name": "w", "states": []}, {"states": "no_states"}),
        ({"name": "w", "states": [], "steps": []}, {"states": "conflicting_keys"}),
        (workflow(log_step("a"), title="\u202eabc"), {"title": "invalid_text"}),
        (workflow(log_step("a"), metadata=[]), {"metadata": "wrong_kind"}),
        (workflow(log_step("a"), defaults={"timeout": "x"}), {"defaults.timeout": "duration_invalid"}),
    ],
)
def test_wrong_kinds_are_named(author: Author, definition: Any, errors: dict[str, str]) -> None:
    assert author.errors(definition) == errors


@pytest.mark.parametrize(
    ("config", "errors"),
    [
        (typed("http"), {"url": "missing_key"}),
        (typed("http", url="https://x", json={}, body="x"), {"": "conflicting_keys"}),
        (typed("http", url="https://x", method="FETCH"), {"method": "unknown_word"}),
        (typed("http", url="https://x", headers={"X A": "1"}), {'headers["X A"]': "header_invalid"}),
        (typed("http", url="https://x", headers={"X-A": "a\r\nb"}), {"headers.X-A": "header_invalid"}),
        (typed("http", url="https://x", expected_status=["2xx", 99]), {"expected_status[1]": "out_of_range"}),
        (typed("http", url="{{ input.url }}", method="{{ input.method }}", headers="{{ input.headers }}"), {}),
        (typed("transform"), {"": "missing_key"}),
        (typed("transform", expression="1", output={}), {"": "conflicting_keys"}),
        (typed("transform", transforms=[1]), {"transforms[0]": "wrong_kind"}),
        (typed("condition"), {"": "missing_key"}),
        (typed("condition", expression="input.x > 1"), {"expression": "expression_not_boolean"}),
        (typed("condition", field="x"), {"operator": "missing_key"}),
        (typed("condition", field="x", operator="eq"), {"value": "missing_key"}),
        (typed("condition", field="x", operator="exists"), {}),
        (typed("condition", field="x", operator="like", value=1), {"operator": "unknown_word"}),
        (typed("condition", expression="{{ input.x }}", value=1), {"": "conflicting_keys"}),
        (typed("condition", expression="{{ input.x }}", true_branch=["z"]), {"true_branch[0]": "unknown_step"}),
        (typed("condition", expression="{{ input.x }}", on_true={"x": 1}), {"on_true": "unknown_key"}),
        (typed("delay"), {"": "missing_key"}),
        (typed("delay", seconds="soon"), {"seconds": "duration_invalid"}),
        (typed("delay", seconds="{{ input.wait }}"), {}),
        (typed("delay", seconds=1, until="2027-01-01T00:00:00Z"), {"": "conflicting_keys"}),
        (typed("sub_workflow"), {"workflow": "missing_key"}),
        (typed("sub_workflow", workflow="Not A Name"), {"workflow": "invalid_text"}),
        (typed("sub_workflow", workflow="child", version=0), {"version": "out_of_range"}),
        (typed("log"), {"message": "missing_key"}),
        (typed("log", message="x", level="loud"), {"level": "unknown_word"}),
        (typed("notify", message="x"), {"channel": "missing_key"}),
        (typed("notify", channel="fax", message="x"), {"channel": "unknown_word"}),
        (typed("notify", channel="email", message="x"), {"recipient": "missing_key"}),
        (typed("llm", provider="openai", model="m"), {"": "missing_key"}),
        (typed("llm", provider="openai", model="m", prompt="x", schema=1), {"schema": "wrong_kind"}),
    ],
)
def test_configuration_is_checked_by_type(author: Author, config: dict[str, Any], errors: dict[str, str]) -> None:
    prefix = "steps[0].config"
    expected = {f"{prefix}.{path}" if path else prefix: code for path, code in errors.items()}
    assert author.errors(workflow(config)) == expected


def test_custom_type_is_known_once_a_runner_serves_it(author: Author) -> None:
    definition = workflow(typed("scan_invoice", anything=1))
    assert author.errors(definition) == {"steps[0].type": "unknown_step_type"}
    author.db.run("insert into flowgres.step_types (type) values ('scan_invoice')")
    assert author.errors(definition) == {}


def test_setting_that_says_the_default_is_accepted(author: Author) -> None:
    assert author.errors(workflow(log_step("a"), settings={"max_retries": 0})) == {}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("{{ input.id }}", "expression_not_allowed"),
        ("$.a[", "jsonpath_invalid"),
        ('$.a ? (@ like_regex "(a+)+")', "jsonpath_invalid"),
    ],
)
def test_setting_read_by_the_database_is_jsonpath(author: Author, path: str, code: str) -> None:
    definition = workflow(log_step("a"), settings={"correlation_id": path})
    assert author.errors(definition) == {"settings.correlation_id": code}


def test_triggers_are_checked_in_structure(author: Author) -> None:
    triggers = [{"type": "cron"}, {"type": "webhook", "scheme": "githb", "secret": "not a name"}, {"type": "x"}, {}]
    assert author.errors(workflow(log_step("a"), triggers=triggers)) == {
        "triggers[0].cron": "missing_key",
        "triggers[1].scheme": "unknown_word",
        "triggers[1].secret": "inline_secret",
        "triggers[2].type": "unknown_word",
        "triggers[3].type": "missing_key",
    }


def test_declarations_of_inputs_are_checked(author: Author) -> None:
    inputs = {"x": {"type": "strin"}, "y": {"type": "integer", "default": "a"}, "z z": {"type": "any"}, "q": 1}
    assert author.errors(workflow(log_step("a"), inputs=inputs)) == {
        "inputs.q": "wrong_kind",
        "inputs.x.type": "unknown_word",
        "inputs.y.default": "wrong_kind",
        'inputs["z z"]': "invalid_name",
    }


def test_branches_are_checked(author: Author) -> None:
    definition = workflow(condition("c", true=["x"], false=["x", "c", "ghost"]), listed_step("x"))
    assert author.errors(definition) == {
        "steps[0].config.false_branch[0]": "ambiguous_branch",
        "steps[0].config.false_branch[1]": "self_dependency",
        "steps[0].config.false_branch[2]": "unknown_step",
    }


def test_secret_may_be_named_only_where_it_is_not_stored(author: Author) -> None:
    http = typed("http", url="https://x/{{ secrets.KEY }}") | {"when": "{{ secrets.A }}", "output": "{{ secrets.B }}"}
    log = {"id": "b", "type": "log", "config": {"message": ["{{ secrets['C'] }}"]}}
    assert author.errors(workflow(http, log, outputs={"x": "{{ secrets.D }}"})) == {
        "steps[0].when": "secret_misuse",
        "steps[0].output": "secret_misuse",
        "steps[1].config.message[0]": "secret_misuse",
        "outputs.x": "secret_misuse",
    }


def test_secret_that_is_not_stored_is_a_warning(author: Author) -> None:
    check = author.check(workflow(typed("http", url="https://x/{{ secrets.KEY }}")))
    assert check["valid"]
    assert [warning["code"] for warning in check["warnings"]] == ["secret_not_found"]


def test_definition_that_is_too_deep_or_too_large_is_refused(author: Author) -> None:
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    assert author.errors(workflow(log_step("a"), metadata={"x": deep})) == {"": "definition_too_deep"}
    assert author.errors(workflow(log_step("a"), metadata={"x": "y" * 1_100_000})) == {"": "definition_too_large"}
