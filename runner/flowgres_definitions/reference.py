"""The reference page of definitions, made of the description: `python -m flowgres_definitions.reference`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from .description import core_step_types, description, resolve_schema
from .problems import Json

PAGE: Final = Path(__file__).with_name("REFERENCE.md")
_KINDS: Final = {"string": "text", "array": "list", "integer": "whole number"}
_BOUNDS: Final = (
    ("minimum", "from {}"), ("exclusiveMinimum", "above {}"), ("maximum", "to {}"),
    ("maxLength", "at most {} characters"), ("minItems", "at least {}"),
)  # fmt: skip
_PARTS: Final = (
    ("input", "An input", "Members of `inputs`, by the name of the input."),
    ("trigger", "A trigger", "Members of `triggers`."),
    ("settings", "Settings", "`settings`."),
    ("start", "Starts that come close together", "`start` of the settings: one of debounce, throttle and singleton."),
    ("throttle", "A throttle", "`throttle` of `start`."),
    ("step", "A step", "Members of `steps`. What a type needs stands under `config`, and below by type."),
    ("foreach", "Each item of a list", "`foreach` of a step."),
    ("repeat", "Rounds", "`repeat` of a step."),
    ("at_least", "A join that counts", "`join` of a step, when it is an object."),
    (
        "compensation",
        "A compensation",
        "`compensate` of a step: runs when the execution fails after the step completed.",
    ),
    ("failure_step", "A step for failures", "Members of `on_failure`."),
    ("retry", "Retries", "`retry` of a step, and of `defaults`."),
    ("auth", "Authentication", "`auth` of an http step."),
    ("part", "A part of a body", "Members of `multipart` of an http step."),
    ("case", "A case", "Members of `cases` of a switch."),
    ("edit", "An operation", "Members of `transforms` of a transform."),
    ("state", "A state", "Members of `states`, of a state machine."),
    ("sla", "The time of a state", "`sla` of a state."),
    ("machine_transition", "A transition", "Members of `transitions`, of a state machine."),
    ("transition_start", "An execution that a transition starts", "`start` of a transition."),
)


def reference() -> str:
    """The whole page, as Markdown."""
    root = description()
    lines = [
        "# Definitions",
        "",
        "<!-- Made of definition.schema.json by `just reference`; what is wrong here is wrong there. -->",
        "",
        "Every key of a definition: what it takes, its default and bounds, and an example. A YAML or JSON text of this",
        "form is checked by `flowgres validate`, offline, and by the database at every import. Editors read the same",
        "description: `flowgres schema > flowgres.schema.json`, and as the first line of a file",
        "`# yaml-language-server: $schema=flowgres.schema.json`.",
        "",
        "A definition has `steps`, or it is a state machine and has `states` and `transitions`. `triggers`, `inputs`,",
        "`settings`, `defaults`, `on_failure` and `outputs` belong to the first kind and are refused in the second.",
        "",
        "A duration is a number of seconds or a text such as `250ms`, `30s`, `5m`, `2h`, `3d`, `1h30m`, `PT30S`.",
        "A member that is null counts as absent, but where any value may stand. What is not available yet is left out.",
        "",
        "What runs when, and what becomes of the rest: [the rules of the graph](GRAPH.md).",
        "",
        "## The definition",
        "",
        *_table(root),
    ]
    for name, title, about in _PARTS:
        lines += ["", f"## {title}", "", about, "", *_table(root["$defs"][name])]
        for choice in root["$defs"][name].get("allOf", ()):
            word = choice.get("if", {}).get("properties", {}).get("type", {}).get("const")
            if name == "trigger" and word is not None:
                lines += ["", f"### {word}", "", *_table(choice["then"])]
    lines += ["", "## Step types", ""]
    for kind in sorted(core_step_types()):
        schema = root["$defs"][kind]
        lines += [f"### {kind}", "", schema["description"], "", *_table(schema), *_notes(schema), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(schema: Mapping[str, Json]) -> Iterator[str]:
    yield "| key | takes | default | |"
    yield "|---|---|---|---|"
    needed = schema.get("required", ())
    for key, given in schema["properties"].items():
        if given is True or "doNotSuggest" in given or key == "$schema":
            continue
        member = resolve_schema(given, description())
        assert isinstance(member, Mapping)  # noqa: S101 - a member that is no object was passed over
        default = f"`{_json(member['default'])}`" if "default" in member and "x-fill" not in member else ""
        default = "needed" if key in needed else default
        words: list[str] = [member.get("description", "")]
        words += [f"Such as `{_json(one)}`." for one in member.get("examples", ())[:1]]
        yield f"| `{key}` | {_takes(member)} | {default} | {' '.join(word for word in words if word)} |"


def _takes(schema: Mapping[str, Json]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if "anyOf" in schema and "type" not in schema:
        told: list[str] = [_takes(part) for part in map(_resolved, schema["anyOf"]) if not _is_expression(part)]
        expression = ["an expression"] if any(map(_is_expression, map(_resolved, schema["anyOf"]))) else []
        return " or ".join([*dict.fromkeys(told), *expression])
    if schema.get("format") == "seconds":
        kind = "duration"
    else:
        kinds = schema.get("type", "anything")
        names: list[str] = kinds if isinstance(kinds, list) else [kinds]
        kind = " or ".join(_KINDS.get(name, name) for name in names)
    is_above = "exclusiveMinimum" in schema
    bounds = [
        text.format(_json(schema[key]))
        for key, text in _BOUNDS
        if key in schema and not (key == "minimum" and is_above)
    ]
    return ", ".join([kind, *bounds])


def _resolved(schema: Json) -> Mapping[str, Json]:
    found = resolve_schema(schema, description())
    return found if isinstance(found, Mapping) else {}


def _is_expression(schema: Mapping[str, Json]) -> bool:
    return bool(schema.get("pattern") == description()["$defs"]["expression"]["pattern"])


def _notes(schema: Mapping[str, Json]) -> Iterator[str]:
    keys = [f"`{choice['required'][0]}`" for choice in schema.get("oneOf", ())]
    if keys:
        yield ""
        yield f"One of {', '.join(keys)} is needed, and not two."
    secrets = [f"`{key}`" for key, member in schema["properties"].items() if "x-secrets" in member]
    if secrets:
        yield ""
        yield f"Secrets may be named in {', '.join(secrets)}: `{{{{ secrets.NAME }}}}`."


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
