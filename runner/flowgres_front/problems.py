"""Errors as HTTP tells them: RFC 9457 problem documents with a stable code.

Exception
└── Problem     a refusal with status, code, sentence and hint
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from psycopg import Error, errors
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_postgres import State, state_of_sqlstate
from flowgres_process.errors import ProcessError
from flowgres_process.logs import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "2"

# What PostgREST answers for the same SQLSTATE, so that both doors agree; anything else is our fault and a 500.
_BY_SQLSTATE: dict[str, tuple[int, str, str]] = {
    "23505": (409, "already_exists", "this already exists"),
    "23503": (409, "in_use", "something else refers to this"),
    "42501": (403, "insufficient_role", "your role may not do this: viewer reads, member runs, admin administers"),
    "57014": (503, "timed_out", "the database took too long"),
    "40P01": (503, "busy", "the database was busy with the same rows"),
    "55P03": (503, "busy", "the database was busy with the same rows"),
    "40001": (503, "busy", "the database was busy with the same rows"),
    "P0001": (400, "refused", "the database refused this"),
    "23514": (400, "invalid_value", "a value is not allowed"),
    "23502": (400, "invalid_value", "a value is missing"),
    "54000": (413, "too_large", "this is too large for the database"),
    "54001": (400, "too_deep", "this is nested too deeply"),
}


class Problem(ProcessError):
    """A request that is refused: what the caller reads, and nothing about our insides.

    `extra` adds members to the document, such as `errors` of a definition; `headers` go with the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, hint=hint, code=code)
        self.status = status
        self.detail = detail
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The problem document: type, title, status, detail, code, hint, and the extra members."""
        return {
            "type": f"urn:flowgres:problem:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "hint": self.hint or None,
            **self.extra,
        }

    def response(self) -> JSONResponse:
        """The document as an answer."""
        headers = dict(self.headers)
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers.setdefault("WWW-Authenticate", "Bearer")
        return JSONResponse(self.document(), status_code=self.status, headers=headers, media_type=MEDIA_TYPE)


def database_unreachable() -> Problem:
    """The database cannot be reached now; the caller should come back."""
    return Problem(
        503,
        "database_unreachable",
        "the database cannot be reached",
        hint="Try again in a moment.",
        headers={"Retry-After": RETRY_SECONDS},
    )


def outcome_unknown() -> Problem:
    """The connection was lost while the database was to confirm: nobody here can say whether it has happened.

    No Retry-After: what repeats by itself would do it twice.
    """
    return Problem(
        503,
        "outcome_unknown",
        "the connection to the database was lost before it confirmed this, which has happened or has not",
        hint="Look whether it has before you send it again. What has an idempotency key can be sent again as it is.",
    )


def database_unusable(state: State) -> Problem:
    """The database answers and cannot serve: no fault of the caller, who may come back, and none of ours.

    What an operator has to do stays in the log.
    """
    return Problem(
        503, state.code, state.message, hint="Its operator has to look at it.", headers={"Retry-After": RETRY_SECONDS}
    )


def from_database(error: Exception) -> Problem:
    """Say in HTTP what the database said.

    flowgres.fail raises SQLSTATE FG<status> with its code as the constraint name; other states are mapped as
    PostgREST maps them, with texts of our own, because the database's may quote data.
    """
    if isinstance(error, PoolTimeout | PoolClosed | TooManyRequests):
        return database_unreachable()
    if not isinstance(error, Error):
        return internal_error(error)
    state = error.sqlstate or ""
    if state.startswith("FG") and state[2:].isdigit():
        return _from_refusal(error, int(state[2:]))
    found = state_of_sqlstate(error.sqlstate)
    if found is not None:
        log.error("database_unusable", code=found.code, error=found.message, hint=found.hint, sqlstate=state)
        return database_unreachable() if found.kind == "away" else database_unusable(found)
    if not state and isinstance(error, errors.OperationalError):
        return database_unreachable()
    if not state and isinstance(error, errors.DataError):
        return Problem(400, "invalid_value", "a text holds a character that the database cannot store")
    if state in _BY_SQLSTATE:
        status, code, detail = _BY_SQLSTATE[state]
        headers = {"Retry-After": RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        return Problem(status, code, detail, headers=headers)
    if state.startswith("22"):
        return Problem(400, "invalid_value", "a value cannot be read or stored by the database")
    return internal_error(error)


def _from_refusal(error: Error, status: int) -> Problem:
    diagnostics = error.diag
    details = diagnostics.message_detail or None
    headers = {"Retry-After": RETRY_SECONDS} if status in (429, 503) else {}
    return Problem(
        status,
        diagnostics.constraint_name or "refused",
        diagnostics.message_primary or "the database refused this",
        hint=diagnostics.message_hint or "",
        extra={"details": details} if details else None,
        # What the database says of them is more exact.
        headers=headers | json.loads(diagnostics.datatype_name or "{}") or None,
    )


def internal_error(error: Exception) -> Problem:
    """A fault of ours: logged by its kind, told without details."""
    log.error(
        "request_failed",
        error=type(error).__name__,
        sqlstate=getattr(error, "sqlstate", None),
        exc_info=error if not isinstance(error, Error) else None,
    )
    return Problem(500, "internal_error", "something went wrong here", hint="The log of the front says more.")


async def answer_problem(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for Problem."""
    del request
    assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
    return error.response()


async def answer_database_error(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for what psycopg and its pool raise."""
    del request
    return from_database(error).response()


async def answer_http_error(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for the router's own refusals (404, 405)."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        served = sorted({route.path for route in request.app.routes if isinstance(route, Route)})
        problem = Problem(
            404,
            "route_not_found",
            "there is nothing at this address",
            hint=f"Served here: {', '.join(served)}; the rest of the API is PostgREST's.",
        )
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem = Problem(
            405,
            "method_not_allowed",
            f"{request.method[:16]} is not served at this address",
            hint=f"Allowed: {headers.get('Allow', '')}" if headers.get("Allow") else "",
            headers=headers,
        )
    else:
        problem = Problem(error.status_code, "refused", str(error.detail), headers=headers)
    return problem.response()
