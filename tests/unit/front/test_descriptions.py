"""Routes describe themselves: each, and as much as the document needs."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Route

from flowgres_front.app import routes
from flowgres_front.describing import description_of, text_of
from flowgres_front.documentation.shapes import answer_shape

ROUTES = [route for route in routes() if isinstance(route, Route)]


def test_every_route_is_one_that_can_be_described() -> None:
    assert len(ROUTES) == len(routes())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.path} {sorted(route.methods or ())}")
def test_every_route_describes_itself(route: Route) -> None:
    description = description_of(route)

    assert description is not None, f"{route.path}: put @describe(...) above its handler"
    assert text_of(route)
    named = {one.name for one in description.parameters if one.place == "path"}
    assert named == set(re.findall(r"{(\w+)", route.path_format))
    assert description.answers
    assert all(status < 400 or status == 503 for status in description.answers)
    assert all(400 <= status < 600 and codes for status, codes in description.codes({}).items())


def closed(**members: object) -> dict[str, object]:
    """The schema of an object with these members and no others."""
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


@pytest.mark.parametrize(
    ("comment", "shape"),
    [
        ("Runs it. Nothing is said.", None),
        ("Returns their ids.", None),
        ("Returns {a, b}; more.", closed(a={}, b={})),
        ("Returns {a,\n  ...}", {"type": "object", "properties": {"a": {}}, "required": ["a"]}),
        ("Returns {list: [{x}], b}", closed(list={"type": "array", "items": closed(x={})}, b={})),
        ("Returns [id]: some.", {"type": "array", "items": {}}),
        ("Returns true. Or fails.", {"const": True}),
        ("Returns truth.", None),
    ],
)
def test_answers_are_read_from_comments(comment: str, shape: object) -> None:
    assert answer_shape(comment) == shape


@pytest.mark.parametrize("comment", ["Returns {a", "Returns {a b}", "Returns [{a}", "Returns {a: 5}", "Returns {A}"])
def test_shape_that_cannot_be_read_is_words(comment: str) -> None:
    assert answer_shape(comment) is None
