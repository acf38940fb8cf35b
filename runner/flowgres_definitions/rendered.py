"""A configuration as its expressions made it, checked by the schema that the definition was checked by.

The import has checked what is written out. So for each step it is found once in which places an expression decides, and
of each attempt only these are looked at. One that is not as it should be is looked at as a whole: that gives all
problems, and what counts as absent or has a canonical form is treated as it is at the import.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Final

from .custom_types import MAX_CONFIG_PROBLEMS
from .description import Schema, config_schema, resolve_schema
from .expressions import holds_expression
from .form import form_value
from .problems import Json, Path, Problem, format_path
from .schema import Found, check_value, has_kind, schema_kinds

_MAX_QUOTED: Final = 60
_INVALID: Final = "the value is not valid here"
_UNQUOTED: Final = {
    "invalid_text": "the text is not valid here",
    "unknown_word": "the word is not known here",
    "out_of_range": "the number is out of range",
    "duration_invalid": "the text is no duration",
    "invalid_value": _INVALID,
}

_ABOUT: Final = frozenset({"title", "description", "default", "examples", "doNotSuggest", "enumDescriptions"})
_APART: Final = frozenset({"$defs", "$schema", "$id", "$comment"})
_OF_SCALARS: Final = frozenset(
    {"pattern", "format", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
)
_BY_PART: Final = frozenset({"type", "properties", "additionalProperties", "items", "prefixItems"})
_BY_KEY: Final = frozenset({"required", "dependentRequired", "propertyNames", "minProperties", "maxProperties"})
"""Rules that the import has settled: keys are no expressions."""
_TYPES: Final[Mapping[str, type]] = {"string": str, "boolean": bool, "integer": int, "object": dict, "array": list}
_BY_COUNT: Final = frozenset({"minItems", "maxItems"})
_RULES: Final = frozenset({"oneOf", "allOf", "not", "if", "then", "else"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression decides, and what may stand there.

    `has_form`: it may be no canonical form yet. Whatever is of the types `taken` may stand there.
    """

    path: Path
    schema: Schema
    has_form: bool
    taken: frozenset[type] = frozenset()


@dataclass(frozen=True, slots=True)
class ConfigRules:
    """What the configuration of a step type has to be: as it is written, and as it is rendered.

    `is_open`: the schema knows nothing of expressions, which may stand for any value, nor of canonical forms; so it is
    with those of packages.
    """

    written: Schema
    rendered: Schema
    is_open: bool

    @classmethod
    def of_package(cls, schema: Mapping[str, Json]) -> ConfigRules:
        """The rules of a package's type."""
        return cls(schema, schema, is_open=True)

    def settle(self, config: Json) -> tuple[Json, Found]:
        """The configuration in its canonical form, and what is wrong with it."""
        schema = self.rendered
        formed = config if self.is_open else form_value(config, schema, schema, (), {})
        found = check_value(formed, schema, schema)
        if found and not self.is_open:
            # What counted as absent was written all the same: that it gave null says more than that it is missing.
            found = check_value(_with_nulls(config, formed), schema, schema) or found
        return formed, found[:MAX_CONFIG_PROBLEMS]

    def find_places(self, template: Json) -> tuple[Place, ...]:
        """Where something is left to check of a configuration that is written like this."""
        if check_value(template, self.written, self.written, is_open=self.is_open):
            # The import knew another schema, or none.
            return (Place((), self.rendered, has_form=not self.is_open),)
        return tuple(self._find_places(self.rendered, template, ()))

    def _find_places(self, schema: Schema, template: Json, path: Path) -> Iterator[Place]:
        schema = resolve_schema(schema, self.rendered)
        if isinstance(schema, bool) or not holds_expression(template):
            return  # where nothing may stand nothing stood at the import
        rules = frozenset(_rules_of(schema))
        if not rules:
            return
        if isinstance(template, str) or not self._is_settled(schema, rules, template):
            kinds = schema_kinds(schema, self.rendered) if rules == {"type"} else None
            taken = frozenset(_TYPES[kind] for kind in kinds or () if kind in _TYPES)
            yield Place(path, schema, not self.is_open and _has_form(schema), taken)
            return
        for choice in schema.get("anyOf", ()):
            if has_kind(template, schema_kinds(choice, self.rendered)):
                yield from self._find_places(choice, template, path)
        parts = template.items() if isinstance(template, dict) else enumerate(template)
        for name, part in parts:
            for of in _schemas_of_part(schema, name):
                yield from self._find_places(of, part, (*path, name))

    def _is_settled(self, schema: Mapping[str, Json], rules: frozenset[str], template: Json) -> bool:
        """Whether all that a schema says of an object or list itself, not of its parts, is settled by the import."""
        unsettled = rules - _OF_SCALARS - _BY_PART - _BY_KEY
        if not unsettled:
            return True
        if self.is_open or schema.get("x-form") == "set":
            return False
        if isinstance(template, list):
            unsettled -= _BY_COUNT
        if "anyOf" in unsettled:
            fitting = [choice for choice in schema["anyOf"] if has_kind(template, schema_kinds(choice, self.rendered))]
            if len(fitting) != 1:
                return False
        unsettled -= {"anyOf"}
        if not unsettled <= (frozenset() if isinstance(template, list) else _RULES):
            return False
        looked_at = _members_looked_at({key: schema[key] for key in unsettled})
        return looked_at is not None and not any(holds_expression(template.get(name)) for name in looked_at)


