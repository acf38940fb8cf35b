"""The description of the language as an author meets it: every place where a key or a word may stand, in a document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from flowgres_definitions.description import description, find_schema
from flowgres_definitions.form import form_definition
from flowgres_definitions.problems import Path, format_path
from flowgres_definitions.schema import check_value

Json = Any
Build = Callable[[Json], Json]
"""A document around a part."""

CURSOR = "cursor-is-here"
NAME = "some_name"
"""Where an author chooses the key."""


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """An object: which keys may be written into it beside those that are there, and what they are for.

    `samples` are values of those keys, null where the description shows none. `also` are keys of other forms of it,
    between which those that are there do not decide.
    """

    path: Path
    build: Build
    given: dict[str, Json]
    keys: dict[str, str]
    samples: dict[str, Json] = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    needed: tuple[str, ...] = ()
    is_closed: bool = False

    def __str__(self) -> str:
        return f"{format_path(self.path)}{self.given or ''}"

    def document(self, **more: Json) -> Json:
        """A document with the object, and more members of it."""
        return self.build({**self.given, **more})


@dataclass(frozen=True, slots=True)
class WordPlace:
    """A value that is one of some words, with what each is for."""

    path: Path
    build: Build
    words: dict[str, str] = field(hash=False)

    def refuses(self, word: Json) -> bool:
        """Whether our own check finds something wrong with a word there."""
        root = description()
        found = check_value(form_definition(self.build(word), {}), root, root)
        return any(path == self.path for path, _ in found)

    def __str__(self) -> str:
        return format_path(self.path)


@dataclass(slots=True)
class _Form:
    """All that is said of one value: schemas without references, and what depends on its members."""

    schemas: list[Mapping[str, Json]] = field(default_factory=list)
    branches: list[tuple[dict[str, Json], list[Json]]] = field(default_factory=list)
    choices: list[list[Json]] = field(default_factory=list)

    def add(self, schema: Json) -> None:
        if not isinstance(schema, Mapping):
            return
        self.schemas.append(schema)
        if "$ref" in schema:
            self.add(find_schema(description(), schema["$ref"]))
        for part in schema.get("allOf", ()):
            if "if" in part:
                self.branches.append((_seed(part["if"]), [part.get("then", True)]))
            else:
                self.add(part)
        if "anyOf" in schema:
            self.choices.append([one for one in schema["anyOf"] if "x-aside" not in _target(one)])


class _Dumper(yaml.SafeDumper):
    """Lists stand further in than their key, as in all of our examples."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def places() -> Iterator[KeyPlace | WordPlace]:
    """Every place of the description, from the root on."""
    yield from _walk([description()], (), lambda part: part)


