"""The application: routes of every topic, what surrounds them, and how errors leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from psycopg import Error as DatabaseError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from flowgres_front import problems
from flowgres_front.connections import Connections
from flowgres_front.context import Front
from flowgres_front.documentation import routes as documentation
from flowgres_front.metrics import routes as metrics
from flowgres_front.middleware import AccessLog, LastResort, SecurityHeaders
from flowgres_front.routes import callbacks, events, health, run, secrets, tasks, tokens, workflows
from flowgres_front.settings import FrontSettings
from flowgres_front.streams import routes as streams
from flowgres_front.visits import Line, Visits
from flowgres_front.webhooks import routes as webhooks


def routes() -> Sequence[BaseRoute]:
    """All routes, topic by topic; a new topic adds its module here and nothing else."""
    return [
        *health.ROUTES,
        *metrics.ROUTES,
        *workflows.ROUTES,
        *secrets.ROUTES,
        *tokens.ROUTES,
        *run.ROUTES,
        *tasks.ROUTES,
        *streams.ROUTES,
        *events.ROUTES,
        *webhooks.ROUTES,
        *callbacks.ROUTES,
        *documentation.ROUTES,
    ]


def create_app(settings: FrontSettings, connections: Connections) -> Starlette:
    """Build the front on these connections. Nothing is opened before the server starts it, in its lifespan."""
    front = Front(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        await front.open()
        try:
            yield
        finally:
            await front.close()

    app = Starlette(
        routes=routes(),
        lifespan=lifespan,
        middleware=[
            Middleware(Visits, connections=connections, line=Line(per_second=100, burst=50)),
            Middleware(AccessLog),
            Middleware(SecurityHeaders),
            # As PostgREST: any origin, no credentials. Callers send a bearer token or a key, never a cookie.
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-API-Key", "Prefer", "Last-Event-ID"],
                expose_headers=["Location", "Retry-After", "WWW-Authenticate"],
                max_age=600,
            ),
            Middleware(LastResort),
        ],
        exception_handlers={
            problems.Problem: problems.answer_problem,
            DatabaseError: problems.answer_database_error,
            PoolTimeout: problems.answer_database_error,
            PoolClosed: problems.answer_database_error,
            TooManyRequests: problems.answer_database_error,
            HTTPException: problems.answer_http_error,
        },
    )
    app.state.front = front
    return app
