"""What authors may write becomes one canonical form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowgres_definitions.schema import OTHER_WORDS
from tests.support.database import Database
from tests.support.definitions import Author, condition, listed_step, log_step, workflow


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def test_without_any_dependency_the_list_is_the_order(author: Author) -> None:
    steps = [listed_step(step) for step in "abc"]
    assert author.dependencies(*steps) == {"a": [], "b": ["a"], "c": ["b"]}


def test_with_one_dependency_the_others_are_roots(author: Author) -> None:
    steps = (listed_step("a"), listed_step("b"), log_step("c", "a"))
    assert author.dependencies(*steps) == {"a": [], "b": [], "c": ["a"]}


def test_targets_hang_off_their_condition_and_the_next_step_joins_them(author: Author) -> None:
    steps = (listed_step("a"), condition("c", true=["x"], false=["y"]), *(listed_step(step) for step in "xyz"))
    assert author.dependencies(*steps) == {"a": [], "c": ["a"], "x": ["c"], "y": ["c"], "z": ["x", "y"]}


def test_step_after_an_empty_branch_waits_for_the_condition_too(author: Author) -> None:
    steps = (condition("c", true=["x"], false=[]), listed_step("x"), listed_step("z"))
    assert author.dependencies(*steps)["z"] == ["c", "x"]


def test_nested_conditions_are_joined_at_their_ends(author: Author) -> None:
    steps = (
        condition("c", true=["d"], false=["z"]),
        condition("d", true=["x"], false=["y"]),
        *(listed_step(step) for step in ("x", "y", "z", "after")),
    )
    assert author.dependencies(*steps) == {
        "c": [],
        "d": ["c"],
        "x": ["d"],
        "y": ["d"],
        "z": ["c"],
        "after": ["z", "x", "y"],
    }


def test_listed_step_gets_the_dependency_it_lacks(author: Author) -> None:
    steps = (log_step("a"), condition("c", true=["x"], false=[], depends_on=["a"]), log_step("x", "a"))
    assert author.dependencies(*steps)["x"] == ["a", "c"]


def test_repeated_dependency_is_one(author: Author) -> None:
    assert author.dependencies(log_step("a"), log_step("b", "a", "a"))["b"] == ["a"]


def test_durations_become_seconds(author: Author) -> None:
    canonical = author.canonical(
        workflow(
            {"id": "a", "type": "delay", "config": {"duration": "5m"}, "timeout": "PT1M", "retry": {"delay": "250ms"}},
            settings={"timeout": "3d"},
        )
    )
    step = canonical["steps"][0]
    assert step["config"] == {"seconds": 300}
    assert (step["timeout"], step["retry"], canonical["settings"]) == (60, {"delay": 0.25}, {"timeout": 259200})


def test_defaults_are_merged_into_steps(author: Author) -> None:
    canonical = author.canonical(
        workflow(
            log_step("a", retry={"attempts": 2}),
            {"id": "b", "type": "delay", "config": {"seconds": 1}},
            defaults={"timeout": "30s", "retry": {"attempts": 4, "delay": "2s"}},
        )
    )
    assert "defaults" not in canonical
    assert canonical["steps"][0]["retry"] == {"attempts": 2, "delay": 2}
    assert canonical["steps"][0]["timeout"] == 30
    assert "timeout" not in canonical["steps"][1], "a default bounds work, not waiting"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"config": {"url": "http://x", "timeout": "5s"}}, {"config": {"url": "http://x"}, "timeout": 5}),
        (
            {"config": {"url": "http://x", "method": "post", "expected_status": 200, "query": None, "json": None}},
            {"config": {"url": "http://x", "method": "POST", "expected_status": [200], "json": None}},
        ),
        (
            {"type": "log", "config": {"level": "WARNING", "message": None}},
            {"config": {"level": "warning", "message": None}},
        ),
        ({"type": "log", "config": {"message": "x"}, "when": None}, {"config": {"message": "x"}}),
        (
            {"type": "transform", "config": {"expression": 1}, "retry": 4},
            {"config": {"expression": 1}, "retry": {"attempts": 4}},
        ),
        (
            {"type": "transform", "config": {"expression": 1}, "retry": {"errors": [503, 503.0, "5XX", "Timeout"]}},
            {"config": {"expression": 1}, "retry": {"errors": ["503", "503", "5xx", "timeout"]}},
        ),
        (
            {"type": "condition", "config": {"expression": True, "true_branch": "b", "false_branch": []}},
            {"config": {"expression": True, "true_branch": ["b"], "false_branch": []}},
        ),
    ],
)
def test_values_get_one_form(author: Author, written: dict[str, Any], meant: dict[str, Any]) -> None:
    step = {"id": "a", "type": "http", "depends_on": []} | written
    canonical = author.canonical(workflow(step, log_step("b")))["steps"][0]
    assert canonical == {"id": "a", "type": step["type"], "depends_on": []} | meant


def test_canonical_form_is_its_own_canonical_form(author: Author) -> None:
    canonical = author.canonical(
        workflow(
            condition("c", true=["x"], false=[]),
            listed_step("x"),
            {"id": "d", "type": "delay", "config": {"duration": "5m"}, "retry": 2},
            version=2,
            defaults={"retry": 3},
            triggers=[{"type": "cron", "cron": "@daily"}],
            outputs={"a": "{{ steps.x.output }}"},
        )
    )
    assert author.canonical(canonical) == canonical


def test_words_of_other_systems_are_named_with_the_door_that_reads_them(author: Author) -> None:
    step = {"name": "a", "task_type": "http_request", "config": {}}
    found = author.check(workflow(step, trigger_type="webhook", webhook_secret="hunter2"))
    told = {error["path"]: (error["code"], error.get("hint", "")) for error in found["errors"]}
    for path, ours in {"trigger_type": "triggers", "steps[0].task_type": "type", "steps[0].name": "id"}.items():
        assert told[path] == (
            "unknown_key",
            OTHER_WORDS.format(ours),
        )
    assert told["webhook_secret"][0] == "inline_secret"
    assert "hunter2" not in str(found)
