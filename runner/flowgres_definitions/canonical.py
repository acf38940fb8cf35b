"""The words of other systems, read as ours, so that one schema checks them all.

The same rules live in SQL (`flowgres.normalise_definition`), where they decide what is stored. Here they only serve
the offline check, so each moved value remembers where the author wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .durations import normalise_duration
from .language import STATUS, TRIGGER_SHORTHANDS
from .problems import Json, Path, Positions, Problem, place

_TYPE_ALIASES: Final = {"http_request": "http", "data_transform": "transform", "conditional": "condition"}
_STEP_ALIASES: Final = {"task_type": "type", "timeout_seconds": "timeout"}
_CONFIG_ALIASES: Final = {
    "sub_workflow": {"workflow_name": "workflow", "input_mapping": "input"},
    "condition": {"on_true": "true_branch", "on_false": "false_branch"},
}
_FLAT_KEYS: Final = {
    "http": "method url headers query json body form auth expected_status follow_redirects response",
    "transform": "expression transforms",
    "condition": "expression field operator value true_branch false_branch condition on_true on_false",
    "delay": "seconds duration until",
    "sub_workflow": "workflow workflow_name version input input_mapping",
    "log": "level message",
    "notify": "channel recipient subject message",
}
_KEYS_OF_ANY_VALUE: Final = {
    "transform": frozenset({"expression", "output", "source"}),
    "condition": frozenset({"value"}),
    "http": frozenset({"json", "body"}),
}
"""Where null is a value; anywhere else it counts as absent."""

_HEADER_KEYS: Final = ("name", "title", "version", "description", "metadata")


@dataclass(slots=True)
class Canonical:
    """A document in our words, and where its moved values stand in the author's.

    `order` gives the author's number of each step, `warnings` what was dropped, with the paths of `place_origin`.
    """

    document: dict[str, Json]
    moves: dict[Path, Path] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    warnings: list[tuple[Path, Problem]] = field(default_factory=list)

    def place(self, problem: Problem, path: Path, positions: Positions | None) -> Problem:
        """The problem at the place where the author wrote the value."""
        for end in range(len(path), 0, -1):
            origin = self.moves.get(path[:end])
            if origin is not None:
                path = (*origin, *path[end:])
                break
        return self.place_origin(problem, path, positions)

    def place_origin(self, problem: Problem, path: Path, positions: Positions | None) -> Problem:
        """The same for a path in the author's words already, but for the number of its step."""
        if len(path) > 1 and path[0] == "steps" and isinstance(path[1], int) and path[1] < len(self.order):
            path = ("steps", self.order[path[1]], *path[2:])
        return place(problem, path, positions)


def canonicalise(document: dict[str, Json]) -> Canonical:
    """Read the document in our words. What cannot be understood stays, for the checks to name it."""
    result = Canonical(_given(document))
    ours = result.document
    header = ours.get("workflow")
    if isinstance(header, dict):
        for key in _HEADER_KEYS:
            if header.get(key) is not None and key not in ours:
                ours[key] = header[key]
                result.moves[(key,)] = ("workflow", key)
    is_shorthand = "trigger_type" in ours
    _triggers(result)
    if isinstance(ours.get("triggers"), list):
        ours["triggers"] = [_given(one) if isinstance(one, dict) else one for one in ours["triggers"]]
    if isinstance(ours.get("inputs"), dict):
        ours["inputs"] = {
            name: _given(one, but="default") if isinstance(one, dict) else one for name, one in ours["inputs"].items()
        }
    for section in ("settings", "defaults"):
        if isinstance(ours.get(section), dict):
            ours[section] = _given(ours[section])
            _seconds(ours[section], "timeout")
    if isinstance(ours.get("defaults"), dict):
        _retry(ours["defaults"], ("defaults",), result)
    if isinstance(ours.get("steps"), list):
        result.order = _order(ours["steps"])
        ours["steps"] = [_step(ours["steps"][origin], ("steps", at), result) for at, origin in enumerate(result.order)]
        if is_shorthand:
            _drop_unknown_targets(ours["steps"], result)
    return result


