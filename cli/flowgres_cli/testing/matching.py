"""Comparing what is expected with what there is: place by place, so that a difference can be pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowgres_definitions.strict_json import is_same

Json = Any
Path = tuple[str | int, ...]

ANY = "$any"
MATCHES = "$matches"
KINDS: Mapping[str, tuple[type, ...]] = {
    "value": (object,),
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}
ABSENT = object()
"""What is not there at all, where null would be something."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where something else stands than was expected; either side may be ABSENT."""

    path: Path
    expected: Any
    got: Any


def compare(expected: Json, got: Any, *, is_exact: bool, path: Path = ()) -> Iterator[Difference]:
    """The differences. Of objects only the members that are expected count, unless `is_exact`; lists count whole.

    `{$any: string}` stands for whatever is of that kind, `{$matches: "..."}` for a text in which a pattern is found.
    """
    if is_matcher(expected):
        if not _meets(expected, got):
            yield Difference(path, expected, got)
    elif isinstance(expected, dict) and isinstance(got, dict):
        for key, member in expected.items():
            yield from compare(member, got.get(key, ABSENT), is_exact=is_exact, path=(*path, key))
        if is_exact:
            yield from (Difference((*path, key), ABSENT, got[key]) for key in got if key not in expected)
    elif isinstance(expected, list) and isinstance(got, list):
        for place in range(max(len(expected), len(got))):
            ours = expected[place] if place < len(expected) else ABSENT
            theirs = got[place] if place < len(got) else ABSENT
            if ours is ABSENT or theirs is ABSENT:
                yield Difference((*path, place), ours, theirs)
            else:
                yield from compare(ours, theirs, is_exact=is_exact, path=(*path, place))
    elif got is ABSENT or not is_same(expected, got):
        yield Difference(path, expected, got)


def fits(expected: Json, got: Any) -> bool:
    """Whether there is no difference in what is expected."""
    return next(compare(expected, got, is_exact=False), None) is None


def is_matcher(value: Json) -> bool:
    """Whether it stands for several values."""
    return isinstance(value, dict) and len(value) == 1 and (ANY in value or MATCHES in value)


def find_matcher_fault(value: Json) -> tuple[Path, str] | None:
    """The first matcher in a value that is none: where, and why."""
    todo: list[tuple[Path, Json]] = [((), value)]
    while todo:
        path, one = todo.pop()
        if isinstance(one, dict):
            if is_matcher(one):
                why = _fault(one)
                if why is not None:
                    return path, why
                continue
            todo.extend(((*path, key), member) for key, member in one.items())
        elif isinstance(one, list):
            todo.extend(((*path, place), member) for place, member in enumerate(one))
    return None


def glob(pattern: str) -> re.Pattern[str]:
    """A pattern in which `*` stands for anything."""
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def fits_url(pattern: str, url: str) -> bool:
    """Whether an address is meant. Without a `?` in the pattern the query does not count, and no path is the path /."""
    if "?" not in pattern:
        url = url.partition("?")[0]
    scheme, mark, rest = pattern.partition("://")
    if mark and "/" not in rest and "*" not in rest:
        pattern = f"{scheme}://{rest}/"
    return glob(pattern).fullmatch(url) is not None


def _fault(matcher: Mapping[str, Json]) -> str | None:
    if ANY in matcher:
        known = ", ".join(KINDS)
        return None if matcher[ANY] in KINDS else f"{ANY} takes one of {known}"
    try:
        re.compile(matcher[MATCHES])
    except (re.error, TypeError):
        return f"{MATCHES} takes a regular expression"
    return None


def _meets(matcher: Mapping[str, Json], got: Any) -> bool:
    if got is ABSENT:
        return False
    if ANY in matcher:
        kind = matcher[ANY]
        return isinstance(got, KINDS[kind]) and (kind != "number" or not isinstance(got, bool))
    return isinstance(got, str) and re.search(matcher[MATCHES], got) is not None
