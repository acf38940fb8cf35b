"""POST /run/{workflow}?wait=30: start an execution, and answer with its result.

Nothing of the database is held while it runs: the call waits for the watcher, as streams do. A client that goes away
leaves the execution running.
"""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_front.context import Front, Visitor, front_of
from flowgres_front.describing import JSON_TYPE, Body, Parameter, describe, json_answer, json_object
from flowgres_front.problems import Problem
from flowgres_front.streams.watcher import TROUBLES, is_refusal
from flowgres_front.visits import visit_of

DEFAULT_WAIT_SECONDS = 30.0
MAX_WAIT_SECONDS = 300.0
_QUOTES = 2
_ENDED = frozenset({"completed", "failed", "cancelled"})
_PRUNED = "pruned"
"""What a key stands for that has outlived its execution: there is no end to wait for."""
_ARGUMENTS = frozenset({"input", "idempotency_key", "version", "priority", "correlation_id", "max_retries", "metadata"})
# Both in one, for the sake of a round trip: the second sees what the first has written.
_START = (
    "select s.started, %(waits)s and flowgres.await_end(p_execution_id => (s.started ->> 'execution_id')::uuid)"
    " from (select flowgres_api.start_execution(workflow => %(workflow)s, input => b.body -> 'input',"
    " idempotency_key => %(key)s, version => (b.body ->> 'version')::integer,"
    " priority => (b.body ->> 'priority')::integer, correlation_id => b.body ->> 'correlation_id',"
    " max_retries => (b.body ->> 'max_retries')::integer,"
    " metadata => nullif(b.body -> 'metadata', 'null')) as started"
    " from (values (%(body)s::jsonb)) as b (body) offset 0) as s"
)
MAX_VALUES = 250_000
"""In a body; as many as a megabyte has in any sensible form."""
_PREFERENCE = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]+)\"?\s*(?=$|[,;])", re.IGNORECASE)
_BODY = json_object(
    {
        "input": {"type": "object"},
        "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "version": {"type": "integer", "minimum": 1},
        "priority": {"type": "integer", "minimum": 0, "maximum": 9},
        "correlation_id": {"type": "string", "maxLength": 255},
        "max_retries": {"type": "integer", "minimum": 0, "maximum": 100},
        "metadata": {"type": "object"},
    },
    optional=sorted(_ARGUMENTS),
    is_closed=True,
)
_ID = {"type": "string", "format": "uuid"}


