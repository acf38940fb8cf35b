"""The OpenAPI 3.1 document: functions at PostgREST's address, routes at the front's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.routing import BaseRoute, Route

from flowgres_front.describing import Answer, Body, Codes, Description, Parameter, description_of, text_of
from flowgres_front.documentation.functions import function_paths
from flowgres_front.problems import MEDIA_TYPE

Json = Any

_ABOUT = """\
The API has two addresses. Functions (`/rpc/...`) are served by PostgREST, as are views, which its own document at
its root describes with their filters; everything else here is the front's.

Say who you are with the header `X-API-Key: fg_live_...`, or with `Authorization: Bearer <JWT>` (from `POST /token`);
both together are refused.

Every error has a stable `code`, a sentence and a hint. PostgREST's are `{code, message, details, hint}`, the front's
are problem documents (RFC 9457) with `code` and `hint`."""


def openapi_document(
    routes: Iterable[BaseRoute],
    functions: Mapping[str, Json],
    *,
    version: str,
    api_address: str,
    front_address: str,
) -> dict[str, Json]:
    """All of it, as JSON. `functions` is what flowgres.described_functions() answers."""
    codes = {
        name: {int(status): listed for status, listed in function["errors"].items()}
        for name, function in functions.items()
    }
    paths: dict[str, dict[str, Json]] = {}
    for route in routes:
        description = description_of(route)
        if isinstance(route, Route) and description is not None:
            for method in sorted((route.methods or set()) - {"HEAD"}):
                paths.setdefault(route.path_format, {})[method.lower()] = _operation(route, description, method, codes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "flowgres", "version": version, "description": _ABOUT},
        "servers": [{"url": front_address, "description": "The front"}],
        "security": [{"ApiKey": []}, {"JWT": []}],
        "paths": {**dict(sorted(paths.items())), **function_paths(functions, server=api_address)},
        "components": {
            "securitySchemes": {
                "ApiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "An API key: fg_live_...",
                },
                "JWT": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From POST /token"},
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "description": "An error of PostgREST, or of a function through it",
                    "properties": {
                        "code": {"type": "string", "description": "A stable word"},
                        "message": {"type": "string", "description": "A sentence"},
                        "details": {"type": ["string", "null"], "description": "What it is about"},
                        "hint": {"type": ["string", "null"], "description": "How to mend it"},
                    },
                    "required": ["code", "message", "details", "hint"],
                },
                "Problem": {
                    "type": "object",
                    "description": "An error of the front: RFC 9457",
                    "properties": {
                        "type": {"type": "string", "description": "urn:flowgres:problem: and the code"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string", "description": "A sentence"},
                        "code": {"type": "string", "description": "A stable word"},
                        "hint": {"type": ["string", "null"], "description": "How to mend it"},
                    },
                    "required": ["type", "title", "status", "detail", "code", "hint"],
                },
            },
        },
    }


def _operation(
    route: Route, description: Description, method: str, of_functions: Mapping[str, Codes]
) -> dict[str, Json]:
    errors = description.codes(of_functions)
    # Whatever a route does: the front may have a fault, be at work for others, or be without its database.
    errors.setdefault(500, ["internal_error"])
    errors.setdefault(503, ["front_busy", "database_unreachable", "outcome_unknown"])
    operation: dict[str, Json] = {
        "operationId": "_".join([method.lower(), *re.findall(r"\w+", route.path_format)]),
        "summary": description.title,
        "description": text_of(route),
        "tags": [description.topic],
        **({"security": []} if description.is_public else {}),
        "parameters": [_parameter(one) for one in description.parameters],
        "responses": {
            **{str(status): _answer(answer) for status, answer in description.answers.items()},
            **{
                str(status): _problem(status, codes)
                for status, codes in errors.items()
                if status not in description.answers
            },
        },
    }
    if description.body is not None:
        operation["requestBody"] = _body(description.body)
    return operation


def _parameter(parameter: Parameter) -> dict[str, Json]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.means,
        "schema": parameter.schema,
    }


def _body(body: Body) -> dict[str, Json]:
    return {
        "required": body.is_required,
        "content": {media_type: {"schema": schema} for media_type, schema in body.content.items()},
    }


def _answer(answer: Answer) -> dict[str, Json]:
    found: dict[str, Json] = {"description": answer.means}
    if answer.content:
        found["content"] = {media_type: {"schema": schema} for media_type, schema in answer.content.items()}
    if answer.headers:
        found["headers"] = {
            name: {"description": means, "schema": {"type": "string"}} for name, means in answer.headers.items()
        }
    return found


def _problem(status: int, codes: list[str]) -> dict[str, Json]:
    """A problem with one of these codes; what a server lacks (5xx) has more words than a caller has to tell apart."""
    is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    schema: dict[str, Json] = {"$ref": "#/components/schemas/Problem"}
    if not is_ours:
        schema = {"allOf": [schema, {"properties": {"code": {"enum": codes}}}]}
    return {"description": ", ".join(codes), "content": {MEDIA_TYPE: {"schema": schema}}}
