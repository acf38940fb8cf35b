"""The functions of the API as operations of OpenAPI: made of what flowgres.described_functions() answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_front.describing import JSON_TYPE, Codes
from flowgres_front.documentation.shapes import answer_shape

Json = Any

_POSTGRESTS_OWN: Codes = {
    400: ("PGRST102",),
    403: ("42501",),
    404: ("PGRST202",),
    406: ("PGRST107",),
    415: ("PGRST107",),
    500: (),
    503: ("PGRST001", "PGRST002", "PGRST003"),
}
"""What PostgREST answers of itself to any call: no JSON, no right, no such arguments or media type, no database."""
_ANY_SQLSTATE = "^(PGRST[0-9]{3}|[0-9A-Z]{5})$"
_ANYBODY = "anon"
_ROLES = ("viewer", "member", "admin", "operator")


def function_paths(functions: Mapping[str, Json], *, server: str) -> dict[str, Json]:
    """{path: path item} of all functions, at the address of PostgREST."""
    return {
        f"/rpc/{name}": {
            "servers": [{"url": server, "description": "PostgREST"}],
            "post": _operation(name, functions[name]),
        }
        for name in sorted(functions)
    }


def _operation(name: str, function: Mapping[str, Json]) -> dict[str, Json]:
    description = str(function.get("description") or "").strip()
    callers = [role for role in _ROLES if role in function["callers"]]
    is_public = _ANYBODY in function["callers"]
    required = list(function["required"])
    return {
        "operationId": name,
        "summary": function["summary"],
        "description": "\n\n".join(filter(None, (description, _who(callers, is_public=is_public)))),
        "tags": ["Functions"],
        "security": [{"ApiKey": []}, {"JWT": []}, *([{}] if is_public else [])],
        "requestBody": {
            # Without a body it is called without arguments.
            "required": bool(required),
            "content": {
                JSON_TYPE: {
                    "schema": {
                        "type": "object",
                        "properties": {
                            argument: schema if argument in required else _or_null(schema)
                            for argument, schema in sorted(function["arguments"].items())
                        },
                        "required": required,
                        "additionalProperties": False,
                    }
                }
            },
        },
        "responses": {
            **{
                str(status): {
                    "description": "Something was made" if status == 201 else "The answer",
                    "content": {JSON_TYPE: {"schema": answer_shape(description) or function["answer"]}},
                }
                for status in function["statuses"]
            },
            **_errors(function["errors"]),
        },
    }


def _errors(own: Mapping[str, Json]) -> dict[str, Json]:
    codes = {str(status): list(names) for status, names in _POSTGRESTS_OWN.items()}
    for status, names in own.items():
        codes[status] = [*names, *codes.get(status, [])]
    return {status: error_response(names) for status, names in sorted(codes.items())}


def error_response(codes: list[str]) -> dict[str, Json]:
    """An error of PostgREST, or of ours through it, with one of these codes, or with a state of PostgreSQL."""
    own = [code for code in codes if not code.isupper()]
    known = [{"enum": own}] if own else []
    return {
        "description": ", ".join(codes) or "A fault of the server",
        "content": {
            JSON_TYPE: {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Error"},
                        {"properties": {"code": {"anyOf": [*known, {"pattern": _ANY_SQLSTATE}]}}},
                    ]
                }
            }
        },
    }


def _who(callers: list[str], *, is_public: bool) -> str:
    if is_public:
        return "Needs no credentials."
    return f"For keys and tokens of the role {' or '.join(callers)}." if callers != ["operator"] else "For operators."


def _or_null(schema: Mapping[str, Json]) -> dict[str, Json]:
    """The same, or null, which stands for the default. JSON of any kind may be null as it is."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else dict(schema)
