"""What authors write becomes one canonical form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.database import Database
from tests.support.definitions import Author, condition, listed_step, log_step, workflow


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def test_display_name_is_kept_as_title(author: Author) -> None:
    canonical = author.canonical(workflow(log_step("a"), name="Order Pipeline"))
    assert (canonical["name"], canonical["title"]) == ("order-pipeline", "Order Pipeline")


def test_header_is_lifted(author: Author) -> None:
    header = {"name": "w", "version": 3, "metadata": {"team": "a"}}
    canonical = author.canonical({"workflow": header, "steps": [log_step("a")]})
    assert {key: canonical[key] for key in ("name", "version", "metadata")} == {
        "name": "w",
        "version": "3",
        "metadata": {"team": "a"},
    }


def test_json_of_the_first_predecessor_is_accepted(author: Author) -> None:
    check = author.check(
        {
            "name": "Order Pipeline",
            "trigger_type": "webhook",
            "steps": [
                {
                    "id": "validate",
                    "type": "transform",
                    "config": {"expression": "Order #{{ trigger.payload.order_id }}"},
                    "depends_on": [],
                },
                condition("check_amount", true=["high_value"], false=["standard"], depends_on=["validate"]),
            ],
        }
    )
    assert check["valid"]
    assert check["definition"]["triggers"] == [{"type": "webhook"}]
    config = check["definition"]["steps"][1]["config"]
    assert (config["true_branch"], config["false_branch"]) == ([], [])
    ends, _, other = check["warnings"]
    assert (ends["path"], ends["code"]) == ("steps[1].config.true_branch[0]", "unknown_branch_target")
    assert '"check_amount" leads to "high_value"' in ends["message"]
    assert "this branch ends here" in ends["message"]
    assert other["code"] == "trigger_not_active"


def test_branch_that_leads_nowhere_is_a_mistake_in_canonical_words(author: Author) -> None:
    definition = workflow(condition("c", true=["ghost"], false=["x"]), listed_step("x"))
    assert author.errors(definition) == {"steps[0].config.true_branch[0]": "unknown_step"}
    shorthand = author.canonical(definition | {"trigger_type": "manual"})
    assert [step["depends_on"] for step in shorthand["steps"]] == [[], ["c"]]
    assert author.canonical(shorthand) == shorthand


def test_type_of_a_trigger_may_be_said_twice_but_not_contradicted(author: Author) -> None:
    written = workflow(log_step("a"), trigger_type="webhook", triggers=[{"type": "webhook", "secret": "KEY"}])
    assert author.canonical(written)["triggers"] == [{"type": "webhook", "secret": "KEY"}]
    assert author.errors(written | {"trigger_type": "cron"}) == {"trigger_type": "conflicting_keys"}


def test_inline_secret_is_refused_and_not_repeated(author: Author) -> None:
    check = author.check(workflow(log_step("a"), trigger_type="webhook", webhook_secret="hunter2"))
    assert [error["code"] for error in check["errors"]] == ["inline_secret"]
    assert "hunter2" not in str(check)


def test_cron_shorthand_is_a_trigger(author: Author) -> None:
    canonical = author.canonical(workflow(log_step("a"), trigger_type="cron", cron_expression="0 6 * * 1-5"))
    assert canonical["triggers"] == [{"type": "cron", "cron": "0 6 * * 1-5"}]


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
        (
            {"task_type": "http_request", "name": "a", "url": "http://x", "method": "post", "timeout_seconds": 5},
            {"id": "a", "type": "http", "config": {"url": "http://x", "method": "POST"}, "timeout": 5},
        ),
        (
            {"name": "a", "type": "data_transform", "config": {"expression": "{{ trigger.body.x }}"}, "max_retries": 2},
            {
                "id": "a",
                "type": "transform",
                "config": {"expression": "{{ trigger.payload.x }}"},
                "retry": {"attempts": 3},
            },
        ),
        (
            {"id": "a", "type": "trigger"},
            {"id": "a", "type": "transform", "config": {"expression": "{{ trigger.payload }}"}},
        ),
        (
            {
                "id": "a",
                "type": "conditional",
                "condition": {"field": "x", "operator": "eq", "value": 1},
                "on_true": [],
            },
            {"id": "a", "type": "condition", "config": {"field": "x", "operator": "eq", "value": 1, "true_branch": []}},
        ),
        (
            {"id": "a", "type": "http", "config": {"url": "http://x", "timeout": "5s", "expected_status": 200}},
            {"id": "a", "type": "http", "config": {"url": "http://x", "expected_status": [200]}, "timeout": 5},
        ),
        (
            {"id": "a", "type": "log", "message": "x", "config": {"level": "WARN"}},
            {"id": "a", "type": "log", "config": {"level": "warning", "message": "x"}},
        ),
        (
            {"id": "a", "type": "sub_workflow", "config": {"workflow_name": "child", "input_mapping": {"x": 1}}},
            {"id": "a", "type": "sub_workflow", "config": {"workflow": "child", "input": {"x": 1}}},
        ),
    ],
)
def test_words_of_other_systems_are_understood(author: Author, written: dict[str, Any], meant: dict[str, Any]) -> None:
    assert author.canonical(workflow(written))["steps"] == [meant | {"depends_on": []}]


def test_step_order_sorts_when_every_step_has_one(author: Author) -> None:
    steps = (listed_step("b", step_order=2), listed_step("a", step_order=1))
    assert author.dependencies(*steps) == {"a": [], "b": ["a"]}


def test_canonical_form_is_its_own_canonical_form(author: Author) -> None:
    canonical = author.canonical(
        workflow(
            condition("c", true=["x"], false=[]),
            listed_step("x"),
            {"name": "d", "type": "delay", "duration": "5m", "max_retries": 1},
            name="Order Pipeline",
            version=2,
            defaults={"retry": 3},
            trigger_type="cron",
            cron_expression="@daily",
            outputs={"a": "{{ steps.x.output }}"},
        )
    )
    assert author.canonical(canonical) == canonical
