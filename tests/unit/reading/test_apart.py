"""A step that is run where large values are read ends as it would have here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator.large import cut
from flowgres_runner.json_values import MAX_DEPTH, canonical_json, encode_json
from flowgres_runner.payloads.masks import masker
from flowgres_runner.payloads.texts import JsonText
from flowgres_runner.reading.apart import Order, facts_of, outcome_of, run_apart
from flowgres_runner.reading.reader import Reader
from flowgres_runner.steps.base import ChildStarted, Completed, Handler, Json, Outcome, StepTask, TransitionAsked
from flowgres_runner.steps.pure import pure_handlers

HANDLERS: dict[str, Handler] = {handler.type: handler for handler in pure_handlers(now=lambda: datetime.now(UTC))}
LISTS: Json = [{"b": [], "aa": 1.0, "a": [number]} for number in range(5_000)]
TEXT = 'é\u2028"password-1' * 6_000

STEPS: list[tuple[str, Any]] = [
    ("transform", {"expression": LISTS}),
    ("transform", {"expression": TEXT}),
    ("transform", {"output": {"lists": LISTS, "text": TEXT}}),
    ("transform", {"source": {"lists": LISTS, "n": 1}, "transforms": [{"op": "rename", "from": "lists", "to": "a.b"}]}),
    ("transform", {"source": LISTS, "transforms": [{"op": "delete", "field": "a"}]}),
    ("outputs", {"all": LISTS}),
    ("outputs", LISTS),
    ("condition", {"expression": LISTS}),
    ("condition", {"field": "input.x", "found": {"found": True, "value": TEXT}, "operator": "contains",
                   "value": "password", "true_branch": ["x"]}),
    ("log", {"message": TEXT, "level": "warning"}),
    ("log", {"message": LISTS}),
    ("sub_workflow", {"workflow": "w", "version": 2.0, "input": {"rows": LISTS}}),
    ("sub_workflow", {"workflow": "", "input": LISTS}),
    ("transition", {"instance": "00000000-0000-0000-0000-000000000001", "to": "a", "metadata": {"rows": LISTS}}),
    ("delay", {"seconds": TEXT}),
    ("delay", {"seconds": 5}),
]  # fmt: skip


def task_of(config: Json) -> StepTask:
    return StepTask(
        tenant_id="t", execution_id="x", step_id="s", iteration=None, attempt=1, config=config,
        timeout_seconds=5.0, resume=None,
    )  # fmt: skip


def order_of(
    step_type: str, config: Json, *, masked: tuple[str, ...] = (), max_bytes: int = 1 << 20, path: str | None = None
) -> tuple[Order, bytes]:
    rest, pieces = cut(config, encode_json(config)) if path is None else (config, [])
    texts = [(name, text.encode()) for name, text in pieces]
    order = Order(
        type=step_type,
        task=facts_of(task_of(None)),
        config=rest,
        pieces=tuple((name, len(data)) for name, data in texts),
        path=path,
        masked=masked,
        max_bytes=max_bytes,
        max_depth=MAX_DEPTH,
    )
    return order, b"".join(data for _, data in texts)


def plain(outcome: Outcome) -> Any:
    """An outcome with the value of its text."""
    name = {Completed: "output", ChildStarted: "input", TransitionAsked: "wanted"}.get(type(outcome))
    if name is not None:
        value = getattr(outcome, name)
        value = json.loads(value.data) if isinstance(value, JsonText) else canonical_json(value)
        logs = tuple((level, line[:10_000]) for level, line in getattr(outcome, "logs", ()))
        others = {slot: getattr(outcome, slot) for slot in type(outcome).__dataclass_fields__ if slot != name}
        return type(outcome), encode_json(value), {**others, "logs": logs}
    return outcome


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    reader = Reader()
    yield reader
    await reader.close()


@pytest.mark.parametrize("masked", [(), ("password-1",)], ids=["plain", "masked"])
@pytest.mark.parametrize(
    ("step_type", "config"), STEPS, ids=[f"{kind}-{place}" for place, (kind, _) in enumerate(STEPS)]
)
def test_steps_end_as_they_would_here(step_type: str, config: Any, masked: tuple[str, ...]) -> None:
    here = HANDLERS[step_type].run_now(task_of(masker(masked).json(json.loads(json.dumps(config)))))  # type: ignore[arg-type]
    order, data = order_of(step_type, config, masked=masked)

    head, text = run_apart(data, order)

    assert plain(outcome_of(json.loads(json.dumps(head)), text)) == plain(here)


@pytest.mark.parametrize(("path", "found"), [("7.a", [7]), ("7.none", None)])
async def test_what_a_condition_looks_up_is_found_there(reader: Reader, path: str, found: Any) -> None:
    config: Json = {
        "field": "input.list",
        "operator": "eq",
        "value": [7],
        "true_branch": ["yes"],
        "false_branch": ["no"],
    }
    order, _ = order_of("condition", config, path=path)

    outcome = await reader.run(order, json.dumps(LISTS).encode(), tenant_id="t")

    assert isinstance(outcome, Completed)
    assert outcome.taken == (("yes",) if found else ("no",))


async def test_what_cannot_be_stored_is_refused_there(reader: Reader) -> None:
    for value, code in ((LISTS, "output_too_large"), ("\0" * 70_000, "output_not_storable")):
        order, data = order_of("transform", {"expression": value}, max_bytes=100_000)
        with pytest.raises(OutputError) as caught:
            await reader.run(order, data, tenant_id="t")
        assert caught.value.code == code


async def test_texts_are_put_in_order(reader: Reader) -> None:
    settled = await reader.settle('{"b": 1.0, "a": [1e2]}', max_bytes=1000, max_depth=2, tenant_id="t")
    assert bytes(settled.data) == b'{"a":[100.0],"b":1.0}'
    for text, limit in (("[1, 2]", 4), ("[[[1]]]", 1000), ('{"a":', 1000)):
        with pytest.raises(OutputError):
            await reader.settle(text, max_bytes=limit, max_depth=2, tenant_id="t")