def _triggers(result: Canonical) -> None:
    """`trigger_type` and `cron_expression` are a list with one trigger; beside `triggers` the type only repeats one."""
    ours = result.document
    kind = ours.get("trigger_type", "cron" if "cron_expression" in ours else None)
    meant = "cron" if kind == "schedule" else kind
    if "triggers" in ours:
        triggers = ours["triggers"] if isinstance(ours["triggers"], list) else []
        if "trigger_type" in ours and any(isinstance(one, dict) and one.get("type") == meant for one in triggers):
            del ours["trigger_type"]
        return
    if not isinstance(kind, str) or kind not in TRIGGER_SHORTHANDS:
        return
    ours.pop("trigger_type", None)
    cron = ours.pop("cron_expression", None)
    if kind in ("manual", "api"):
        return
    ours["triggers"] = [{"type": meant} | ({} if cron is None else {"cron": cron})]
    result.moves[("triggers",)] = result.moves[("triggers", 0)] = ("trigger_type",)
    result.moves[("triggers", 0, "type")] = ("trigger_type",)
    result.moves[("triggers", 0, "cron")] = ("cron_expression",)


def _order(steps: list[Json]) -> list[int]:
    """Numbers of the steps in the order they are meant: `step_order` decides only when every step has one."""
    places = [step.get("step_order") if isinstance(step, dict) else None for step in steps]
    if all(isinstance(place, int | float) and not isinstance(place, bool) for place in places):
        return sorted(range(len(steps)), key=lambda number: places[number])  # type: ignore[arg-type, return-value]
    return list(range(len(steps)))


def _step(given: Json, path: Path, result: Canonical) -> Json:
    if not isinstance(given, dict):
        return given
    step = _given(given)
    for alias, key in _STEP_ALIASES.items():
        _rename(step, alias, key, path, result)
    if "name" in step:
        if "id" in step:
            _rename(step, "name", "description", path, result)
            step.pop("name", None)
        else:
            _rename(step, "name", "id", path, result)
    retries = step.get("max_retries")
    if isinstance(retries, int) and not isinstance(retries, bool) and retries >= 0 and "retry" not in step:
        # Theirs counts the tries after the first one, ours all of them.
        result.moves[(*path, "retry", "attempts")] = (*path, "max_retries")
        step["retry"] = {"attempts": step.pop("max_retries") + 1}
    step.pop("step_order", None)
    _retry(step, path, result)
    kind = step.get("type")
    if isinstance(kind, str):
        step["type"] = kind = _TYPE_ALIASES.get(kind, kind)
        if kind == "trigger":
            return {**step, "type": "transform", "config": {"expression": "{{ trigger.payload }}"}}
        config = step.get("config", {})
        if isinstance(config, dict):
            config = {
                key: value
                for key, value in config.items()
                if value is not None or key in _KEYS_OF_ANY_VALUE.get(kind, ())
            }
            for key in _FLAT_KEYS.get(kind, "").split():
                if key in step:
                    value = step.pop(key)
                    if key not in config:
                        config[key] = value
                        result.moves[(*path, "config", key)] = (*path, key)
            if kind == "http" and "timeout" in config and "timeout" not in step:
                step["timeout"] = config.pop("timeout")
                result.moves[(*path, "timeout")] = (*path, "config", "timeout")
            step["config"] = _config(kind, config, (*path, "config"), result)
    _seconds(step, "timeout")
    return step