class ConfigCheck:
    """What is left to check of one step's configuration; false when that is nothing.

    That is found when it is asked for: where it may take long, and not for steps that never run.
    """

    def __init__(self, rules: ConfigRules, template: Json) -> None:
        self._rules = rules
        self._template = template

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Where expressions decide."""
        return self._rules.find_places(self._template)

    def __bool__(self) -> bool:
        return bool(self.places)

    def settle(self, config: Json) -> tuple[Json, Found]:
        """The configuration in its canonical form, and what is wrong with it."""
        root, settled = self._rules.rendered, config
        for place in self.places:
            value = settled
            try:
                for name in place.path:
                    value = value[name]
            except (LookupError, TypeError):
                return self._rules.settle(config)
            if type(value) in place.taken:
                continue
            if value is None:
                return self._rules.settle(config)  # may count as absent
            if place.has_form:
                formed = form_value(value, place.schema, root, place.path, {})
                if formed is not value:
                    settled, value = _put(settled, place.path, formed), formed
            if check_value(value, place.schema, root, place.path):
                return self._rules.settle(config)
        return settled, []


@cache
def core_rules(kind: str, *, added: frozenset[str] = frozenset(), judged: frozenset[str] = frozenset()) -> ConfigRules:
    """The rules of a built-in type.

    `added` are members that no definition has, and the engine puts there; of those that are `judged` by whoever uses
    them only the type is checked.
    """
    written = config_schema(kind)
    rendered: Any = _without_expressions(written)
    members = rendered["properties"]
    members |= {name: {"type": members[name]["type"]} for name in judged} | dict.fromkeys(added, True)
    return ConfigRules(written, rendered, is_open=False)


def describe_config_problems(found: Found) -> tuple[str, Json]:
    """A sentence about the first problem, and all of them as JSON: [{path, code, message}].

    No value is quoted: it may hold a secret, and half of one is masked nowhere.
    """
    placed = [(_format_path(path), _unquoted(path, problem)) for path, problem in found]
    where, first = placed[0]
    sentence = f"{where}: {first.message}" + (f" ({first.hint})" if first.hint else "")
    return sentence, [{"path": path, "code": problem.code, "message": problem.message} for path, problem in placed]


def own_codes(schema: Schema, path: Path) -> set[str]:
    """The codes that a schema without references names for what is wrong at a path."""
    if isinstance(schema, bool):
        return set()
    codes = {schema["x-code"]} if "x-code" in schema and not path else set()
    for key in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(key, ()):
            codes |= own_codes(part, path)
    for of in _schemas_of_part(schema, path[0]) if path else ():
        codes |= own_codes(of, path[1:])
    return codes


def _unquoted(path: Path, problem: Problem) -> Problem:
    message = _UNQUOTED.get(problem.code, problem.message)
    if message.startswith('"') and problem.code != "missing_key":
        message = _INVALID
    if problem.code == "unknown_key" and len(str(path[-1])) > _MAX_QUOTED:
        message = "this key is not known here"
    return replace(problem, message=message)


def _format_path(path: Path) -> str:
    named = ("…" if isinstance(part, str) and len(part) > _MAX_QUOTED else part for part in path)
    return format_path(("config", *named))


def _rules_of(schema: Mapping[str, Json]) -> Iterator[str]:
    return (key for key in schema if key not in _ABOUT | _APART and not key.startswith("x-"))


def _has_form(schema: Schema) -> bool:
    """Whether the canonical form of a value may be another one: a word of it, or without members that are null."""
    text = json.dumps(schema)
    return any(word in text for word in ('"x-form"', '"x-bare"', '"properties"', '"additionalProperties": false'))


def _schemas_of_part(schema: Mapping[str, Json], name: str | int) -> Iterator[Schema]:
    """What a schema says of one member or element."""
    if isinstance(name, int):
        before: Sequence[Schema] = schema.get("prefixItems", ())
        yield before[name] if name < len(before) else schema.get("items", True)
        return
    if name in schema.get("properties", ()):
        yield schema["properties"][name]
    elif "additionalProperties" in schema:
        yield schema["additionalProperties"]


def _members_looked_at(rules: Json) -> set[str] | None:
    """Members whose values, not only their presence, decide about rules of an object; None when that is not known."""
    if isinstance(rules, bool):
        return set()
    names: set[str] = set()
    for key in _rules_of(rules):
        if key == "properties":
            names |= rules[key].keys()
        elif key in _RULES or key == "anyOf":
            for part in rules[key] if isinstance(rules[key], list) else [rules[key]]:
                inner = _members_looked_at(part)
                if inner is None:
                    return None
                names |= inner
        elif key not in _BY_KEY:
            return None
    return names


def _with_nulls(config: Json, formed: Json) -> Json:
    """A canonical form with the members that it left out because they were null."""
    if isinstance(config, dict) and isinstance(formed, dict):
        nulls = {name: None for name, value in config.items() if value is None}
        return {**{name: _with_nulls(config.get(name), value) for name, value in formed.items()}, **nulls}
    if isinstance(config, list) and isinstance(formed, list) and len(config) == len(formed):
        return [_with_nulls(*pair) for pair in zip(config, formed, strict=True)]
    return formed


def _put(value: Json, path: Path, part: Json) -> Json:
    """The value with another part at a path; what it was itself stays as it is."""
    if not path:
        return part
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _put(copy[path[0]], path[1:], part)
    return copy


_EXPRESSION: Final = r"\{\{"


def _without_expressions(schema: Json) -> Json:
    """A schema of the description for what expressions gave: they themselves may stand nowhere any more."""
    if isinstance(schema, list):
        return [_without_expressions(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    given = {key: _without_expressions(part) for key, part in schema.items()}
    if "anyOf" in given:
        choices = [choice for choice in given["anyOf"] if "x-aside" not in choice]
        given["anyOf"] = choices
        rest = {key: part for key, part in given.items() if key != "anyOf"}
        if len(choices) == 1 and set(_rules_of(rest)).isdisjoint(_rules_of(choices[0])):
            given = {**choices[0], **rest}
    pattern = given.get("pattern")
    if pattern == _EXPRESSION:
        # Text was written there for nothing else.
        del given["pattern"]
        given["type"] = [kind for kind in schema_kinds(given, given) or () if kind != "string"]
    elif isinstance(pattern, str):
        given["pattern"] = pattern.removesuffix(f"|{_EXPRESSION}")
    return given
