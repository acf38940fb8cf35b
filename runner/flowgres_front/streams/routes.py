"""GET /executions/{id}/stream and GET /events/stream: events as they happen, as Server-Sent Events."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowgres_front.context import Front, front_of
from flowgres_front.credentials import Credentials, read_credentials, verify_token
from flowgres_front.describing import Answer, Parameter, describe
from flowgres_front.problems import Problem
from flowgres_front.streams.positions import Snapshot, TenantPosition, parse_seq
from flowgres_front.streams.sources import ExecutionSource, Filter, Source, TenantSource, Turn, turns
from flowgres_front.streams.sse import FIRST_PAGE_EVENTS, EventStream
from flowgres_front.streams.topics import Event
from flowgres_front.visits import visit_of

_OPENING_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.02
_MOST_FILTER_WORDS = 50

_STREAM = Answer("Server-sent events", {"text/event-stream": {"type": "string"}})
_LAST = Parameter(
    "last_event_id", "query", "The id of the last event that the client has; the header Last-Event-ID is the same"
)
_TOKEN = Parameter("access_token", "query", "A token, for an EventSource, which cannot send headers")
_ERRORS = {400: ["last_event_id_invalid", "argument_invalid"], 503: ["front_busy"]}


@describe(
    "Stream the events of an execution",
    topic="Executions",
    answers={200: _STREAM, 204: Answer("There is nothing more, and never will be")},
    errors={**_ERRORS, 404: ["execution_not_found"]},
    parameters=[Parameter("execution_id", "path", "Id of the execution"), _LAST, _TOKEN],
)
async def stream_execution(request: Request) -> Response:
    """All events of an execution, those to come as they happen; ends with the execution.

    `Last-Event-ID` (or `?last_event_id=`) is the number of the last event that the client has: it goes on behind that.
    204 when there is nothing behind it and never will be, which tells an EventSource to stop.
    """
    front = front_of(request)
    execution_id = _execution_id(request.path_params["execution_id"])
    seq = _last_seq(request)
    credentials, tenant_id = await _enter(request)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(front.streams.take(tenant_id))
        topic, subscriber = stack.enter_context(front.watcher.execution(tenant_id, execution_id, credentials))
        source = ExecutionSource(topic, subscriber, seq)
        turn = turns(front, tenant_id, credentials)
        async with turn() as caller:
            first, place = await source.page(caller, FIRST_PAGE_EVENTS)
        if not first and source.has_ended:
            return Response(status_code=204)
        return _answer(request, front, source, turn, stack, first, place)


@describe(
    "Stream the events of all executions",
    topic="Executions",
    answers={200: _STREAM},
    errors=_ERRORS,
    parameters=[
        *(
            Parameter(name, "query", f"Only of {what}; several with commas between")
            for name, what in (
                ("workflow", "these workflows"),
                ("type", "these types of events"),
                ("status", "executions that were in these states"),
            )
        ),
        _LAST,
        _TOKEN,
    ],
)
async def stream_tenant(request: Request) -> Response:
    """Events of all executions of the caller's tenant from now on, or from `Last-Event-ID` on; has no end.

    `?workflow=`, `?type=` and `?status=` (of the execution at that moment) take names, several with commas between.
    """
    front = front_of(request)
    filter = Filter(_words(request, "workflow"), _words(request, "type"), _words(request, "status"))
    position = _last_position(request)
    credentials, tenant_id = await _enter(request)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(front.streams.take(tenant_id))
        topic, subscriber = stack.enter_context(front.watcher.tenant(tenant_id, credentials))
        turn = turns(front, tenant_id, credentials)
        beginning = await _begin(turn)
        source = TenantSource(topic, subscriber, position or beginning, filter)
        async with turn() as caller:
            first, place = await source.page(caller, FIRST_PAGE_EVENTS)
        return _answer(request, front, source, turn, stack, first, place)


async def _enter(request: Request) -> tuple[Credentials, str]:
    """Who is asking, and their tenant; asked of SQL before anything else is.

    An EventSource of a browser cannot send headers, so a token may stand in the query here. A key may not: it is good
    for long, and queries get into the logs of proxies.
    """
    front = front_of(request)
    credentials = read_credentials(request, front.settings)
    token = request.query_params.get("access_token")
    if token is not None:
        if credentials != Credentials():
            raise Problem(
                400, "ambiguous_credentials", "send credentials once: in a header, or a token as access_token"
            )
        credentials = Credentials(claims=verify_token(token, front.settings.jwt_secret) or {})
    async with front.visitor(request, credentials, under=front.openings) as visitor:
        identity = await visitor.identity()
    return credentials, identity.tenant_id


async def _begin(turn: Turn) -> TenantPosition:
    """Have the changes of the tenant written down; the position from which on all are.

    What keeps it from being known are transactions that began before. They take milliseconds; one that goes on for
    longer than two seconds is somebody's own, and hardly has an event in it.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + _OPENING_SECONDS
    while True:
        async with turn() as caller:
            found = await caller.call("select flowgres.watch_tenant()")
        if found.get("snapshot") is not None and (found["is_complete"] or clock() >= until):
            return TenantPosition(Snapshot.parse(found["snapshot"]))
        if found.get("snapshot") is not None:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _answer(
    request: Request,
    front: Front,
    source: Source,
    turn: Turn,
    stack: AsyncExitStack,
    first: Sequence[Event],
    place: int | None,
) -> EventStream:
    claims = source.subscriber.credentials.claims
    return EventStream(
        source,
        turn,
        settings=front.settings,
        watcher=front.watcher,
        visit=visit_of(request),
        holding=stack.pop_all(),
        first=first,
        place=place,
        expires_at=float(claims["exp"]) if claims else None,
    )


def _execution_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Problem(404, "execution_not_found", "this is no id of an execution", hint="List /executions.") from None


def _last_event_id(request: Request) -> str | None:
    """What the client says it has; a page that opens a new EventSource cannot set the header, so the query will do."""
    return request.headers.get("last-event-id") or request.query_params.get("last_event_id") or None


def _last_seq(request: Request) -> int:
    text = _last_event_id(request)
    seq = 0 if text is None else parse_seq(text)
    if seq is None:
        raise _unknown_id("the number of an event of this execution")
    return seq


def _last_position(request: Request) -> TenantPosition | None:
    text = _last_event_id(request)
    position = None if text is None else TenantPosition.parse(text)
    if text is not None and position is None:
        raise _unknown_id("the id of an event of this stream")
    return position


def _unknown_id(wanted: str) -> Problem:
    return Problem(
        400, "last_event_id_invalid", f"Last-Event-ID is not {wanted}", hint="Leave it away to begin at the beginning."
    )


def _words(request: Request, name: str) -> frozenset[str]:
    words = [word for text in request.query_params.getlist(name) for word in text.split(",") if word]
    if len(words) > _MOST_FILTER_WORDS:
        raise Problem(400, "argument_invalid", f"{name} has more than {_MOST_FILTER_WORDS} names")
    return frozenset(words)


ROUTES = [
    Route("/executions/{execution_id}/stream", stream_execution, methods=["GET"]),
    Route("/events/stream", stream_tenant, methods=["GET"]),
]
