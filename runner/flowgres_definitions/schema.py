"""JSON Schema in Python: everything in a value that its schema forbids, and where.

The twin of `check_value` in SQL (database/schema/definitions/schema_check.sql), which decides; this one serves files,
with line and column, and what a handler is given. Both know the whole of JSON Schema 2020-12 but for what
`schema_faults` refuses, and takes formats other than ours for words about the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import isfinite
from typing import Any, Final

from .description import Schema, resolve_schema
from .durations import parse_moment
from .expressions import holds_expression
from .problems import Json, Path, Problem, did_you_mean
from .strict_json import frozen, is_same

Found = list[tuple[Path, Problem]]

MAX_PROBLEMS: Final = 200
OTHER_WORDS: Final = 'Here it is "{}". Words of other systems are read by POST /workflows and by flowgres import.'
_WORDS: Final = {"string": "text", "array": "list"}
_ASKED: Final = {"properties", "required"}
_KEY_RULES: Final = frozenset(
    {"additionalProperties", "required", "dependentRequired", "propertyNames", "minProperties", "maxProperties"}
)


def check_value(value: Json, schema: Schema, root: Schema, path: Path = (), *, is_open: bool = False) -> Found:
    """Problems of a value with their paths.

    `root` is the schema that references begin at. `is_open`: expressions may stand for any value, so only what is wrong
    whatever they give is told; keys are no expressions.
    """
    schema = resolve_schema(schema, root)
    is_settled = not is_open or not holds_expression(value)
    if isinstance(schema, bool):
        return [] if schema or not is_settled else [(path, Problem("", "invalid_value", "nothing may stand here"))]
    is_holder = isinstance(value, dict | list)
    if "type" in schema and not has_kind(value, kinds := schema_kinds(schema, root)):
        return [(path, _wrong_kind(value, kinds))] if is_settled or is_holder else []
    if len(schema) == 1 and "type" in schema:
        return []  # of long lists that is all
    found: Found = []
    if "not" in schema and is_settled and fits(value, schema["not"], root, is_open=is_open):
        found.append(
            (path, broken_rule(resolve_schema(schema["not"], root), "invalid_value", "this may not stand here"))
        )
        if not is_holder:
            return found
    if is_settled:
        if "enum" in schema and not any(is_same(value, word) for word in schema["enum"]):
            return [*found, (path, _unknown_word(value, schema))]
        if "const" in schema and not is_same(value, schema["const"]):
            message = "this is not the value that has to stand here"
            return [*found, (path, broken_rule(schema, "invalid_value", message))]
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            found.extend((path, problem) for problem in _check_scalar(value, schema))
    if isinstance(value, dict):
        if not _KEY_RULES.isdisjoint(schema):
            found.extend(_check_keys(value, schema, root, path, is_open))
        for key, member, of in _members(value, schema):
            if len(found) < MAX_PROBLEMS:
                found.extend(check_value(member, of, root, (*path, key), is_open=is_open))
        for key, of in schema.get("dependentSchemas", {}).items():
            if key in value:
                found.extend(check_value(value, of, root, path, is_open=is_open))
    elif isinstance(value, list):
        found.extend(_check_elements(value, schema, root, path, is_open))
    for of in schema.get("allOf", ()):
        found.extend(check_value(value, of, root, path, is_open=is_open))
    if "if" in schema:
        is_met = fits(value, schema["if"], root, is_open=is_open)
        branch = ("then" if is_settled else "") if is_met else "else"  # what may turn out either way asks for nothing
        if branch in schema:
            found.extend(check_value(value, schema[branch], root, path, is_open=is_open))
    if is_settled:
        found.extend(_check_any(value, schema, root, path, is_open))
        found.extend(_check_one(value, schema, root, path, is_open))
    return found


def fits(value: Json, schema: Schema, root: Schema, *, is_open: bool = False) -> bool:
    """Whether nothing is wrong with a value."""
    if not is_open and isinstance(value, dict) and isinstance(schema, dict) and schema.keys() == _ASKED:
        # Which type a step is of is asked often: {properties: {type: {const}}, required: [type]}.
        (key, of), *more = schema["properties"].items()
        if not more and schema["required"] == [key] and isinstance(of, dict) and of.keys() == {"const"}:
            return key in value and is_same(value[key], of["const"])
    return not check_value(value, schema, root, is_open=is_open)


def schema_kinds(schema: Schema, root: Schema) -> list[str] | None:
    """The types that a schema admits; None when it does not say."""
    schema = resolve_schema(schema, root)
    if isinstance(schema, bool):
        return None
    if "type" in schema:
        return [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
    return sorted({_kind_of(word) for word in schema["enum"]}) if "enum" in schema else None


def has_kind(value: Json, kinds: Collection[str] | None) -> bool:
    """Whether a value is of one of some types; of any, when there are none to choose from."""
    if kinds is None:
        return True
    kind = _kind_of(value)
    return kind in kinds or (kind == "number" and "integer" in kinds and value == int(value))


def broken_rule(schema: Schema, code: str, message: str, hint: str = "") -> Problem:
    """The problem of a value that breaks a rule of a schema, in the words of the schema where it has any."""
    own: Mapping[str, Json] = {} if isinstance(schema, bool) else schema
    return Problem("", own.get("x-code", code), own.get("x-message", message), own.get("x-hint", hint))


@lru_cache(maxsize=1024)
def pattern_of(text: str) -> re.Pattern[str] | None:
    """A pattern of a schema for Python: ASCII classes, and `$` only at the end; None for what Python cannot read."""
    ours = re.sub(
        r"\\.|\[(?:\\.|[^\]\\])*\]|\$", lambda part: r"\Z" if part[0] == "$" else part[0], text, flags=re.DOTALL
    )
    try:
        return re.compile(ours, re.ASCII)
    except re.error:
        return None


def _kind_of(value: Json) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    if type(value) is float and not isfinite(value):
        return "no number"  # as JSON has it
    return kinds.get(type(value), "null")


def _wrong_kind(value: Json, kinds: Sequence[str] | None) -> Problem:
    wanted = " or ".join(_WORDS.get(kind, kind) for kind in kinds or ())
    found = _kind_of(value)
    return Problem("", "wrong_kind", f"expected {wanted}, found {_WORDS.get(found, found)}")


def _unknown_word(value: Json, schema: Mapping[str, Json]) -> Problem:
    if not isinstance(value, str):
        hint = json.dumps(schema["enum"])[:300]
        return broken_rule(schema, "wrong_kind", "this is none of the values that are known here", hint)
    known = [word for word in schema["enum"] if isinstance(word, str)]
    return broken_rule(schema, "unknown_word", f'"{value[:60]}" is not known here', did_you_mean(value, known))


def _check_scalar(value: str | float, schema: Mapping[str, Json]) -> Iterator[Problem]:
    """The first rule that a number or text of the right type breaks."""
    if not isinstance(value, str):
        yield from _check_number(value, schema)
        return
    if schema.get("format") == "seconds":
        # The canonical form has a number here, so this is none.
        hint = "A number of seconds, 250ms, 30s, 5m, 2h, 3d or PT30S."
        yield Problem("", "duration_invalid", f'"{value[:40]}" is no duration', hint)
    elif len(value) > schema.get("maxLength", len(value)):
        hint = _name_bounds(schema, "minLength", "maxLength")
        yield Problem("", "too_long", f"the text has {len(value)} characters", hint)
    elif len(value) < schema.get("minLength", 0):
        message = "the text is too short" if value else "the value is empty"
        yield broken_rule(schema, "invalid_text", message, _name_bounds(schema, "minLength", "maxLength"))
    elif schema.get("format") == "moment" and parse_moment(value) is None:
        yield broken_rule(schema, "invalid_text", "this is no time")
    elif "pattern" in schema and not _fits(value, schema["pattern"]):
        yield broken_rule(schema, "invalid_text", f'"{value[:60]}" is not valid here')


def _check_number(value: float, schema: Mapping[str, Json]) -> Iterator[Problem]:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if (
        (least is not None and value < least)
        or (most is not None and value > most)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    ):
        hint = _name_bounds(schema, "minimum", "maximum")
        own = {key: member for key, member in schema.items() if key != "x-hint"}
        yield broken_rule(own, "out_of_range", f"{str(value)[:40]} is out of range", hint)
    elif schema.get("multipleOf") and Fraction(str(value)) % Fraction(str(schema["multipleOf"])) != 0:
        yield broken_rule(schema, "invalid_value", f"{str(value)[:40]} is no multiple of {schema['multipleOf']}")


def _name_bounds(schema: Mapping[str, Json], least: str, most: str) -> str:
    """The bounds of a schema as a hint, by the names of its keywords: At least 1 and at most 100."""
    words = [("at least", least), ("at most", most)]
    if least == "minimum":
        above = ("more than", "exclusiveMinimum") if "exclusiveMinimum" in schema else words[0]
        words = [above, ("less than", "exclusiveMaximum"), words[1]]
    told = " and ".join(f"{word} {schema[key]}" for word, key in words if key in schema)
    return f"{told[:1].upper()}{told[1:]}."


def _fits(text: str, pattern: str) -> bool:
    found = pattern_of(pattern)
    return found is None or found.search(text) is not None


def _check_elements(value: list[Json], schema: Mapping[str, Json], root: Schema, path: Path, is_open: bool) -> Found:
    found: Found = []
    count = len(value)
    if not is_open or not holds_expression(value):
        least, most = schema.get("minItems"), schema.get("maxItems")
        if (least is not None and count < least) or (most is not None and count > most):
            code, message = (
                ("invalid_value", f"the list has {count} elements") if count else ("invalid_text", "the value is empty")
            )
            found.append((path, broken_rule(schema, code, message, _name_bounds(schema, "minItems", "maxItems"))))
        if schema.get("uniqueItems") is True and _has_double(value):
            found.append((path, broken_rule(schema, "invalid_value", "an element is there twice")))
        if "contains" in schema:
            fitting = sum(fits(one, schema["contains"], root, is_open=is_open) for one in value)
            if not schema.get("minContains", 1) <= fitting <= schema.get("maxContains", fitting):
                message = f"{fitting} elements are of the kind that is asked for"
                found.append((path, broken_rule(schema, "invalid_value", message)))
    before = schema.get("prefixItems", ())
    for place, one in enumerate(value):
        of = before[place] if place < len(before) else schema.get("items", True)
        found.extend(check_value(one, of, root, (*path, place), is_open=is_open))
        if len(found) >= MAX_PROBLEMS:  # nobody reads more, and a list can have thousands of them
            break
    return found


def _has_double(value: list[Json]) -> bool:
    return len(set(map(frozen, value))) < len(value)


def _check_keys(value: dict[str, Json], schema: Mapping[str, Json], root: Schema, path: Path, is_open: bool) -> Found:
    found: Found = []
    if schema.get("additionalProperties") is False:
        for key in [key for key in value if not _is_named(key, schema)][:20]:
            found.append(((*path, key), _unknown_key(key, schema)))
    missing = [key for key in schema.get("required", ()) if key not in value]
    for key, needed in schema.get("dependentRequired", {}).items():
        missing += [other for other in needed if key in value and other not in value]
    found.extend(((*path, key), Problem("", "missing_key", f'"{key[:60]}" is missing')) for key in missing)
    if "propertyNames" in schema:
        for key in value:
            found.extend(check_value(key, schema["propertyNames"], root, (*path, key), is_open=is_open))
    least, most = schema.get("minProperties"), schema.get("maxProperties")
    if (least is not None and len(value) < least) or (most is not None and len(value) > most):
        hint = _name_bounds(schema, "minProperties", "maxProperties")
        found.append((path, broken_rule(schema, "invalid_value", f"the object has {len(value)} members", hint)))
    return found


def _is_named(key: str, schema: Mapping[str, Json]) -> bool:
    return key in schema.get("properties", ()) or any(_fits(key, one) for one in schema.get("patternProperties", ()))


def _unknown_key(key: str, schema: Mapping[str, Json]) -> Problem:
    message = f'the key "{key[:60]}" is not known here'
    ours = schema.get("x-aliases", {}).get(key)
    if ours is not None:
        return Problem("", "unknown_key", message, OTHER_WORDS.format(ours))
    known = [name for name, of in schema.get("properties", {}).items() if of is True or "doNotSuggest" not in of]
    return Problem("", "unknown_key", message, did_you_mean(key, known))


def _members(value: dict[str, Json], schema: Mapping[str, Json]) -> Iterator[tuple[str, Json, Any]]:
    own, by_pattern = schema.get("properties", {}), schema.get("patternProperties", {})
    others = schema.get("additionalProperties")
    for key, member in value.items():
        if key in own:
            yield key, member, own[key]
        matching = [of for pattern, of in by_pattern.items() if _fits(key, pattern)]
        for of in matching:
            yield key, member, of
        if isinstance(others, Mapping) and key not in own and not matching:
            yield key, member, others


def _check_any(value: Json, schema: Mapping[str, Json], root: Schema, path: Path, is_open: bool) -> Found:
    """Of choices that do not fit, the mistakes of the first of the right type: it is the one that was meant."""
    meant: Found | None = None
    kinds: list[str] = []
    for choice in schema.get("anyOf", ()):
        found = check_value(value, choice, root, path, is_open=is_open)
        if not found:
            return []
        resolved = resolve_schema(choice, root)
        if isinstance(resolved, Mapping) and "x-aside" in resolved:
            continue  # an expression may stand for anything: nobody who did not write one meant one
        own = schema_kinds(choice, root)
        if meant is None and has_kind(value, own):
            meant = found
        kinds += [kind for kind in own or () if kind not in kinds]
    if "anyOf" not in schema:
        return []
    if meant is not None:
        return meant
    if kinds:
        return [(path, _wrong_kind(value, kinds))]
    return [(path, broken_rule(schema, "invalid_value", "this fits none of the forms that are known here"))]


def _check_one(value: Json, schema: Mapping[str, Json], root: Schema, path: Path, is_open: bool) -> Found:
    choices = schema.get("oneOf")
    if choices is None:
        return []
    fitting = sum(fits(value, choice, root, is_open=is_open) for choice in choices)
    if fitting == 1:
        return []
    keys = [key for choice in choices if isinstance(choice, Mapping) for key in choice.get("required", ())]
    if not isinstance(value, dict) or len(keys) != len(choices):
        message = f"this fits {fitting} of the forms that are known here, not one"
        return [(path, broken_rule(schema, "invalid_value", message))]
    if not fitting:
        return [(path, broken_rule(schema, "missing_key", f"one of these is needed: {', '.join(keys)}"))]
    given = ", ".join(key for key in keys if key in value)
    return [(path, broken_rule(schema, "conflicting_keys", f"only one of these may be given: {given}"))]
