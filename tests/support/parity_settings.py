"""Settings, triggers and inputs on which both checks must agree."""

from __future__ import annotations

from typing import Any

from tests.support.definitions import log_step, workflow

Definition = dict[str, Any]
Said = dict[str, str]


def settings(**members: Any) -> Definition:
    """A workflow with settings."""
    return workflow(log_step("a"), settings=members)


def triggers(*given: Any) -> Definition:
    """A workflow with triggers."""
    return workflow(log_step("a"), triggers=list(given))


def inputs(**given: Any) -> Definition:
    """A workflow with inputs."""
    return workflow(log_step("a"), inputs=given)


def closed(message: Any = "x", config: Definition | None = None, **members: Any) -> Definition:
    """A workflow that declares one input, name, and logs."""
    step = log_step("a", config=config or {"message": message})
    return workflow(step, inputs={"name": {"type": "any"}}) | members


SETTINGS: list[tuple[Definition, Said]] = [
    (settings(timeout="3d", priority=5, correlation_id="$.order_id", max_retries=0), {}),
    (settings(priority=12, timeout="soon"), {"settings.priority": "out_of_range",
        "settings.timeout": "duration_invalid"}),
    (settings(priority=5.0), {}),
    (settings(priority=5.5), {"settings.priority": "wrong_kind"}),
    (settings(priority=10**30), {"settings.priority": "out_of_range"}),
    (settings(timeout="400d"), {"settings.timeout": "out_of_range"}),
    (settings(retention="30d"), {}),
    (settings(retention="59m"), {"settings.retention": "out_of_range"}),
    (settings(retention="soon"), {"settings.retention": "duration_invalid"}),
    (settings(max_retries=101), {"settings.max_retries": "out_of_range"}),
    (settings(max_retries=1.5), {"settings.max_retries": "wrong_kind"}),
    (settings(concurrency={"limit": 2, "key": "$.customer", "when_full": "cancel_oldest"}), {}),
    (settings(concurrency={"limit": 1}), {}),
    (settings(concurrency={"key": "{{ x }}"}), {
        "settings.concurrency.key": "expression_not_allowed", "settings.concurrency.limit": "missing_key"}),
    (settings(concurrency={"limit": 0, "when_full": "delay"}), {
        "settings.concurrency.limit": "out_of_range", "settings.concurrency.when_full": "unknown_word"}),
    (settings(concurrency={"limit": 1001, "per": 5}), {
        "settings.concurrency.limit": "out_of_range", "settings.concurrency.per": "unknown_key"}),
    (settings(concurrency=2), {"settings.concurrency": "wrong_kind"}),
    (settings(correlation_id="{{ input.id }}"), {"settings.correlation_id": "expression_not_allowed"}),
    (settings(correlation_id="order_id"), {"settings.correlation_id": "jsonpath_invalid"}),
    (settings(correlation_id="$.**.id"), {"settings.correlation_id": "jsonpath_invalid"}),
    (settings(correlation_id="$.a["), {"settings.correlation_id": "jsonpath_invalid"}),
    (settings(correlation_id="$.lines[007].sku"), {"settings.correlation_id": "jsonpath_invalid"}),
    (settings(correlation_id="$.größe.\"a b\"[0][last] . size ( )"), {}),
    (settings(start={"debounce": "10s", "max_wait": "5m", "key": "$.k"}), {}),
    (settings(start={"throttle": {"limit": 10, "per": "1m", "when_full": "reject"}}), {}),
    (settings(start={"singleton": "return", "key": "$.a.b[0]"}), {}),
    (settings(start={"debounce": 0}), {"settings.start.debounce": "out_of_range"}),
    (settings(start={"debounce": "8d", "max_wait": "soon"}), {"settings.start.debounce": "out_of_range",
        "settings.start.max_wait": "duration_invalid"}),
    (settings(start={"throttle": {"limit": 0, "per": "1m"}}), {"settings.start.throttle.limit": "out_of_range"}),
    (settings(start={"throttle": {"limit": 1001, "per": 0, "when_full": "queue"}}), {
        "settings.start.throttle.limit": "out_of_range", "settings.start.throttle.per": "out_of_range",
        "settings.start.throttle.when_full": "unknown_word"}),
    (settings(start={"throttle": {"limit": 1}}), {"settings.start.throttle.per": "missing_key"}),
    (settings(start={"singleton": "yes"}), {"settings.start.singleton": "unknown_word"}),
    (settings(start={"singleton": "return", "key": "{{ input.k }}"}), {"settings.start.key": "expression_not_allowed"}),
    (settings(start={"singleton": "return", "key": "k"}), {"settings.start.key": "jsonpath_invalid"}),
    (settings(start={"singleton": "return", "max_wait": "1m"}), {"settings.start.debounce": "missing_key"}),
    (settings(start={"singleton": "return", "debounce": "1m"}), {"settings.start": "conflicting_keys"}),
    (settings(start={"key": "$.k"}), {"settings.start": "missing_key"}),
    (settings(start="soon"), {"settings.start": "wrong_kind"}),
    (closed("x", settings={"start": {"debounce": 1, "key": "$.nme"}}), {"settings.start.key": "unknown_input"}),
    (workflow(log_step("a"), defaults={"timeout": "30s", "retry": {"attempts": 4, "max_delay": "5m"}}), {}),
    (workflow(log_step("a"), defaults={"timeout": "x", "retry": {"attempts": 0}}), {
        "defaults.timeout": "duration_invalid", "defaults.retry.attempts": "out_of_range"}),
    (inputs(x={"type": "integer", "minimum": 1, "default": 2}, y={"type": "any", "default": None}), {}),
    (inputs(x={"type": "strin"}, q=1), {"inputs.x.type": "unknown_word", "inputs.q": "wrong_kind"}),
    (inputs(**{"z z": {"type": "any"}}), {'inputs["z z"]': "invalid_name"}),
    (inputs(x={"type": "integer", "default": "a"}), {"inputs.x.default": "wrong_kind"}),
    (inputs(x={"type": "number", "default": 5, "maximum": 4}), {"inputs.x.default": "out_of_range"}),
    (inputs(x={"type": "string", "default": "", "min_length": 1}), {"inputs.x.default": "wrong_length"}),
    (inputs(x={"type": "string", "default": "c", "enum": ["a", "b"]}), {"inputs.x.default": "not_allowed"}),
    (inputs(x={}), {"inputs.x.type": "missing_key"}),
    (inputs(x={"type": "integer", "default": 5.0}, y={"type": "integer", "default": 10**40, "minimum": 10**39}), {}),
    (inputs(x={"type": "integer", "default": 5.5}, y={"type": "integer", "default": True}), {
        "inputs.x.default": "wrong_kind", "inputs.y.default": "wrong_kind"}),
    (inputs(x={"type": "string", "default": "", "min_length": 10**30}), {"inputs.x.default": "wrong_length"}),
    (inputs(x={"type": "string", "min_length": 2.0, "max_length": 2.5}), {"inputs.x.max_length": "wrong_kind"}),
]  # fmt: skip
