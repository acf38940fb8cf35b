"""How a route says what it takes and gives: beside its handler, in the words of OpenAPI and JSON Schema.

The handler's docstring is the text. What is the same for many routes (credentials, bodies) is said here, once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.routing import BaseRoute, Route

from flowgres_front.bodies import JSON_TYPES

Schema = Mapping[str, Any]
Codes = Mapping[int, Sequence[str]]
Handler = TypeVar("Handler", bound=Callable[..., Any])

_ATTRIBUTE = "flowgres_description"
JSON_TYPE = next(iter(JSON_TYPES))

OF_CREDENTIALS: Codes = {
    400: ("header_repeated", "ambiguous_credentials"),
    401: ("invalid_credentials", "tenant_required"),
    403: ("insufficient_role", "tenant_suspended"),
    429: ("too_many_at_once",),
}
"""What may come back wherever a caller has to say who it is."""
OF_BODIES: Codes = {
    400: (
        *("invalid_json", "duplicate_key", "json_too_deep", "invalid_text", "too_many_values"),
        *("object_expected", "body_incomplete"),
    ),
    408: ("body_timeout",),
    413: ("body_too_large",),
    415: ("unsupported_media_type", "unsupported_encoding"),
    429: ("too_many_at_once",),
}
"""What may come back wherever a body is read."""
OF_PATHS: Codes = {404: ("route_not_found",)}
"""What may come back wherever a part of the path is given: not every text can be one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One status that is no error: what it means, and the schema of its body by media type; none for no body."""

    means: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: a schema by media type, and whether it may be left out."""

    content: Mapping[str, Schema]
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the path, the query or the headers. Those of the path are required."""

    name: str
    place: str
    means: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True)
class Description:
    """All that is known of a route but its text.

    `errors` are codes by status, beyond those of credentials, bodies and paths, and those of the functions of the API
    that it `calls`.
    """

    title: str
    topic: str
    answers: Mapping[int, Answer]
    errors: Codes = field(default_factory=dict)
    calls: Sequence[str] = ()
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    is_public: bool = False

    def codes(self, of_functions: Mapping[str, Codes]) -> dict[int, list[str]]:
        """All codes of errors by status; `of_functions` are those of each function of the API."""
        found: dict[int, set[str]] = {}
        for codes in (
            self.errors,
            {} if self.is_public else OF_CREDENTIALS,
            {} if self.body is None else OF_BODIES,
            *(of_functions.get(name, {}) for name in self.calls),
            OF_PATHS if any(one.place == "path" for one in self.parameters) else {},
        ):
            for status, names in codes.items():
                found.setdefault(status, set()).update(names)
        return {status: sorted(names) for status, names in sorted(found.items())}


def json_answer(means: str, schema: Schema) -> Answer:
    """An answer in JSON."""
    return Answer(means, {JSON_TYPE: schema})


def json_object(properties: Mapping[str, Schema], *, optional: Sequence[str] = (), is_closed: bool = False) -> Schema:
    """The schema of an object that has these members, all of them but the `optional` ones; no others if `is_closed`."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        **({"additionalProperties": False} if is_closed else {}),
    }


def describe(
    title: str,
    *,
    topic: str,
    answers: Mapping[int, Answer],
    errors: Codes | None = None,
    calls: Sequence[str] = (),
    parameters: Sequence[Parameter] = (),
    body: Body | None = None,
    is_public: bool = False,
) -> Callable[[Handler], Handler]:
    """Say of a handler what it takes and gives; stands right above it. `is_public`: anybody may ask."""
    description = Description(title, topic, answers, errors or {}, calls, parameters, body, is_public)

    def decorate(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, description)
        return handler

    return decorate


def description_of(route: BaseRoute) -> Description | None:
    """What was said of a route's handler; None when nobody did."""
    found = getattr(route.endpoint, _ATTRIBUTE, None) if isinstance(route, Route) else None
    return found if isinstance(found, Description) else None


def text_of(route: Route) -> str:
    """The docstring of a route's handler, without its indentation."""
    return inspect.getdoc(route.endpoint) or ""
