"""The graph of a definition: cycles, references, branches."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.database import Database
from tests.support.definitions import Author, condition, from_edges, listed_step, log_step, workflow


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def refer(step_id: str, expression: str, *depends_on: str) -> dict[str, object]:
    return log_step(step_id, *depends_on, config={"message": [{"text": expression}]})


def test_message_lists_the_path_of_the_cycle(author: Author) -> None:
    (error,) = author.check(from_edges(["a>b", "b>c", "c>d", "d>b", "d>e"]))["errors"]
    assert error["code"] == "cycle"
    assert error["message"].endswith("b -> c -> d -> b")


def test_every_cycle_is_told(author: Author) -> None:
    errors = author.check(from_edges(["a>b", "b>a", "c>d", "d>c"]))["errors"]
    assert [error["code"] for error in errors] == ["cycle", "cycle"]


def test_branch_to_an_ancestor_is_a_cycle(author: Author) -> None:
    definition = workflow(log_step("a"), condition("c", true=["a"], false=[], depends_on=["a"]))
    assert list(author.errors(definition).values()) == ["cycle"]


@pytest.mark.parametrize(
    "expression", ["{{ steps.a.output }}", "{{ steps['a'].output }}", '{{ steps["a"]["output"] }}', "{{1 +steps . a}}"]
)
def test_reference_must_be_to_an_ancestor(author: Author, expression: str) -> None:
    assert author.errors(workflow(log_step("a"), refer("b", expression))) == {
        "steps[1].config.message[0].text": "reference_not_ancestor"
    }
    assert author.errors(workflow(log_step("a"), log_step("m", "a"), refer("b", expression, "m"))) == {}


@pytest.mark.parametrize(
    "expression", ["steps.a.output", "{{ 'steps.a' }}", "{{ input.steps.a }}", "{{ input.mysteps.a }}"]
)
def test_what_only_looks_like_a_reference_is_none(author: Author, expression: str) -> None:
    assert author.errors(workflow(log_step("a"), refer("b", expression))) == {}


def test_unknown_reference_comes_with_a_suggestion(author: Author) -> None:
    (error,) = author.check(workflow(log_step("fetch"), refer("b", "{{ steps.fetsh.output }}", "fetch")))["errors"]
    assert (error["code"], error["hint"]) == ("unknown_step", 'Did you mean "fetch"?')


def test_field_of_a_condition_is_a_reference_without_braces(author: Author) -> None:
    config = {"field": "steps.a.output.total", "operator": "gt", "value": 1}
    decide = {"id": "c", "type": "condition", "config": config}
    assert author.errors(workflow(log_step("a"), decide)) == {"steps[1].config.field": "reference_not_ancestor"}
    assert author.errors(workflow(listed_step("a"), decide)) == {}


@pytest.mark.parametrize("join", ["all", "any", "failed"])
def test_join_needs_something_to_join(author: Author, join: str) -> None:
    assert author.errors(workflow(log_step("a", join=join))) == {"steps[0].join": "join_without_dependencies"}
    assert author.errors(workflow(log_step("a"), log_step("b", "a", join=join))) == {}


def test_dense_graph_is_checked_in_time(author: Author) -> None:
    ids = [f"s{number}" for number in range(50)]
    steps = [refer(step, "{{ steps.s0 }}" if place else "x", *ids[:place]) for place, step in enumerate(ids)]
    started = time.monotonic()
    assert author.errors(workflow(*steps)) == {}
    assert time.monotonic() - started < 1
