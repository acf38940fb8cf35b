"""GET /health: what stands and what does not, for people, load balancers and containers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from psycopg import Error as DatabaseError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_front.context import Front, front_of
from flowgres_front.database import FRONT_LACKS
from flowgres_front.problems import RETRY_SECONDS, Problem
from flowgres_postgres import state_of_sqlstate

PROBE_SECONDS = 3.0


async def show_health(request: Request) -> JSONResponse:
    """Answer 200 while the database and PostgREST (when its address is known) answer, else 503.

    Without a live runner the status is `degraded`, still 200: calls are accepted and wait for one.
    """
    front = front_of(request)
    (engine, problem), postgrest = await asyncio.gather(_probe_engine(front), _probe_postgrest(front))
    runners = engine.get("live_runners") if engine else None
    status = "ok" if runners and not engine.get("is_copy") else "degraded"
    if engine is None or postgrest == "unreachable":
        status = "unavailable"
    body = {
        "status": status,
        "database": "ok" if engine is not None else _word_of(front, problem),
        "postgrest": postgrest,
        "runners": runners,
        "version": engine.get("version") if engine else None,
        "lag_seconds": engine.get("lag_seconds") if engine else None,
        "is_copy": engine.get("is_copy") if engine else None,
        "unserved_types": engine.get("unserved_types") if engine else None,
    }
    if status == "unavailable":
        return JSONResponse(body, status_code=503, headers={"Retry-After": RETRY_SECONDS})
    return JSONResponse(body)


def _word_of(front: Front, problem: str) -> str:
    """What is wrong with the database: what it refuses, else why it cannot be reached."""
    trouble = front.database.trouble
    code = problem or (trouble.code if trouble is not None else "")
    return code if code and code != "database_unreachable" else "unreachable"


async def _probe_engine(front: Front) -> tuple[dict[str, Any] | None, str]:
    """What the engine says of itself, or None when it cannot be asked, and then the code of what it refuses if any."""
    try:
        async with asyncio.timeout(PROBE_SECONDS), front.database.caller(None) as caller:
            found = await caller.call("select flowgres_api.health()")
    except Problem as problem:
        return None, problem.code
    except DatabaseError as error:
        state = state_of_sqlstate(error.sqlstate)
        return None, state.code if state is not None else FRONT_LACKS.code if error.sqlstate == "42501" else ""
    except (PoolTimeout, PoolClosed, TooManyRequests, TimeoutError):
        return None, ""
    return (found if isinstance(found, dict) else {}), ""


async def _probe_postgrest(front: Front) -> str:
    """`ok`, `unreachable`, or `not_configured` when nobody told the front where PostgREST is.

    The admin port's /ready is asked when it is known; else the function that every caller may call.
    """
    settings = front.settings
    if settings.api_admin_url:
        url = f"{settings.api_admin_url}/ready"
    elif settings.api_url:
        url = f"{settings.api_url}/rpc/health"
    else:
        return "not_configured"
    try:
        async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
            answer = await client.get(url)
    except httpx.HTTPError:
        return "unreachable"
    return "ok" if answer.is_success else "unreachable"


ROUTES = [Route("/health", show_health, methods=["GET"])]
