"""Comparing executions: every difference by its path, however the values are shaped, and within bounds."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import Database, Db, Tenant
from tests.support.engine import completed, dag, hands, import_workflow, start

Json = Any
FUZZ = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=4)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def _leaves(a: Json, b: Json, path: str) -> dict[str, tuple[Json, ...]]:
    """Where two values differ, as the function is to say it."""
    if type(a) is type(b) and isinstance(a, dict):
        keys = [(json.dumps(key), key, key) for key in {**a, **b}]
        names = {key: f".{key}" if key.isidentifier() and key.isascii() else f"[{text}]" for text, key, _ in keys}
        pairs = [(names[key], [side[key] for side in (a, b) if key in side], key) for _, key, _ in keys]
        is_whole = {key: key in a and key in b for _, key, _ in keys}
    elif type(a) is type(b) and isinstance(a, list):
        pairs = [(f"[{i}]", [side[i] for side in (a, b) if i < len(side)], i) for i in range(max(len(a), len(b)))]
        is_whole = {i: i < len(a) and i < len(b) for i in range(max(len(a), len(b)))}
    else:
        return {} if type(a) is type(b) and a == b else {path: (a, b)}
    found: dict[str, tuple[Json, ...]] = {}
    for name, values, key in pairs:
        found |= _leaves(values[0], values[1], path + name) if is_whole[key] else {path + name: tuple(values)}
    return found


def _differences(db: Db, a: Json, b: Json, most: int = 1000) -> dict[str, Json]:
    answer: dict[str, Json] = db.value(
        "select flowgres.json_differences(%s::text::jsonb, %s::text::jsonb, %s)", json.dumps(a), json.dumps(b), most
    )
    return answer


@given(a=VALUES, b=VALUES, seed=st.integers(0, 1000))
@FUZZ
def test_every_difference_is_named_by_its_path(module_database: Database, a: Json, b: Json, seed: int) -> None:
    if random.Random(seed).random() < 0.5:
        # Alike but for one place.
        b = [copy.deepcopy(a), b]
        a = [a, a]
    with module_database.connect() as db:
        answer = _differences(db, a, b)
    expected = _leaves(a, b, "$")
    told = {one["path"]: tuple(one[side] for side in ("a", "b") if side in one) for one in answer["differences"]}
    assert told == expected
    assert (answer["is_equal"], answer["omitted"]) == (not expected, 0)


def test_differences_are_bounded(db: Db) -> None:
    answer = _differences(db, list(range(500)), list(range(1, 501)), 20)
    assert (len(answer["differences"]), answer["omitted"]) == (20, 480)
    (long,) = _differences(db, {"x": "a" * 2000}, {"x": 1})["differences"]
    assert long == {"path": "$.x", "a": {"omitted_bytes": 2002}, "b": 1}
    (huge,) = _differences(db, ["a" * 300_000], ["b"])["differences"]
    assert huge == {"path": "$", "a": {"omitted_bytes": 300_004}, "b": ["b"]}


def test_executions_of_different_workflows_are_compared(database: Database, db: Db, tenant: Tenant) -> None:
    one = start(database, tenant, import_workflow(db, tenant, dag("one", [{"id": "a"}, {"id": "b"}])), input={"n": 1})
    two = start(database, tenant, import_workflow(db, tenant, dag("two", [{"id": "a"}, {"id": "c"}])), input={"n": 1})
    with hands(database) as runner:
        runner.work(lambda lease, step: completed({"of": str(lease["execution_id"]), "same": 1}))
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        answer = api.call("flowgres_api.compare_executions", a=one, b=two)
    assert answer["input"] == {"is_equal": True, "differences": [], "omitted": 0}
    assert [(step["step"], step["differs"]) for step in answer["steps"]] == [
        ("a", ["output"]), ("b", ["status"]), ("c", ["status"]),
    ]  # fmt: skip
    assert [(step["a"] is None, step["b"] is None) for step in answer["steps"]] == [
        (False, False), (False, True), (True, False),
    ]  # fmt: skip
    assert [one["path"] for one in answer["steps"][0]["output"]["differences"]] == ["$.of"]
    # What there is not, is null: of either side as a whole, and of each of its steps.
    sides = [answer["a"], answer["b"], *(side for step in answer["steps"] for side in (step["a"], step["b"]) if side)]
    assert [side["error"] for side in sides] == [None] * len(sides)


def test_the_whole_comparison_is_bounded(database: Database, db: Db, tenant: Tenant) -> None:
    steps = [{"id": f"s{n}"} for n in range(8)]
    one, two = (start(database, tenant, import_workflow(db, tenant, dag(name, steps))) for name in ("one", "two"))
    with hands(database) as runner:
        runner.work(lambda lease, step: completed({"of": str(lease["execution_id"]), "same": "x" * 100_000}))
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        answer = api.call("flowgres_api.compare_executions", a=one, b=two)
    assert [step["differs"] for step in answer["steps"]] == [["output"]] * 8
    told = [step["output"]["differences"][0] for step in answer["steps"]]
    # Each differs; only so many are looked into.
    assert [one["path"] for one in told] == ["$.of"] * 5 + ["$"] * 3
    assert all(one["a"].keys() == {"omitted_bytes"} for one in told[5:])
