"""The words of other systems, read as ours, so that one schema checks them all.

The same rules live in SQL (`flowgres.normalise_definition`), where they decide what is stored. Here they only serve
the offline check, so each moved value remembers where the author wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .problems import Json, Path, Positions, Problem, place

_TYPE_ALIASES: Final = {"http_request": "http", "data_transform": "transform", "conditional": "condition"}
_STEP_ALIASES: Final = {"task_type": "type", "timeout_seconds": "timeout"}
_CONFIG_ALIASES: Final = {
    "sub_workflow": {"workflow_name": "workflow", "input_mapping": "input"},
    "condition": {"on_true": "true_branch", "on_false": "false_branch"},
}
_FLAT_KEYS: Final = {
    "http": "method url headers query json body form auth expected_status follow_redirects",
    "transform": "expression transforms",
    "condition": "expression field operator value true_branch false_branch condition on_true on_false",
    "delay": "seconds duration until",
    "sub_workflow": "workflow workflow_name version input input_mapping",
    "log": "level message",
    "notify": "channel recipient subject message",
}


@dataclass(slots=True)
class Canonical:
    """A document in our words, and where its moved values stand in the author's."""

    document: dict[str, Json]
    moves: dict[Path, Path] = field(default_factory=dict)

    def place(self, problem: Problem, path: Path, positions: Positions | None) -> Problem:
        """The problem at the place where the author wrote the value."""
        for end in range(len(path), 0, -1):
            origin = self.moves.get(path[:end])
            if origin is not None:
                return place(problem, (*origin, *path[end:]), positions)
        return place(problem, path, positions)


def canonicalise(document: dict[str, Json]) -> Canonical:
    """Read the document in our words. What cannot be understood stays, for the checks to name it."""
    result = Canonical({key: value for key, value in document.items() if value is not None})
    header = result.document.get("workflow")
    if isinstance(header, dict):
        for key in ("name", "title", "version", "description", "metadata"):
            if key in header and key not in result.document:
                result.document[key] = header[key]
                result.moves[(key,)] = ("workflow", key)
    steps = result.document.get("steps")
    if isinstance(steps, list):
        result.document["steps"] = [
            _step(value, ("steps", index), result) if isinstance(value, dict) else value
            for index, value in enumerate(steps)
        ]
    return result


def _step(given: dict[str, Json], path: Path, result: Canonical) -> dict[str, Json]:
    step = {key: value for key, value in given.items() if value is not None}
    for alias, key in _STEP_ALIASES.items():
        _rename(step, alias, key, path, result)
    if "name" in step:
        if "id" in step:
            step.pop("name")  # a title; the compiler keeps it as the description
        else:
            _rename(step, "name", "id", path, result)
    if isinstance(step.get("max_retries"), int) and "retry" not in step:
        result.moves[(*path, "retry", "attempts")] = (*path, "max_retries")
        step["retry"] = {"attempts": step.pop("max_retries") + 1}
    step.pop("step_order", None)
    kind = step.get("type")
    if not isinstance(kind, str):
        return step
    step["type"] = kind = _TYPE_ALIASES.get(kind, kind)
    if kind == "trigger":
        return {**step, "type": "transform", "config": {"expression": "{{ trigger.payload }}"}}
    config = step.get("config", {})
    if isinstance(config, dict):
        config = {
            key: value for key, value in config.items() if value is not None or kind in ("transform", "condition")
        }
        for key in _FLAT_KEYS.get(kind, "").split():
            if key in step and key not in config:
                config[key] = step.pop(key)
                result.moves[(*path, "config", key)] = (*path, key)
        step["config"] = _config(kind, config, (*path, "config"), result)
    return step


def _config(kind: str, config: dict[str, Json], path: Path, result: Canonical) -> dict[str, Json]:
    if kind == "condition" and "condition" in config:
        origin = result.moves.get((*path, "condition"), (*path, "condition"))
        inner = config.pop("condition")
        for key, value in inner.items() if isinstance(inner, dict) else [("expression", inner)]:
            config.setdefault(key, value)
            result.moves[(*path, key)] = (*origin, key) if isinstance(inner, dict) else origin
    for alias, key in _CONFIG_ALIASES.get(kind, {}).items():
        if not isinstance(config.get(alias), dict) or kind != "condition":
            _rename(config, alias, key, path, result)
    return config


def _rename(members: dict[str, Json], alias: str, key: str, path: Path, result: Canonical) -> None:
    if alias in members and key not in members:
        members[key] = members.pop(alias)
        result.moves[(*path, key)] = result.moves.get((*path, alias), (*path, alias))
