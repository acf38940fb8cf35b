"""`transform`: make data from data. One value, an object, or a list of edits."""

from __future__ import annotations

import copy
from typing import cast

from flowgres_runner.payloads.texts import look_up
from flowgres_runner.steps.base import Completed, Handler, Json, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, invalid_config

_MISSING = object()


class TransformHandler(Handler):
    """`expression` gives its bare value, `output` an object, `transforms` edits `source` (default: an empty object).

    An edit is {op: rename, from, to} | {op: extract, from, to} | {op: set, field, value} | {op: delete, field};
    fields are dotted paths. `extract` copies from the source as it was given, the others see the edits before them.
    """

    type = "transform"

    def output_path(self, config: Json) -> tuple[str, ...] | None:
        """The member that is the output; edits make something new."""
        if isinstance(config, dict):
            for name in ("expression", "output"):
                if name in config:
                    return (name,)
        return None

    def _run_now(self, task: StepTask) -> Outcome:
        """Answer with the rendered configuration."""
        config = as_object(task.config)
        if "expression" in config:
            return Completed(config["expression"])
        if "output" in config:
            return Completed(config["output"])
        source = config.get("source")
        if source is None:
            source = {}
        if not isinstance(source, dict):
            return invalid_config("the source of transforms must be an object")
        return _apply(cast("list[dict[str, Json]]", config["transforms"]), source)


def _apply(edits: list[dict[str, Json]], source: dict[str, Json]) -> Outcome:
    # A copy: the source may be the output of another step, which lives on in the cache.
    result = copy.deepcopy(source)
    for number, edit in enumerate(edits):
        problem = _apply_one(edit, source, result)
        if problem is not None:
            return invalid_config(f"transforms[{number}] {problem}", details={"index": number})
    return Completed(result)


def _apply_one(edit: dict[str, Json], source: dict[str, Json], result: dict[str, Json]) -> str | None:
    """Change `result`; what is wrong with the edit, or None."""
    operation = edit.get("op", edit.get("type", edit.get("operation")))
    if operation == "set":
        field = edit.get("field", edit.get("to"))
        return _put(result, field, edit.get("value"))
    if operation == "delete":
        field = edit.get("field", edit.get("from"))
        if not isinstance(field, str):
            return "needs a field"
        _take(result, field)
        return None
    if operation in ("rename", "extract"):
        origin, target = edit.get("from", edit.get("field")), edit.get("to")
        if not isinstance(origin, str) or not isinstance(target, str):
            return "needs from and to"
        value = _take(result, origin) if operation == "rename" else look_up(source, origin, _MISSING)
        if value is _MISSING:
            return f"finds no field {origin!r}"
        return _put(result, target, value)
    return "needs an op"


def _put(target: dict[str, Json], path: Json, value: object) -> str | None:
    if not isinstance(path, str) or not path:
        return "needs a field"
    *parents, last = path.split(".")
    place = target
    for name in parents:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            return f"cannot put a field into {name!r}, which is no object"
        place = inner
    place[last] = value  # type: ignore[assignment]  # it comes out of JSON
    return None


def _take(target: dict[str, Json], path: str) -> object:
    parent_path, _, last = path.rpartition(".")
    parent = look_up(target, parent_path, _MISSING) if parent_path else target
    if isinstance(parent, dict) and last in parent:
        return parent.pop(last)
    return _MISSING
