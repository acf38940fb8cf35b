"""What expressions give for a configuration is checked by the description: each member, with each kind of value."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from random import Random
from typing import Any

import pytest

from flowgres_definitions.description import config_schema, core_step_types
from flowgres_definitions.form import form_value
from flowgres_definitions.problems import Path, format_path
from flowgres_definitions.rendered import ConfigCheck, ConfigRules
from flowgres_definitions.schema import check_value
from flowgres_runner.http import Client, EgressPolicy
from flowgres_runner.steps.base import Failed, Handler, Outcome, StepTask
from flowgres_runner.steps.http import HttpStep
from flowgres_runner.steps.registry import core_handlers
from tests.support.configs import put, written_out
from tests.support.provided import reaching
from tests.support.schemas import any_schema, any_value, is_valid

Json = Any
EXPRESSION = "{{ input.value }}"
WORD = "no such word"
DATA = "{{ data }}"
GIVEN: Sequence[Json] = (
    None, True, 5, -1, 0.5, 200.0, 1e12, WORD, "", DATA, "a\nb", [], [1], [None, "a"], [{}], {},
    {"a": 1}, {"a": {}}, {"no name": "a"}, float("nan"), float("inf"),
)  # fmt: skip
"""Of each kind; some of them are right somewhere."""
FINITE = [value for value in GIVEN if not isinstance(value, float) or isfinite(value)]
PLACES = [
    (kind, path, form_value(config, schema, schema, (), {}))
    for kind, schema in ((kind, config_schema(kind)) for kind in sorted(core_step_types()))
    for path, config in written_out(schema)
]
OPEN_PLACES = [
    (kind, path, config)
    for kind, path, config in PLACES
    if check_value(put(config, path, EXPRESSION), config_schema(kind), config_schema(kind)) == []
]


@pytest.fixture(scope="module")
def handlers() -> dict[str, Handler]:
    client = Client(policy=EgressPolicy())
    return core_handlers(http=HttpStep(client), now=lambda: datetime.now(UTC), reaching=reaching())


def task_of(config: Json, check: ConfigCheck | None = None) -> StepTask:
    return StepTask(
        tenant_id="t", execution_id="x", step_id="s", iteration=None, attempt=1, config=config,
        timeout_seconds=5.0, resume=None, check=check,
    )  # fmt: skip


async def outcome_of(handler: Handler, task: StepTask) -> Outcome:
    return await handler.run(task) if handler.waits else handler.run_now(task)


def is_right(kind: str, handler: Handler, config: Json, path: Path, value: Json) -> bool:
    """What the library says of a canonical form with such a value at a path."""
    schema = config_schema(kind)
    if value == DATA:
        # As any other text: this is no expression any more.
        value = WORD
    if isinstance(value, float) and not isfinite(value):
        # The library knows no rule for these, which are no JSON; but where anything may stand nobody looks.
        return all(is_right(kind, handler, config, path, other) for other in FINITE)
    if path[0] in handler.judged_members and isinstance(value, str):
        return True
    return is_valid(form_value(put(config, path, value), schema, schema, (), {}), schema)


def test_every_member_of_every_type_is_tried() -> None:
    members = {
        (kind, name)
        for kind in core_step_types()
        for name, of in config_schema(kind)["properties"].items()
        if "doNotSuggest" not in of
    }
    assert members == {(kind, path[0]) for kind, path, _ in PLACES}
    closed = {(kind, path) for kind, path, _ in PLACES} - {(kind, path) for kind, path, _ in OPEN_PLACES}
    assert len(OPEN_PLACES) > 2 * len(closed), closed


@pytest.mark.parametrize(
    ("kind", "path", "config"), OPEN_PLACES, ids=[f"{kind}.{format_path(path)}" for kind, path, _ in OPEN_PLACES]
)
async def test_wrong_value_of_an_expression_is_refused_with_its_path(
    kind: str, path: Path, config: Json, handlers: dict[str, Handler]
) -> None:
    handler = handlers[kind]
    template = put(config, path, EXPRESSION)
    check = handler.compile_check(template)
    for value in GIVEN:
        rendered = put(config, path, value)
        whole, placed = handler.checked(task_of(rendered)), handler.checked(task_of(rendered, check))
        is_wrong = not is_right(kind, handler, config, path, value)
        assert (isinstance(placed, Failed), isinstance(whole, Failed)) == (is_wrong, is_wrong), value
        if isinstance(placed, StepTask):
            assert isinstance(whole, StepTask)
            assert repr(placed.config) == repr(whole.config), "the canonical form"
            continue
        outcome = await outcome_of(handler, task_of(rendered, check))
        assert outcome == placed
        assert isinstance(outcome, Failed)
        error = outcome.error
        assert error.code in {"config_invalid", *handler.config_codes}, value
        assert error.error_class == handler.config_codes.get(error.code, "validation")
        details: Any = error.details
        assert details[0]["path"].startswith(format_path(("config", *path))), (value, error.message)
        assert error.message.startswith(details[0]["path"])
        assert WORD not in error.message, "no value is quoted"


def test_some_wrong_value_was_refused_everywhere_but_where_anything_may_stand() -> None:
    free = {f"{kind}.{format_path(path)}" for kind, path, config in OPEN_PLACES if takes_anything(kind, path, config)}
    assert free == {
        "approval.form.X-A.default", "approval.form.X-A.example", "condition.value",
        "http.json", "http.body", "http.multipart[0].content", "http.multipart[0].value",
        "llm.prompt", "llm.stub", "log.message", "notify.data", "notify.message", "task.payload",
        "stop.output", "switch.value", "switch.cases[0].equals", "transform.expression",
        "transform.output", "transform.source", "transform.transforms[0].value",
    }  # fmt: skip


def takes_anything(kind: str, path: Path, config: Json) -> bool:
    check = ConfigCheck(rules_of(kind), put(config, path, EXPRESSION))
    return all(check.settle(put(config, path, value))[1] == [] for value in GIVEN)


def rules_of(kind: str) -> ConfigRules:
    rules = core_handlers(
        http=HttpStep(Client(policy=EgressPolicy())), now=lambda: datetime.now(UTC), reaching=reaching()
    )[kind].rules
    assert rules is not None
    return rules


@pytest.mark.parametrize("kind", sorted(core_step_types()))
def test_looking_at_the_places_finds_what_looking_at_all_finds(kind: str) -> None:
    rng, rules = Random(os.urandom(8) if os.environ.get("FLOWGRES_FUZZ") else 1), rules_of(kind)
    ours = [(path, config) for of, path, config in OPEN_PLACES if of == kind]
    refused = 0
    for _ in range(400):
        _, config = rng.choice(ours)
        template = rendered = config
        for path, _ in rng.sample(ours, min(len(ours), 4)):
            try:
                given = sample_or_given(rng, config, path)
                template, rendered = put(template, path, EXPRESSION), put(rendered, path, given)
            except (LookupError, TypeError):
                continue  # not in this one
        if check_value(template, rules.written, rules.written):
            continue
        settled, found = ConfigCheck(rules, template).settle(rendered)
        whole = rules.settle(rendered)
        assert (repr(settled), found) == (repr(whole[0]), whole[1]) or found == whole[1] != []
        refused += bool(found)
    assert refused > 20


def sample_or_given(rng: Random, config: Json, path: Path) -> Json:
    value = config
    for name in path:
        value = value[name]
    return value if rng.random() < 0.5 else rng.choice(GIVEN)


def test_places_of_any_schema_find_what_all_of_it_finds() -> None:
    rng = Random(os.urandom(8) if os.environ.get("FLOWGRES_FUZZ") else 1)
    right = wrong = spared = 0
    while right < 400 or wrong < 400:
        rules = ConfigRules.of_package(any_schema(rng))
        config, template = any_value(rng), None
        if not isinstance(config, dict):
            continue
        template, rendered = with_expressions(rng, config)
        check = ConfigCheck(rules, template)
        found = check.settle(rendered)[1]
        if check_value(template, rules.written, rules.written, is_open=True) == []:
            spared += all(place.path for place in check.places)
            whole = check_value(rendered, rules.written, rules.written)
            assert (found == []) is (whole == []), (rules, template, rendered)
            right, wrong = right + (not found), wrong + bool(found)
    assert spared > 100, "parts were looked at alone"


def with_expressions(rng: Random, value: Json) -> tuple[Json, Json]:
    """A value with expressions here and there, and with what they give."""
    if rng.random() < 0.25:
        return EXPRESSION, any_value(rng, 1)
    if isinstance(value, dict):
        parts = {name: with_expressions(rng, part) for name, part in value.items()}
        return {name: pair[0] for name, pair in parts.items()}, {name: pair[1] for name, pair in parts.items()}
    if isinstance(value, list):
        pairs = [with_expressions(rng, part) for part in value]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return value, value


def test_what_is_written_out_is_looked_at_once_and_for_all() -> None:
    rules = rules_of("http")
    config = {
        "url": "https://a.example/{{ input.id }}",
        "headers": {"A": "b", "C": "{{ input.c }}"},
        "json": EXPRESSION,
    }
    assert not ConfigCheck(rules, {"url": "https://a.example/", "json": [EXPRESSION]})
    assert [place.path for place in ConfigCheck(rules, config).places] == [("url",), ("headers", "C")]
    # Imported when another schema was in force.
    assert [place.path for place in ConfigCheck(rules, {**config, "method": "TRACE"}).places] == [()]