def _config(kind: str, config: dict[str, Json], path: Path, result: Canonical) -> dict[str, Json]:
    if kind == "condition" and "condition" in config:
        origin = result.moves.get((*path, "condition"), (*path, "condition"))
        inner = config.pop("condition")
        for key, value in inner.items() if isinstance(inner, dict) else [("expression", inner)]:
            config[key] = value
            result.moves[(*path, key)] = (*origin, key) if isinstance(inner, dict) else origin
    for alias, key in _CONFIG_ALIASES.get(kind, {}).items():
        if not isinstance(config.get(alias), dict) or kind != "condition":
            _rename(config, alias, key, path, result)
    if kind == "condition":
        for key in ("true_branch", "false_branch"):
            if isinstance(config.get(key), str):
                config[key] = [config[key]]
                origin = result.moves.get((*path, key), (*path, key))
                result.moves[(*path, key, 0)] = origin
    for key in ("seconds", "duration") if kind == "delay" else ("timeout",) if kind == "http" else ():
        _seconds(config, key)
    if kind == "http":
        if isinstance(config.get("auth"), dict):
            config["auth"] = _given(config["auth"])
        method, expected = config.get("method"), config.get("expected_status")
        if isinstance(method, str) and "{{" not in method:
            config["method"] = method.upper()
        if isinstance(expected, int | float | str) and not isinstance(expected, bool):
            config["expected_status"] = [expected]
            result.moves[(*path, "expected_status", 0)] = result.moves.get(
                (*path, "expected_status"), (*path, "expected_status")
            )
    if kind == "log" and isinstance(config.get("level"), str) and "{{" not in config["level"]:
        level = config["level"].lower()
        config["level"] = "warning" if level == "warn" else level
    return config


def _drop_unknown_targets(steps: list[Json], result: Canonical) -> None:
    """In the shorthand a branch may lead nowhere: it ends there."""
    ids = {step["id"] for step in steps if isinstance(step, dict) and isinstance(step.get("id"), str)}
    for number, step in enumerate(steps):
        if not isinstance(step, dict) or step.get("type") != "condition" or not isinstance(step.get("config"), dict):
            continue
        for key in ("true_branch", "false_branch"):
            names = step["config"].get(key)
            if not isinstance(names, list):
                continue
            path: Path = ("steps", number, "config", key)
            kept = [at for at, name in enumerate(names) if not isinstance(name, str) or name in ids]
            for at, name in enumerate(names):
                if at not in kept:
                    result.warnings.append((_origin((*path, at), result), _unknown_target(step.get("id"), name)))
            moves = {(*path, now): _origin((*path, was), result) for now, was in enumerate(kept)}
            result.moves.update(moves)
            step["config"][key] = [names[at] for at in kept]


def _unknown_target(condition: Json, target: str) -> Problem:
    message = f"the condition {str(condition)[:60]!r} leads to {target[:60]!r}, which is no step: this branch ends here"
    hint = "add a step with this id, or remove it from the branch"
    return Problem(path="", code="unknown_branch_target", message=message, hint=hint, severity="warning")


def _origin(path: Path, result: Canonical) -> Path:
    """Where the author wrote a value, with the number of its step in our order still."""
    for end in range(len(path), 0, -1):
        origin = result.moves.get(path[:end])
        if origin is not None:
            return (*origin, *path[end:])
    return path


def _retry(members: dict[str, Json], path: Path, result: Canonical) -> None:
    """A bare number means attempts; durations are seconds; statuses are texts."""
    retry = members.get("retry")
    if isinstance(retry, int | float) and not isinstance(retry, bool):
        members["retry"] = {"attempts": retry}
        result.moves[(*path, "retry", "attempts")] = (*path, "retry")
    elif isinstance(retry, dict):
        members["retry"] = retry = _given(retry)
        for key in ("delay", "max_delay"):
            _seconds(retry, key)
        if isinstance(retry.get("errors"), list):
            retry["errors"] = [_retry_error(error) for error in retry["errors"]]


def _retry_error(error: Json) -> Json:
    """503 and 503.0 are "503", 5XX is "5xx"."""
    if isinstance(error, int | float) and not isinstance(error, bool):
        return str(int(error) if error == int(error) else error)
    return error.lower() if isinstance(error, str) and STATUS.fullmatch(error.lower()) else error


def _given(members: dict[str, Json], but: str | None = None) -> dict[str, Json]:
    """A copy without the members that are null, which count as absent."""
    return {key: value for key, value in members.items() if value is not None or key == but}


def _seconds(members: dict[str, Json], key: str) -> None:
    if key in members:
        members[key] = normalise_duration(members[key])


def _rename(members: dict[str, Json], alias: str, key: str, path: Path, result: Canonical) -> None:
    if alias in members and key not in members:
        members[key] = members.pop(alias)
        result.moves[(*path, key)] = result.moves.get((*path, alias), (*path, alias))
