"""The JSON Schema of definitions, and its errors as problems that people can act on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from .problems import Json, Path, Problem, did_you_mean

MAX_PROBLEMS = 200

_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_WORDS = re.compile(r"\^\(((?:\w+\|)+\w+)\)\$\|")
"""A pattern that is a list of words, or an expression: such as ^(email|slack)$|\\{\\{"""

_RANGE = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})


def load_schema() -> dict[str, Json]:
    """The published schema (2020-12), a new copy each time."""
    text = (files("flowgres_definitions") / "flowgres.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Json] = json.loads(text)
    return schema


def _check_pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # In JSON Schema `$` is the end of the text; in Python it also matches before a last newline.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError("the text does not match")


_Validator: Any = extend(Draft202012Validator, {"pattern": _check_pattern})  # type: ignore[no-untyped-call]


@cache
def _validator() -> Any:
    return _Validator(load_schema())


def find_schema_problems(document: Json) -> list[tuple[Path, Problem]]:
    """Everything in a document that the schema forbids, all at once, with paths."""
    found: list[tuple[Path, Problem]] = []
    for error in _validator().iter_errors(document):
        for path, problem in _explain(error):
            if (path, problem) not in found:
                found.append((path, problem))
        if len(found) >= MAX_PROBLEMS:  # whoever has two hundred mistakes has one
            break
    return sorted(found, key=lambda item: [(isinstance(part, str), part) for part in map(str, item[0])])


def _explain(error: Any) -> Iterator[tuple[Path, Problem]]:
    """Problems of one ValidationError (its members have no usable types)."""
    path: Path = tuple(error.absolute_path)
    hint = _description(error)
    match error.validator:
        case "required" if error.validator_value == ["name"] and not path:
            return  # told with the other names
        case "required":
            key = _missing(error)
            yield (*path, key), _problem("missing_key", f"{key!r} is missing")
        case "additionalProperties" if error.validator_value is False:
            known = error.schema.get("properties", {})
            for key in [key for key in error.instance if key not in known][:20]:
                message = f"the key {key[:60]!r} is not known here"
                yield (*path, key), _problem("unknown_key", message, did_you_mean(key, known))
        case "type":
            kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
            wanted = " or ".join(_KINDS[kind] for kind in kinds)
            yield path, _problem("wrong_kind", f"expected {wanted}, found {_kind_of(error.instance)}", hint)
        case "enum":
            word = error.instance
            if isinstance(word, str):
                yield (
                    path,
                    _problem(
                        "unknown_word", f"{word[:60]!r} is not known here", did_you_mean(word, error.validator_value)
                    ),
                )
            else:
                wanted = ", ".join(map(str, error.validator_value))
                yield path, _problem("wrong_kind", f"expected one of {wanted}, found {_kind_of(word)}")
        case "pattern" if (words := _WORDS.match(error.validator_value)) is not None:
            word = str(error.instance)
            yield (
                path,
                _problem("unknown_word", f"{word[:60]!r} is not known here", did_you_mean(word, _known(words[1]))),
            )
        case "pattern" if "propertyNames" in error.schema_path:
            return  # names of inputs are told with their own path
        case "pattern":
            is_name = error.validator_value.startswith("^[a-z][a-z0-9_")
            code = (
                "invalid_name"
                if is_name
                else "duration_invalid"
                if "(ms|s|m|h|d)" in error.validator_value
                else "invalid_text"
            )
            yield path, _problem(code, f"{str(error.instance)[:60]!r} is not valid here", hint)
        case "oneOf" if not isinstance(error.instance, dict):
            return  # its kind is told
        case "oneOf":
            yield path, _explain_choice(error)
        case "anyOf":
            yield from _explain_any(error, path)
        case "dependentRequired":
            for key, needed in error.validator_value.items():
                for other in needed:
                    if key in error.instance and other not in error.instance:
                        yield (*path, other), _problem("missing_key", f"{key!r} needs {other!r}")
        case "minItems" | "minLength" if path == ("steps",):
            yield path, _problem("no_steps", "a workflow needs at least one step")
        case "minLength" | "minItems":
            yield path, _problem("invalid_text", "the value is empty", hint)
        case "maxLength":
            yield (
                path,
                _problem("too_long", f"the text has {len(error.instance)} characters, at most {error.validator_value}"),
            )
        case validator if validator in _RANGE:
            word = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}.get(
                str(validator), "less than"
            )
            yield (
                path,
                _problem(
                    "out_of_range", f"{str(error.instance)[:40]} is out of range", f"{word} {error.validator_value}"
                ),
            )
        case None:  # a schema that is `false`: it stands only where keys exclude each other
            message = "keys are given together that exclude each other"
            yield path if path[-1] == "config" else path[:-1], _problem("conflicting_keys", message, hint)
        case _:
            yield path, _problem("invalid_value", error.message[:200], hint)


def _problem(code: str, message: str, hint: str = "") -> Problem:
    return Problem(path="", code=code, message=message, hint=hint)


def _known(words: str) -> set[str]:
    """The words of a pattern; those in both cases are told as most people write them."""
    found = words.split("|")
    return {word for word in found if word.swapcase() not in found or found.index(word) < found.index(word.swapcase())}


def _missing(error: Any) -> str:
    found = re.match(r"'(.*)' is a required property", error.message, re.DOTALL)
    return found[1] if found else next(key for key in error.validator_value if key not in error.instance)


def _description(error: Any) -> str:
    schema: Any = error.schema
    found = schema.get("description", "") if isinstance(schema, dict) else ""
    return found if isinstance(found, str) else ""


def _kind_of(value: Json) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return _KINDS[kinds.get(type(value), "null")]


def _explain_choice(error: Any) -> Problem:
    keys = [option["required"][0] for option in error.validator_value]
    given = [key for key in keys if isinstance(error.instance, dict) and key in error.instance]
    if given:
        return _problem("conflicting_keys", f"only one of these may be given: {', '.join(given)}")
    return _problem("missing_key", f"one of these is needed: {', '.join(keys)}")


def _explain_any(error: Any, path: Path) -> Iterator[tuple[Path, Problem]]:
    """The errors of the alternative whose kind fits; when none fits, the description of the whole."""
    if all("required" in option for option in error.validator_value):
        return  # the name of the workflow, which is told with the other names
    alternatives: dict[int, list[Any]] = {}
    for nested in error.context or ():
        alternatives.setdefault(int(nested.schema_path[0]), []).append(nested)
    for nested_errors in alternatives.values():
        if not any(nested.validator == "type" and len(nested.path) == 0 for nested in nested_errors):
            for nested in nested_errors:
                if nested.validator == "pattern" and nested.validator_value == "\\{\\{":
                    break
                yield from _explain(nested)
            else:
                return
    yield path, _problem("wrong_kind", f"{str(error.instance)[:40]!r} is not valid here", _description(error))
