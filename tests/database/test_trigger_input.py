"""The input that a trigger makes of a payload."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Db

PAYLOAD = {"order": {"id": 7, "tags": ["a", "b"]}, "lines": [{"sku": "x"}, {"sku": "y"}], "note": None}


@pytest.mark.parametrize(
    ("mapping", "given"),
    [
        (None, PAYLOAD),
        ({}, {}),
        ({"id": "$.order.id", "source": "shop", "n": 1}, {"id": 7, "source": "shop", "n": 1}),
        ({"all": "$", "first": "$.lines[*].sku", "last": "$.lines[last].sku"}, {
            "all": PAYLOAD, "first": "x", "last": "y"}),
        ({"gone": "$.nothing.here", "null": "$.note"}, {"null": None}),
        ({"deep": {"gone": "$.nothing", "list": ["$.order.id", "$.nothing", {"x": "$.order.tags[1]"}]}}, {
            "deep": {"list": [7, None, {"x": "b"}]}}),
        ({"price": "$$5", "path": "$$.order", "plain": "$5", "empty": "", "none": None, "yes": True}, {
            "price": "$5", "path": "$.order", "plain": "$5", "empty": "", "none": None, "yes": True}),
    ],
)  # fmt: skip
def test_mapping_takes_what_it_names_from_the_payload(db: Db, mapping: Any, given: Any) -> None:
    assert db.call("flowgres.map_trigger_input", p_mapping=mapping, p_payload=PAYLOAD) == given


@pytest.mark.parametrize("payload", ["[1]", '"text"', "5", "true"])
def test_payload_that_is_no_object_gives_no_input_without_a_mapping(db: Db, payload: str) -> None:
    assert db.value("select flowgres.map_trigger_input(null, %s::jsonb)", payload) == {}
    query = "select flowgres.map_trigger_input('{\"it\": \"$\"}', %s::jsonb) -> 'it' = %s::jsonb"
    assert db.value(query, payload, payload)


@pytest.mark.parametrize(
    ("mapping", "takes_additional", "given"),
    [
        (None, False, {"order": PAYLOAD["order"]}),
        (None, True, PAYLOAD),
        ({"order": 1, "more": 2}, False, {"order": 1, "more": 2}),
    ],
)
def test_of_a_payload_only_declared_inputs_are_taken(db: Db, mapping: Any, takes_additional: bool, given: Any) -> None:
    made = db.call(
        "flowgres.trigger_input", p_mapping=mapping, p_payload=PAYLOAD,
        p_inputs={"order": {"type": "any"}, "other": {"type": "any"}}, p_takes_additional=takes_additional,
    )  # fmt: skip
    assert made == given
