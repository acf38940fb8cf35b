"""From what authors may write to the canonical form, as the description says; the twin of schema_form.sql.

Nothing is refused here: what cannot be understood stays, for the check to name it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from .description import Schema, description, resolve_schema
from .durations import normalise_duration
from .problems import Json, Path
from .schema import fits, has_kind, schema_kinds
from .strict_json import frozen, is_number

Moves = dict[Path, Path]
"""Where the author wrote a value, by where it stands now."""

_CONSTRAINTS = frozenset({"type", "enum", "const", "not", "anyOf", "oneOf", "allOf", "$ref"})


def form_definition(document: dict[str, Json], moves: Moves) -> dict[str, Json]:
    """A definition with every value in its canonical form; what stands where is as the author wrote it."""
    schema = description()
    given = {key: value for key, value in document.items() if key != "$schema"}
    formed: dict[str, Json] = form_value(given, schema, schema, (), moves)
    return formed


def form_value(value: Json, schema: Schema, root: Schema, path: Path, moves: Moves) -> Json:
    """A value in the canonical form of its schema; applying it again changes nothing."""
    schema = resolve_schema(schema, root)
    if isinstance(schema, bool):
        return value
    form = schema.get("x-form")
    if "x-bare" in schema and is_number(value):
        moves[(*path, schema["x-bare"])] = path
        value = {schema["x-bare"]: value}
    for choice in schema.get("anyOf", ()):
        # The choice that the value is made for says what its parts are.
        if has_kind(value, schema_kinds(choice, root)):
            value = form_value(value, choice, root, path, moves)
            break
    if form in ("list", "set"):
        items = schema.get("items", schema.get("anyOf", [{}])[0].get("items", True))
        if not isinstance(value, list) and has_kind(value, schema_kinds(items, root)):
            moves[(*path, 0)] = path
            value = [value]
    elif form is not None and has_kind(value, schema_kinds(schema, root)):
        value = _word(value, form)
    if isinstance(value, list) and "items" in schema:
        value = [form_value(one, schema["items"], root, (*path, place), moves) for place, one in enumerate(value)]
        if form == "set":
            value = _join(value, path, moves)
    elif isinstance(value, dict) and ("properties" in schema or "additionalProperties" in schema):
        value = _members(value, schema, root, path, moves)
    for part in schema.get("allOf", ()):
        if "if" not in part:
            value = form_value(value, part, root, path, moves)
        elif "then" in part and fits(value, part["if"], root):
            value = form_value(value, part["then"], root, path, moves)
    return value


def _members(
    value: dict[str, Json], schema: Mapping[str, Json], root: Schema, path: Path, moves: Moves
) -> dict[str, Json]:
    own, others = schema.get("properties", {}), schema.get("additionalProperties")
    formed: dict[str, Json] = {key: of["default"] for key, of in own.items() if isinstance(of, dict) and "x-fill" in of}
    for key, member in value.items():
        of = own.get(key)
        if member is None:
            # Counts as absent, but where any value is one.
            closed = of is None and others is False
            if not closed and (not isinstance(of, dict) or _CONSTRAINTS.isdisjoint(of)):
                formed[key] = None
        elif of is not None or isinstance(others, Mapping):
            formed[key] = form_value(member, own.get(key, others), root, (*path, key), moves)
        else:
            formed[key] = member
    return formed


def _join(value: list[Json], path: Path, moves: Moves) -> list[Json]:
    joined: list[Json] = []
    known: set[Hashable] = set()
    for place, one in enumerate(value):
        key = frozen(one)
        if key not in known:
            known.add(key)
            if len(joined) < place:
                moves[(*path, len(joined))] = (*path, place)
            joined.append(one)
    return joined


def _word(value: Json, form: str) -> Json:
    if form == "seconds":
        return normalise_duration(value)
    if form in ("text", "word"):
        if is_number(value):
            return str(int(value) if value == int(value) else value)
        return _lower(value) if form == "word" and isinstance(value, str) else value
    if not isinstance(value, str) or "{{" in value:
        return value
    return _upper(value) if form == "upper" else _lower(value)


def _lower(text: str) -> str:
    # As SQL does in the collation "C": ASCII alone.
    return "".join(char.lower() if char.isascii() else char for char in text)


def _upper(text: str) -> str:
    return "".join(char.upper() if char.isascii() else char for char in text)