def dump(document: Json) -> str:
    """A document in YAML."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def show(document: Json, *, instead: str = "") -> tuple[str, int, int]:
    """A document in YAML with something else where CURSOR was, and where that is: line and column from 0."""
    lines = dump(document).split("\n")
    for number, line in enumerate(lines):
        column = line.find(CURSOR)
        if column >= 0:
            lines[number] = line[:column] + instead
            return "\n".join(lines), number, column
    raise AssertionError("there is no cursor")


def _walk(node: list[Json], path: Path, build: Build) -> Iterator[KeyPlace | WordPlace]:
    form = _Form()
    for schema in node:
        form.add(schema)
    if words := _words(form.schemas):
        yield WordPlace(path, build, words)
    if not form.choices:
        yield from _walk_form(form, path, build)
        return
    (choices,) = form.choices
    for choice in choices:
        chosen = _Form([*form.schemas], [*form.branches])
        chosen.add(choice)
        # What the choices have in common was told of already.
        own = _Form()
        own.add(choice)
        assert not own.choices
        if words := _words(own.schemas):
            yield WordPlace(path, build, words)
        yield from _walk_form(chosen, path, build)


def _walk_form(form: _Form, path: Path, build: Build) -> Iterator[KeyPlace | WordPlace]:
    members = _members(form.schemas)
    if members:
        variants = [(seed, _thens(then)) for seed, then in form.branches if _may_be(seed, members)]
        also = frozenset(name for _, then in variants for name in _all_members(then))
        yield _key_place(form.schemas, path, build, {}, also)
        for name, node in members.items():
            yield from _walk(node, (*path, name), _around(build, {}, name))
        for seed, then in variants:
            own, both = _all_members(then), _members([*form.schemas, *then])
            if own:
                yield _key_place([*form.schemas, *then], path, build, seed, frozenset())
            for name in own.keys() & both.keys():
                yield from _walk(both[name], (*path, name), _around(build, seed, name))
    for schema in form.schemas:
        # What holds itself has been told of.
        if isinstance(of := schema.get("additionalProperties"), Mapping) and of not in form.schemas:
            yield from _walk([of], (*path, NAME), _around(build, {}, NAME))
        if isinstance(of := schema.get("items"), Mapping) and of not in form.schemas:
            yield from _walk([of], (*path, 0), lambda part: build([part]))


def _key_place(
    schemas: list[Mapping[str, Json]], path: Path, build: Build, given: dict[str, Json], also: frozenset[str]
) -> KeyPlace:
    every = {name: node for name, node in _all_members(schemas).items() if name not in given}
    hidden = frozenset(name for name, node in every.items() if all("doNotSuggest" in one for one in node))
    return KeyPlace(
        path=path,
        build=build,
        given=given,
        keys={name: _about(node) for name, node in every.items() if name not in hidden},
        samples={name: _sample(every[name]) for name in every.keys() - hidden},
        also=also,
        hidden=hidden,
        needed=tuple(name for schema in schemas for name in schema.get("required", ()) if name not in given),
        is_closed=any(schema.get("additionalProperties") is False for schema in schemas),
    )


def _around(build: Build, seed: dict[str, Json], name: str) -> Build:
    return lambda part: build({**{key: value for key, value in seed.items() if key != name}, name: part})


def _may_be(seed: dict[str, Json], members: dict[str, list[Json]]) -> bool:
    """Whether such members may stand there at all."""
    root = description()
    return all(check_value(value, of, root) == [] for name, value in seed.items() for of in members.get(name, ()))


def _thens(then: list[Json]) -> list[Mapping[str, Json]]:
    form = _Form()
    for schema in then:
        form.add(schema)
    return form.schemas


def _all_members(schemas: list[Mapping[str, Json]]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for schema in schemas:
        for name, of in schema.get("properties", {}).items():
            found.setdefault(name, []).extend([of] if isinstance(of, Mapping) else [])
    return found


def _members(schemas: list[Mapping[str, Json]]) -> dict[str, list[Json]]:
    """Members that an author may write, with all that is said of them."""
    every = _all_members(schemas)
    return {name: node for name, node in every.items() if not all("doNotSuggest" in one for one in node)}


def _words(schemas: list[Mapping[str, Json]]) -> dict[str, str]:
    for schema in schemas:
        told = schema.get("description", "") or next(
            (one["description"] for one in schemas if "description" in one), ""
        )
        if "enum" in schema:
            each = schema.get("enumDescriptions", [told] * len(schema["enum"]))
            return dict(zip(map(str, schema["enum"]), each, strict=True))
        if schema.get("type") == "boolean":
            return {"true": told, "false": told}
    return {}


def _about(node: list[Json]) -> str:
    """What is told of a member: the nearest word about it, along its references."""
    for schema in node:
        while "description" not in schema and "$ref" in schema:
            schema = find_schema(description(), schema["$ref"])
        if "description" in schema:
            return str(schema["description"])
    return ""


def _sample(node: list[Json]) -> Json:
    for schema in node:
        while "examples" not in schema and "default" not in schema and "$ref" in schema:
            schema = find_schema(description(), schema["$ref"])
        for value in (*schema.get("examples", ()), schema.get("default")):
            if value is not None:
                return value
    return None


def _target(schema: Json) -> Mapping[str, Json]:
    while isinstance(schema, Mapping) and "$ref" in schema:
        schema = find_schema(description(), schema["$ref"])
    return schema if isinstance(schema, Mapping) else {}


def _seed(condition: Mapping[str, Json]) -> dict[str, Json]:
    """The members that make a condition hold."""
    seed: dict[str, Json] = {}
    for name, of in condition.get("properties", {}).items():
        target = _target(of)
        if "const" in target:
            seed[name] = target["const"]
        elif "enum" in target:
            seed[name] = target["enum"][0]
    return seed
