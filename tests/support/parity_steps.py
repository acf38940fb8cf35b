"""Configurations of a single step, and those of transitions on which both checks must agree: `TRANSITIONS`."""

from __future__ import annotations

from typing import Any

from tests.support.definitions import workflow

Definition = dict[str, Any]
Said = dict[str, str]
CONFIG = "steps[0].config"
INSTANCE = "00000000-0000-0000-0000-000000000001"


def one(kind: str, **config: Any) -> Definition:
    """A workflow of one step of a type."""
    return workflow({"id": "a", "type": kind, "config": config})


def at(path: str, code: str) -> Said:
    """One error in the configuration of the first step."""
    return {f"{CONFIG}.{path}" if path else CONFIG: code}


TRANSITIONS: list[tuple[Definition, Said]] = [
    (one("transition", instance="{{ input.i }}", to="paid", metadata={"by": "{{ input.who }}"}, context="{{ input.c }}",
        notes="x"), {}),
    (one("transition", workflow="order", entity_table="orders", entity_id=7, to="{{ input.to }}"), {}),
    (one("transition"), at("to", "missing_key") | at("workflow", "missing_key") | at("entity_table", "missing_key")
        | at("entity_id", "missing_key")),
    (one("task", queue="mail", payload={"to": "{{ input.to }}"}, lease="5m"), {}),
    (one("task", queue="{{ input.q }}", payload=[1, None]), {}),
    (one("task"), at("queue", "missing_key")),
    (one("task", queue="Mail Room", lease="2d"), at("queue", "invalid_text") | at("lease", "out_of_range")),
    (one("task", queue="mail", payload="{{ secrets.KEY }}"), at("payload", "secret_misuse")),
    (one("transition", instance="x", to=""), at("instance", "invalid_text") | at("to", "invalid_text")),
    (one("transition", instance=INSTANCE, workflow="order", entity_id="1", to="a"), at("", "conflicting_keys")),
    (one("transition", workflow="Not A Name", entity_table="orders", entity_id=1.5, to="a", metadata=[]),
        at("workflow", "invalid_text") | at("entity_id", "wrong_kind") | at("metadata", "wrong_kind")),
    (one("transition", instance="{{ secrets.KEY }}", to="a"), at("instance", "secret_misuse")),
]  # fmt: skip
