"""Results that are too large for the event loop: what steps make, edit, send and hand to children, unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.runner.test_large_values import finished
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow, start
from tests.support.peers import Peer

ROWS = [{"a": 1.5, "bb": [n], "é": "\u2028"} for n in range(4_000)]
MADE = "{{ input.rows }}"
KEPT = [{key: row[key] for key in ("a", "bb", "é")} for row in ROWS]


def made(**config: Any) -> dict[str, Any]:
    """A step that gives all rows, more than is read at once, and one that depends on it."""
    return dag(
        "big", [{"id": "make", "config": {"expression": MADE}}, {"id": "next", "depends_on": ["make"], **config}]
    )


STEPS: dict[str, tuple[dict[str, Any], Any]] = {
    "a value": ({"config": {"expression": "{{ steps.make.output }}"}}, KEPT),
    "an object": ({"config": {"output": {"n": 1, "rows": "{{ steps.make.output }}"}}}, {"n": 1, "rows": KEPT}),
    "edits": (
        {
            "config": {
                "source": {"rows": "{{ steps.make.output }}", "n": 1},
                "transforms": [{"op": "rename", "from": "rows", "to": "kept.rows"}, {"op": "delete", "field": "n"}],
            }
        },
        {"kept": {"rows": KEPT}},
    ),
    "an output": (
        {
            "config": {"expression": "{{ steps.make.output | length }}"},
            "output": {"n": "{{ output }}", "all": "{{ steps.make.output }}"},
        },
        {"n": 4_000, "all": KEPT},
    ),
    "a large output of a large value": (
        {"config": {"expression": "{{ steps.make.output }}"}, "output": {"rows": "{{ output }}"}},
        {"rows": KEPT},
    ),
    "a condition": (
        {"type": "condition", "config": {"field": "steps.make.output", "operator": "contains", "value": ROWS[7]}},
        {"result": True, "branch": "true"},
    ),
    "a value of a condition": (
        {
            "type": "condition",
            "config": {"field": "steps.make.output", "operator": "eq", "value": "{{ steps.make.output }}"},
        },
        {"result": True, "branch": "true"},
    ),
    "a small field and a large value": (
        {"type": "condition", "config": {"field": "n", "operator": "in", "value": "{{ [3] * 40000 }}"}},
        {"result": True, "branch": "true"},
    ),
    "a long field that leads nowhere": (
        {"type": "condition", "config": {"field": f"n.{'x' * 2_000}", "operator": "ne", "value": "{{ [3] * 40000 }}"}},
        {"result": True, "branch": "true"},
    ),
    "what is written out": ({"config": {"expression": ROWS}}, KEPT),
    "a child": (
        {"type": "sub_workflow", "config": {"workflow": "child", "input": {"rows": "{{ steps.make.output }}"}}},
        {"all": KEPT},
    ),
}


@pytest.mark.usefixtures("runner")
@pytest.mark.parametrize("name", STEPS)
async def test_large_results_are_what_small_ones_would_be(
    database: Database, db: Db, tenant: Tenant, name: str
) -> None:
    step, expected = STEPS[name]
    child = dag("child", [{"id": "only", "config": {"expression": "{{ input.rows }}"}}])
    import_workflow(db, tenant, child | {"outputs": {"all": "{{ steps.only.output }}"}})
    import_workflow(db, tenant, made(**step))

    end = await finished(database, tenant, start(database, tenant, "big", input={"rows": ROWS, "n": 3}))

    assert end["status"] == "completed", end
    assert end["steps"]["next"]["output"] == expected


@pytest.mark.usefixtures("runner")
async def test_failure_of_a_large_result_has_its_code(database: Database, db: Db, tenant: Tenant) -> None:
    step = {"config": {"source": "{{ steps.make.output }}", "transforms": [{"op": "delete", "field": "a"}]}}
    import_workflow(db, tenant, made(**step))
    end = await finished(database, tenant, start(database, tenant, "big", input={"rows": ROWS}))
    assert end["steps"]["next"]["error"]["code"] == "config_invalid"
    assert "must be an object" in end["steps"]["next"]["error"]["message"]


@pytest.mark.parametrize("key", ["json", "body", "form"])
async def test_large_bodies_are_sent_and_what_comes_after_the_wait_is_seen(
    database: Database, db: Db, tenant: Tenant, runner: Any, key: str
) -> None:
    config: dict[str, Any] = {"method": "POST", key: "{{ input.rows }}"}
    expected: Any = ROWS
    if key == "form":
        config["form"], expected = {"text": "{{ 'x' * 100000 }}"}, None
    async with Peer() as peer:
        config["url"] = f"{peer.url}/echo"
        seen = {"sent": "{{ response.body }}", "n": "{{ input.rows | length }}"}
        import_workflow(db, tenant, dag("post", [{"id": "post", "type": "http", "config": config, "output": seen}]))
        end = await finished(database, tenant, start(database, tenant, "post", input={"rows": ROWS}))
        (received,) = peer.requests
    assert end["status"] == "completed", end
    assert end["steps"]["post"]["output"]["n"] == 4_000
    if expected is not None:
        assert json.loads(received.body) == expected
        assert received.headers["content-type"] == "application/json"
        assert end["steps"]["post"]["output"]["sent"] == expected
    else:
        assert received.body == b"text=" + b"x" * 100_000
