"""Definitions in the words of other systems, which are translated first: the codes that SQL and Python say then."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.definitions import listed_step, log_step, workflow
from tests.support.parity import Definition
from tests.support.parity_settings import triggers

DOCUMENTED: Definition = json.loads(
    (Path(__file__).parents[1] / "cases" / "documents" / "a_order_pipeline.json").read_text()
)

ALIASES: list[tuple[Definition, list[str]]] = [
    (workflow(log_step("a"), name="Order Pipeline"), []),
    ({"workflow": {"name": "w", "version": 3, "metadata": {"team": "a"}}, "steps": [log_step("a")]}, []),
    ({"workflow": {"name": "w", "owner": "a"}, "steps": [log_step("a")]}, ["unknown_key"]),
    ({"workflow": {"version": "1"}, "steps": [log_step("a")]}, ["missing_key"]),
    ({"workflow": "w", "name": "w", "steps": [log_step("a")]}, ["unknown_key"]),
    (workflow(log_step("a"), trigger_type="hook"), ["unknown_key"]),
    (triggers({"type": "webhook", "secret": "KEY"}) | {"trigger_type": "webhook"}, []),
    (triggers({"type": "webhook", "secret": "KEY"}) | {"trigger_type": "cron"}, ["unknown_key"]),
    (triggers({"type": "webhook", "secret": "KEY"}) | {"cron_expression": "@daily"}, ["unknown_key"]),
    (DOCUMENTED | {"webhook_secret": None}, ["secret_needed"]),
    (workflow({"name": "a", "task_type": "http_request", "url": "https://x.example", "max_retries": 2}), []),
    (workflow({"id": "a", "name": "A", "type": "data_transform", "expression": "{{ trigger.body.x }}",
        "timeout_seconds": 5}), []),
    (workflow({"id": "t", "type": "trigger"}, listed_step("a")), []),
    (workflow({"id": "a", "type": "conditional", "condition": {"field": "x", "operator": "eq", "value": 1},
        "on_true": "b"},
        listed_step("b")), []),
    (workflow({"id": "a", "type": "http", "config": {"url": "https://x.example", "timeout": "5s",
        "expected_status": 200}}), []),
    (workflow({"id": "a", "type": "log", "message": "x", "config": {"level": "WARN", "message": "y"}}), []),
    (workflow({"id": "a", "type": "sub_workflow", "config": {"workflow_name": "child", "input_mapping": {"x": 1}}}),
        []),
    (workflow(listed_step("b", step_order=2, config={"message": "{{ steps.a.output }}"}), listed_step("a",
        step_order=1)), []),
    (workflow(listed_step("a", step_order=2, config={"message": "{{ steps.b.output }}"}), listed_step("b",
        step_order=3)),
        ["reference_not_ancestor"]),
    (workflow(log_step("a", retry=3, timeout="PT1M")), []),
    (workflow(log_step("a", retry=2.5)), ["wrong_kind"]),
    (workflow(log_step("a", max_retries="many")), ["unknown_key"]),
    (workflow(log_step("a", max_retries=True)), ["unknown_key"]),
    (workflow({"id": "a", "type": "http", "url": "ftp://x", "method": "get", "expected_status": 99}), ["invalid_text",
        "out_of_range"]),
    (workflow(log_step("a"), trigger_type="cron", cron_expression="@daily"), []),
    (workflow(log_step("a"), trigger_type="cron"), ["missing_key"]),
    (workflow(log_step("a"), trigger_type="manual"), []),
    (workflow(log_step("a"), trigger_type=None, description=None), []),
    (workflow({"id": "c", "type": "conditional", "condition": "{{ input.x }}", "on_true": "ghost"}), ["unknown_step"]),
]  # fmt: skip
