"""GET /tasks/{queue}?wait=20: claim tasks of a queue, and wait for one when there is none.

While it waits the call holds its connection and nothing of the database: the watcher looks for all who wait. A client
that goes away has what was claimed for it given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_front.context import Front, Visitor, front_of
from flowgres_front.describing import Parameter, describe, json_answer, json_object
from flowgres_front.problems import Problem
from flowgres_front.streams.watcher import TROUBLES
from flowgres_front.visits import visit_of
from flowgres_process.logs import get_logger

log = get_logger(__name__)

DEFAULT_WAIT_SECONDS = 20.0
MAX_WAIT_SECONDS = 60.0
_MAX_LIMIT = 100
_MAX_LEASE_SECONDS = 86_400.0
_CLAIM = (
    "select coalesce(jsonb_agg(c.task), '[]') as tasks from flowgres_api.claim_tasks(queue => %(queue)s,"
    ' worker => %(worker)s, "limit" => %(limit)s, lease_seconds => %(lease_seconds)s) as c (task)'
)
_NUMBER: dict[str, Any] = {"type": "number"}
_TASK = json_object(
    {
        "task_id": {"type": "string"},
        "token": {"type": "integer"},
        "execution_id": {"type": "string", "format": "uuid"},
        "workflow": {"type": "string"},
        "step": {"type": "string"},
        "iteration": {"type": ["integer", "null"]},
        "attempt": {"type": "integer"},
        "payload": {},
        "lease_until": {"type": "string", "format": "date-time"},
    }
)


@describe(
    "Wait for tasks and claim them",
    topic="Executions",
    answers={200: json_answer("What was claimed; nothing when none came", {"type": "array", "items": _TASK})},
    errors={400: ["argument_invalid", "invalid_value"]},
    calls=["claim_tasks"],
    parameters=[
        Parameter("queue", "path", "Name of the queue"),
        Parameter(
            "worker", "query", "What the caller calls itself", {"type": "string", "minLength": 1, "maxLength": 200}
        ),
        Parameter(
            "wait",
            "query",
            "Seconds to wait for a task",
            _NUMBER | {"minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": DEFAULT_WAIT_SECONDS},
        ),
        Parameter(
            "limit",
            "query",
            "Tasks at most",
            {"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT, "default": 1},
        ),
        Parameter(
            "lease_seconds",
            "query",
            "For how long; as the step says when absent",
            _NUMBER | {"minimum": 1, "maximum": _MAX_LEASE_SECONDS},
        ),
    ],
)
async def wait_for_tasks(request: Request) -> JSONResponse:
    """Claim up to `limit` tasks of the queue for `worker`, as soon as there is one: a list, empty when none came.

    For workers: a key of the role worker serves this too. The calls about a task are POST /rpc/extend_task,
    /rpc/complete_task and /rpc/fail_task.
    """
    front = front_of(request)
    arguments = {
        "queue": request.path_params["queue"],
        "worker": request.query_params.get("worker", ""),
        "limit": _whole(_number(request, "limit", 1, most=_MAX_LIMIT, default=1)),
        "lease_seconds": _number(request, "lease_seconds", 1, most=_MAX_LEASE_SECONDS, default=None),
    }
    wait_seconds = _number(request, "wait", 0, most=MAX_WAIT_SECONDS, default=DEFAULT_WAIT_SECONDS) or 0.0
    async with AsyncExitStack() as stack:
        gone = asyncio.create_task(_gone(request))
        stack.callback(gone.cancel)
        async with front.visitor(request) as visitor:
            tasks = await _claim(visitor, arguments)
            if not tasks and wait_seconds:
                await stack.enter_async_context(front.streams.take(visitor.party))
                wait_seconds = min(wait_seconds, visitor.lifetime_seconds)
                visit_of(request).may_take(wait_seconds)
        if not tasks and wait_seconds:
            tasks = await _claim_later(front, visitor, arguments, seconds=wait_seconds, gone=gone)
        if tasks and gone.done():
            await _give_back(visitor, tasks)
    return JSONResponse(tasks)


async def _claim_later(
    front: Front, visitor: Visitor, arguments: dict[str, Any], *, seconds: float, gone: asyncio.Task[None]
) -> list[dict[str, Any]]:
    clock = asyncio.get_running_loop().time
    ends_at = clock() + seconds
    while (left := ends_at - clock()) > 0 and not front.watcher.is_closed and not gone.done():
        with front.watcher.task_of(visitor.party, arguments["queue"]) as turn:
            await asyncio.wait({turn, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not turn.done() or gone.done() or front.watcher.is_closed:
                break
        if tasks := await _claim(visitor, arguments):
            return tasks
    return []


async def _claim(visitor: Visitor, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    async with visitor.caller() as caller:
        row = await caller.last(_CLAIM, **arguments)
    return list(row["tasks"]) if row else []


async def _give_back(visitor: Visitor, tasks: list[dict[str, Any]]) -> None:
    """Nobody hears of them; where this fails their leases end by themselves."""
    given = json.dumps([[task["task_id"], task["token"]] for task in tasks])
    with contextlib.suppress(Problem, *TROUBLES):
        async with visitor.caller() as caller:
            row = await caller.last("select flowgres.return_tasks(p_tasks => %(tasks)s::jsonb) as count", tasks=given)
        log.info("tasks_returned", count=row["count"] if row else 0)


async def _gone(request: Request) -> None:
    """Return when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _number(request: Request, name: str, least: float, *, most: float, default: float | None) -> float | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise Problem(400, "argument_invalid", f"{name} must be a number from {least:g} to {most:g}")
    return number


def _whole(number: float | None) -> int:
    if number is None or number != int(number):
        raise Problem(400, "argument_invalid", "limit must be a whole number")
    return int(number)


ROUTES = [Route("/tasks/{queue}", wait_for_tasks, methods=["GET"])]
