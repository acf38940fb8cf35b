"""POST /events: CloudEvents 1.0, structured, binary or many at once, each told as an event of its type."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_front.bodies import BodyLimits, content_type, parse_json
from flowgres_front.context import PARSED_AT_ONCE_BYTES, Front, Visitor, front_of
from flowgres_front.describing import Body, describe, json_answer, json_object
from flowgres_front.problems import Problem

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
MAX_EVENTS: Final = 100
_REQUIRED: Final = ("id", "source", "type")
_PAYLOADS: Final = frozenset({"data", "data_base64"})
_MAX_KEY: Final = 255
_MAX_VALUES: Final = 200_000

# The payloads are never made into objects of this process: the numbers in them stay as they were written.
_EMIT: Final = """
select coalesce(jsonb_agg(flowgres.emit_event(
  p_name => e.name,
  p_payload => case e.place when -1 then b.body else coalesce(b.body -> e.place, b.body) -> 'data' end,
  p_key => e.key, p_attributes => e.attributes) order by e.number), '[]')
from (select %(body)s::jsonb as body offset 0) as b
cross join unnest(%(names)s::text[], %(keys)s::text[], %(attributes)s::jsonb[], %(places)s::int[])
  with ordinality as e (name, key, attributes, place, number)
"""


@dataclass(frozen=True, slots=True)
class _Event:
    """One event: its attributes, and where its data stands: -1 is all of the body, else its place in a list."""

    attributes: dict[str, Any]
    place: int

    @property
    def key(self) -> str:
        """What makes it the same event when it comes again: source and id."""
        key = f"{self.attributes['source']} {self.attributes['id']}"
        return key if len(key) <= _MAX_KEY else hashlib.sha256(key.encode()).hexdigest()


_TOLD = json_object(
    {
        "started": {"type": "integer"},
        "woken": {"type": "integer"},
        "more": {"type": "boolean"},
        "refused": {"type": "integer"},
        "executions": {"type": "array", "items": {"type": "string", "format": "uuid"}},
        "events": {"type": "array", "items": {"type": "object"}},
    },
    optional=["executions", "events"],
)
_CLOUD_EVENT = json_object(
    {
        "specversion": {"const": "1.0"},
        # Of any length: what makes an event the same one is a hash of them where they are long.
        **{name: {"type": "string", "minLength": 1} for name in ("id", "source")},
        "type": {"type": "string", "minLength": 1, "maxLength": 200},
        "data": {},
    },
    optional=["data"],
)


@describe(
    "Tell of events",
    topic="Executions",
    answers={202: json_answer("They were told", _TOLD)},
    errors={
        400: ["event_version_unknown", "event_attribute_missing", "events_invalid", "invalid_value"],
        415: ["event_data_not_json"],
    },
    calls=["emit_event"],
    body=Body(
        {
            STRUCTURED: _CLOUD_EVENT,
            BATCH: {"type": "array", "items": _CLOUD_EVENT, "minItems": 1, "maxItems": MAX_EVENTS},
        }
    ),
)
async def take_events(request: Request) -> JSONResponse:
    """Tell of one event, or of up to a hundred in one transaction: 202 with what they started.

    `{started, woken, more, refused, executions, created}`, of a batch a list under `events` beside their
    sums. Source and id are the key: what comes again starts nothing again.
    """
    front = front_of(request)
    async with front.visitor(request) as visitor:
        kind = _kind(request)
        body, events = await _read(front, request, visitor, kind)
        async with visitor.caller() as caller:
            if origin := request.headers.get("idempotency-key"):
                # An http step sends it, and so executions that start each other are counted.
                await caller.call("select set_config('flowgres.origin', %(origin)s, true)", origin=origin[:200])
            told = await caller.call(
                _EMIT,
                body=body,
                names=[event.attributes["type"] for event in events],
                keys=[event.key for event in events],
                attributes=[json.dumps(event.attributes) for event in events],
                places=[event.place for event in events],
            )
    if kind != BATCH:
        return JSONResponse(told[0], status_code=202)
    sums = {name: sum(one[name] for one in told) for name in ("started", "woken", "refused")}
    return JSONResponse({**sums, "more": any(one["more"] for one in told), "events": told}, status_code=202)


def _kind(request: Request) -> str:
    """The media type, with what makes it a CloudEvent in the headers or in itself."""
    if "ce-specversion" in request.headers:
        return content_type(request, {"application/json", "text/plain"})
    return content_type(request, {STRUCTURED, BATCH})


async def _read(front: Front, request: Request, visitor: Visitor, kind: str) -> tuple[str, list[_Event]]:
    most = front.settings.max_body_bytes
    limits = BodyLimits(bytes=most, depth=60, values=_MAX_VALUES, seconds=front.settings.body_seconds)
    raw = await visitor.body(limits)
    if "ce-specversion" in request.headers:
        attributes = {name[3:]: unquote(value) for name, value in request.headers.items() if name.startswith("ce-")} | (
            {"datacontenttype": kind} if raw else {}
        )
        if kind == "text/plain":
            return json.dumps(_text(raw)), [_event(attributes, -1)]
        if not raw.strip():
            return "{}", [_event(attributes, -1)]
        await _parse(visitor, raw, limits)
        return raw.decode(), [_event(attributes, -1)]
    document = await _parse(visitor, raw, limits)
    if kind == STRUCTURED:
        return raw.decode(), [_event(document, 0)]
    if not isinstance(document, list) or not 1 <= len(document) <= MAX_EVENTS:
        raise Problem(400, "events_invalid", f"a batch is a list of 1 to {MAX_EVENTS} events")
    return raw.decode(), [_event(one, place) for place, one in enumerate(document)]


async def _parse(visitor: Visitor, raw: bytes, limits: BodyLimits) -> Any:
    if len(raw) > PARSED_AT_ONCE_BYTES:
        await visitor.read("object", raw, **asdict(limits))
    return parse_json(raw, limits)


def _event(document: Any, place: int) -> _Event:
    if not isinstance(document, Mapping):
        raise Problem(400, "object_expected", "an event is an object", hint='{"specversion": "1.0", "id": ...}')
    if document.get("specversion") != "1.0":
        raise Problem(
            400, "event_version_unknown", "only CloudEvents of version 1.0 are taken", hint="specversion: 1.0"
        )
    wrong = [name for name in _REQUIRED if not isinstance(document.get(name), str) or not document[name]]
    if wrong:
        raise Problem(
            400,
            "event_attribute_missing",
            f"the event has no {', '.join(wrong)}",
            hint="A CloudEvent has id, source and type, each a text.",
        )
    if "data_base64" in document:
        raise Problem(415, "event_data_not_json", "data in base64 is not taken", hint="Send JSON or text in data.")
    return _Event({name: value for name, value in document.items() if name not in _PAYLOADS}, place)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(400, "invalid_text", "the body is not UTF-8") from error


ROUTES = [Route("/events", take_events, methods=["POST"])]