@describe(
    "Run a workflow and wait for its result",
    topic="Executions",
    answers={
        200: json_answer(
            "It has completed",
            json_object(
                {
                    "execution_id": _ID,
                    "workflow": {"type": "string"},
                    "version": {"type": "integer"},
                    "status": {"const": "completed"},
                    "output": {},
                    "error": {"type": "null"},
                    "created": {"type": "boolean"},
                }
            ),
        ),
        202: json_answer(
            "It goes on, or retention has taken it",
            json_object({"execution_id": _ID, "status": {"type": "string"}, "created": {"type": "boolean"}}),
        ),
    },
    errors={
        400: ["argument_invalid", "argument_unknown", "idempotency_key_conflict", "invalid_value"],
        422: ["execution_failed", "execution_cancelled"],
    },
    calls=["start_execution"],
    parameters=[
        Parameter("workflow", "path", "Name or id of the workflow"),
        Parameter(
            "wait",
            "query",
            "Seconds to wait for the end",
            {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": DEFAULT_WAIT_SECONDS},
        ),
        Parameter("Idempotency-Key", "header", "As `idempotency_key` of the body", {"type": "string"}),
    ],
    body=Body({JSON_TYPE: _BODY}, is_required=False),
)
async def run_workflow(request: Request) -> JSONResponse:
    """Start `{"input", "idempotency_key"}` and wait for its end: 200 with the output, or 202 with the id, for later.

    422 `execution_failed` or `execution_cancelled` with the error: not a 2xx, so that no client takes it for a result,
    and no 5xx either, which proxies and clients repeat by themselves.
    """
    front = front_of(request)
    wait_seconds = read_wait(request)
    async with AsyncExitStack() as stack:
        async with front.visitor(request) as visitor:
            settings = front.settings
            limits = replace(
                front.limits(settings.max_body_bytes),
                depth=settings.max_json_depth,
                values=MAX_VALUES,
                is_optional=True,
            )
            raw = await visitor.body(limits)
            arguments = await visitor.parse(raw, limits)
            check_arguments(arguments)
            key = given_key(request, arguments.get("idempotency_key"))
            # Before anything is started, so that a refusal is one.
            await stack.enter_async_context(front.streams.take(visitor.party))
            wait_seconds = min(wait_seconds, visitor.lifetime_seconds)
            waits = wait_seconds > 0
            if waits:
                await front.watcher.listen()
            heard = front.watcher.ends.heard
            async with visitor.caller() as caller:
                row = await caller.last(
                    _START,
                    workflow=request.path_params["workflow"],
                    # As it was sent: here a number would lose digits.
                    body=raw.decode() or "{}",
                    key=key,
                    waits=waits,
                )
        # It is no longer under way: it holds its connection, and its share of those who wait.
        assert row is not None  # noqa: S101 - it starts, or raises
        started = row["started"]
        if started["status"] in _ENDED:
            wait_seconds = 0
        elif not waits or started["status"] == _PRUNED:
            return _answer(started, started, waited=wait_seconds)
        visit_of(request).may_take(wait_seconds)
        try:
            result = await _await_result(front, visitor, started["execution_id"], wait_seconds, heard)
        except (*TROUBLES, Problem) as error:
            # What has been started is told of whatever comes: a caller that hears of the trouble alone starts it again.
            if not started["created"] or is_refusal(error):
                raise
            result = started
    return _answer(started, result, waited=wait_seconds)


async def _await_result(
    front: Front, visitor: Visitor, execution_id: str, wait_seconds: float, heard: int
) -> dict[str, Any]:
    """What came of an execution within so many seconds; `heard` as it was before that could end."""
    clock = asyncio.get_running_loop().time
    until = clock() + wait_seconds
    with front.watcher.end_of(visitor.party, execution_id) as end:
        with front.watcher.ends.hint(heard) as hint:
            await asyncio.wait({end, hint}, timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED)
        is_certain = end.done() or not hint.done()
        result = await _result(visitor, execution_id)
        if not is_certain and result["status"] not in _ENDED | {_PRUNED}:
            # What was notified was somebody else's end.
            await asyncio.wait({end}, timeout=max(0, until - clock()))
            result = await _result(visitor, execution_id)
    return result


async def _result(visitor: Visitor, execution_id: str) -> dict[str, Any]:
    async with visitor.caller() as caller:
        row = await caller.last(
            "select e.id::text as execution_id, e.workflow_name as workflow, e.version, e.status, e.output, e.error"
            " from flowgres_api.executions as e where e.id = %(id)s",
            id=execution_id,
        )
    # Retention may have taken it, for a key that is older.
    return row or {"execution_id": execution_id, "status": _PRUNED}


def _answer(started: dict[str, Any], result: dict[str, Any], *, waited: float) -> JSONResponse:
    """Tell the result. Raises Problem 422 when it is no good one."""
    execution_id, status = result["execution_id"], result["status"]
    if status in ("failed", "cancelled"):
        error = result["error"] if isinstance(result["error"], dict) else {}
        raise Problem(
            422,
            f"execution_{status}",
            f"execution {execution_id} {'failed' if status == 'failed' else 'was cancelled'}: {error.get('message')}",
            hint="`error` says what happened; the execution's events say how it came to that.",
            extra={"execution_id": execution_id, "error": result["error"], "created": started["created"]},
        )
    if status == "completed":
        return JSONResponse({**result, "created": started["created"]})
    headers = {"Location": f"/executions/{execution_id}/stream", "Preference-Applied": f"wait={waited:g}"}
    body = {"execution_id": execution_id, "status": status, "created": started["created"]}
    return JSONResponse(body, status_code=202, headers=headers)


def read_wait(request: Request) -> float:
    """Seconds to wait: `?wait=`, else `Prefer: wait=` (RFC 7240), else 30. Raises Problem 400 beyond 0 to 300."""
    text = request.query_params.get("wait")
    if text is None:
        preferred = _PREFERENCE.search(request.headers.get("prefer", ""))
        # A preference that cannot be met is no mistake.
        return min(float(preferred[1]), MAX_WAIT_SECONDS) if preferred else DEFAULT_WAIT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise Problem(
            400,
            "argument_invalid",
            f"wait must be a number of seconds from 0 to {MAX_WAIT_SECONDS:g}",
            hint="For longer: start it with wait=0, and follow /executions/{id}/stream.",
        )
    return seconds


def given_key(request: Request, key: str | None) -> str | None:
    """The idempotency key of a call: the body's or the header's, in quotes or not. Raises Problem 400 for two keys."""
    header = request.headers.get("idempotency-key")
    if header is not None and len(header) >= _QUOTES and header[0] == header[-1] == '"':
        header = header[1:-1]
    if header is not None and key is not None and header != key:
        raise Problem(
            400,
            "idempotency_key_conflict",
            "the header Idempotency-Key and idempotency_key are two keys",
            hint="Send one of them.",
        )
    return header if key is None else key


def check_arguments(body: dict[str, Any]) -> None:
    """Refuse what start_execution would take for something else."""
    unknown = sorted(body.keys() - _ARGUMENTS)
    if unknown:
        raise Problem(
            400,
            "argument_unknown",
            f"the body has {', '.join(unknown[:3])}, which is no argument of a run",
            hint='What the workflow takes goes under `input`: {"input": {...}, "idempotency_key": "..."}.',
        )
    for name, kind, words in (
        ("idempotency_key", str, "a text"),
        ("correlation_id", str, "a text"),
        ("version", int, "a whole number"),
        ("priority", int, "a whole number"),
        ("max_retries", int, "a whole number"),
    ):
        value = body.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise Problem(400, "argument_invalid", f"{name} must be {words}")


ROUTES = [Route("/run/{workflow}", run_workflow, methods=["POST"])]
