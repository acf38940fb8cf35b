"""`condition`: choose a branch."""

from __future__ import annotations

from collections.abc import Mapping

from flowgres_definitions.strict_json import is_number, is_same
from flowgres_runner.payloads.texts import Unread, look_up
from flowgres_runner.steps.base import Completed, Handler, Json, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, invalid_config

_MISSING = object()


class ConditionHandler(Handler):
    """`expression` must give a boolean; or `field`, `operator` and `value` are compared.

    Output: {result, branch: "true" | "false"}. The steps of `true_branch` or `false_branch` are the taken ones.
    """

    type = "condition"
    added_members = frozenset(("found",))
    config_codes: Mapping[str, str] = {"expression_not_boolean": "expression"}

    def looks_up(self, config: Json) -> bool:
        """`field` is a path, not an expression."""
        return isinstance(config, dict) and "expression" not in config

    def find(self, config: Json, context: Mapping[str, Json]) -> list[Json] | Unread:
        """What `field` leads to."""
        return field_of(as_object(config), context)

    def with_found(self, config: Json, found: list[Json]) -> Json:
        """The configuration with that beside `field`."""
        return with_field(as_object(config), found)

    def _run_now(self, task: StepTask) -> Outcome:
        """Decide; `field` has been looked up already."""
        config = as_object(task.config)
        result = config.get("expression")
        if not isinstance(result, bool):
            answer = compare(as_object(config.get("found")), config["operator"], config.get("value"))
            if isinstance(answer, str):
                return invalid_config(answer)
            result = answer
        branch = config.get("true_branch" if result else "false_branch")
        taken = tuple(str(step) for step in branch) if isinstance(branch, list) else ()
        return Completed({"result": result, "branch": "true" if result else "false"}, taken=taken)


def field_of(config: Mapping[str, Json], context: Mapping[str, Json]) -> list[Json] | Unread:
    """What lies at `field` (a dotted path): [value], or nothing; or where to look on.

    The path starts at the context (`steps.fetch.output.total`, `input.amount`), else within the input (`amount`).
    """
    path = str(config.get("field", ""))
    found = _seek(context, path)
    return found if found else _seek(context.get("input"), path)


def with_field(config: Mapping[str, Json], found: list[Json]) -> dict[str, Json]:
    """The configuration with what `field` leads to as `found`: {found, value}."""
    return {**config, "found": {"found": bool(found), "value": found[0] if found else None}}


def _seek(value: object, path: str) -> list[Json] | Unread:
    names = path.split(".") if path else [""]
    for count, name in enumerate(names):
        if isinstance(value, bytes):
            return Unread(value, ".".join(names[count:]))
        value = look_up(value, name, _MISSING)
        if value is _MISSING:
            return []
    return Unread(value, "") if isinstance(value, bytes) else [value]  # type: ignore[list-item]  # it comes out of JSON


def compare(found: Mapping[str, Json], operator: Json, expected: Json) -> bool | str:
    """The answer, or what is wrong with the question. A field that is missing only exists not."""
    actual = found.get("value")
    if operator == "exists":
        return bool(found.get("found")) is (expected is not False)
    if not found.get("found"):
        return operator == "ne"
    if operator in ("eq", "ne"):
        return is_same(actual, expected) is (operator == "eq")
    if operator == "in":
        if not isinstance(expected, list):
            return "the operator in needs a list as its value"
        return any(is_same(actual, item) for item in expected)
    if operator == "contains":
        return _contains(actual, expected)
    if operator == "matches_prefix":
        return isinstance(actual, str) and isinstance(expected, str) and actual.startswith(expected)
    return _ordered(actual, str(operator), expected)


def _contains(actual: Json, expected: Json) -> bool | str:
    if isinstance(actual, str):
        return isinstance(expected, str) and expected in actual
    if isinstance(actual, list):
        return any(is_same(item, expected) for item in actual)
    if isinstance(actual, dict):
        return isinstance(expected, str) and expected in actual
    return f"the operator contains needs text, a list or an object, not {_kind(actual)}"


def _ordered(actual: Json, operator: str, expected: Json) -> bool | str:
    numbers = is_number(actual) and is_number(expected)
    if not numbers and not (isinstance(actual, str) and isinstance(expected, str)):
        return f"the operator {operator} cannot compare {_kind(actual)} with {_kind(expected)}"
    order = (actual > expected) - (actual < expected)  # type: ignore[operator]
    return {"gt": order > 0, "gte": order >= 0, "lt": order < 0, "lte": order <= 0}[operator]


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return {str: "text", list: "a list", dict: "an object"}.get(type(value), type(value).__name__)
