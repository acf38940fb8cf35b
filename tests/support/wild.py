"""Definitions as nobody would write them: any JSON, and sound definitions of which something was changed."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from hypothesis import strategies as st

from flowgres_definitions.description import description_text
from tests.support.parity import ALIKE
from tests.support.parity_aliases import ALIASES
from tests.support.parity_machines import ODD

Json = Any
_Spot = tuple[Any, Any]

_SCHEMA = description_text()
_WORDS = sorted({word for word in re.findall(r"[a-z_]{2,14}", _SCHEMA) if f'"{word}"' in _SCHEMA})
_TRICKY = [
    *("", "{{ input.x }}", "{{ steps.a.output }}", "{{ x", "30s", "PT5M", "503", "5xx", "$.x", "\u202e", "ä", "a", "w"),
    *("task_type", "step_order", "max_retries", "on_true", "on_false", "foreach", "states", "dialect"),
    *("*", "new", "open", "done", "transitions", "field_required", "$.metadata.amount > 1", " a", "a\u00a0b"),
]

_TEXTS = st.one_of(
    st.sampled_from(_WORDS),
    st.sampled_from(_TRICKY),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 5.0, 2.5, 503, 10**15, 10**25, 1e30, -0.5]),
    _TEXTS,
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)
"""Any JSON, in which the words of the language are frequent."""

_SOUND = [json.dumps(definition) for definition, _ in [*ALIKE, *ALIASES, *ODD] if len(json.dumps(definition)) < 4_000]


def _spots(document: Json) -> list[_Spot]:
    """Every place in a document: its container, and the key or index in it."""
    found: list[_Spot] = []
    todo = [document]
    while todo:
        value = todo.pop()
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, member in list(members):
            found.append((value, key))
            todo.append(member)
    return found


@st.composite
def nearly_valid(draw: st.DrawFn) -> Json:
    """A definition from the list of those that both checks know, with up to three changes."""
    document = json.loads(draw(st.sampled_from(_SOUND)))
    for _ in range(draw(st.integers(1, 3))):
        spots = _spots(document)
        if not spots:
            break
        container, key = draw(st.sampled_from(spots))
        change = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add", "wrap", "copy"]))
        if change == "replace":
            container[key] = draw(VALUES)
        elif change == "remove":
            del container[key]
        elif change == "rename" and isinstance(container, dict):
            container[draw(_TEXTS)] = container.pop(key)
        elif change == "add" and isinstance(container, dict):
            container[draw(_TEXTS)] = draw(VALUES)
        elif change == "wrap":
            container[key] = draw(st.sampled_from([[container[key]], {"a": container[key]}]))
        else:
            other, place = draw(st.sampled_from(spots))
            container[key] = copy.deepcopy(other[place]) if place in other or isinstance(other, list) else None
    return document


_NAMES = st.sampled_from(["a", "b", "c", "d", "*"])
_SLAS = st.fixed_dictionaries({"after": st.sampled_from([1, "1h"]), "to": _NAMES})


@st.composite
def wild_machines(draw: st.DrawFn) -> Json:
    """A state machine that may be sound, of few states, so that ways meet: what is odd about one shows only in such."""
    states = [
        {"name": name, "initial": place == 0, "final": draw(st.booleans())} | _sometimes(draw, "sla", _SLAS)
        for place, name in enumerate("abcd"[: draw(st.integers(1, 4))])
    ]
    ways = draw(st.lists(_ways(), max_size=6))
    document = {"name": "w", "states": states} | ({"transitions": ways} if ways else {})
    if draw(st.integers(0, 3)) == 0:
        container, key = draw(st.sampled_from(_spots(document)))
        container[key] = draw(VALUES)
    return document


@st.composite
def _ways(draw: st.DrawFn) -> Json:
    way: dict[str, Json] = {"from": draw(_NAMES), "to": draw(_NAMES)}
    conditions = st.dictionaries(st.sampled_from(["field_required", "limit", "a b"]), _SCALARS, max_size=2)
    starts = st.fixed_dictionaries({"workflow": st.just("ship")}, optional={"on_success": _NAMES, "on_failure": _NAMES})
    for key, values in (("conditions", conditions), ("enforce", st.booleans()), ("start", starts), ("name", _TEXTS)):
        way |= _sometimes(draw, key, values)
    return way


def _sometimes(draw: st.DrawFn, key: str, values: st.SearchStrategy[Json]) -> dict[str, Json]:
    return {key: draw(values)} if draw(st.integers(0, 2)) == 0 else {}
