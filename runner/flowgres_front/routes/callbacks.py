"""POST /callbacks/<token>: the answer that a step waits for, after the request that has sent this address along."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowgres_front.bodies import BodyLimits, check_declared_size, read_body
from flowgres_front.context import front_of
from flowgres_front.describing import Body, Parameter, describe, json_answer, json_object
from flowgres_front.problems import Problem
from flowgres_front.visits import visit_of
from flowgres_front.webhooks.payloads import media_type, read_payload
from flowgres_process.callbacks import Callbacks

_MOST_VALUES: Final = 200_000

_RECEIVE: Final = """
select flowgres.receive_callback(
  p_tenant_id => %(tenant_id)s, p_execution_id => %(execution_id)s, p_step_index => %(step_index)s,
  p_iteration => %(iteration)s, p_round => %(round)s, p_generation => %(generation)s, p_payload => %(payload)s::jsonb
) as outcome
"""
_REFUSALS: Final = {
    "repeated": (409, "callback_repeated", "this address was called before; the first call counts", ""),
    "over": (410, "callback_over", "the step does not wait to be called any more", "Its time may be over."),
    "suspended": (403, "tenant_suspended", "the tenant is suspended", "Call again when it is not any more."),
    "too_large": (413, "payload_too_large", "the body is larger than the tenant may send", "Send a reference instead."),
}


@describe(
    "Call back a step",
    topic="Webhooks",
    answers={202: json_answer("The step goes on", json_object({"status": {"const": "taken"}}))},
    errors={
        400: ["invalid_json", "duplicate_key", "json_too_deep", "invalid_text", "invalid_form"],
        403: ["tenant_suspended"],
        404: ["callback_unknown"],
        409: ["callback_repeated"],
        410: ["callback_over"],
        413: ["payload_too_large"],
        415: ["unsupported_charset"],
    },
    parameters=[Parameter("token", "path", "The end of the address that the step has sent")],
    body=Body(
        {
            "application/json": {},
            "application/x-www-form-urlencoded": {"type": "object"},
            "text/plain": {"type": "string"},
        },
        is_required=False,
    ),
    is_public=True,
)
async def receive_callback(request: Request) -> Response:
    """Take the answer that a step waits for: JSON, a form or a text. It is taken once."""
    front = front_of(request)
    place = Callbacks(front.secret_keys).read(request.path_params["token"])
    if place is None:
        raise Problem(404, "callback_unknown", "nobody waits at this address", hint="Is it all of the address?")
    # Whoever has the address was told of it.
    visit_of(request).is_proven = True
    limits = BodyLimits(
        bytes=front.settings.max_body_bytes,
        depth=front.settings.max_json_depth,
        values=_MOST_VALUES,
        seconds=front.settings.body_seconds,
    )
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        headers.setdefault(name, []).append(value)
    # No stranger takes the place of a genuine call: it counts as the tenant's.
    async with front.requests.take(place.tenant_id), AsyncExitStack() as holding:
        check_declared_size(request, limits)
        body = await read_body(request, limits, budget=front.bytes, party=place.tenant_id, holding=holding)
        payload = read_payload("none", headers, body, limits)
        kind = json.dumps(media_type(headers) or None)
        async with front.transactions.take(place.tenant_id):
            row = await front.database.own(
                _RECEIVE,
                tenant_id=place.tenant_id,
                execution_id=place.execution_id,
                step_index=place.step_index,
                iteration=place.iteration,
                round=place.round,
                generation=place.generation,
                payload=f'{{"body": {payload.text}, "content_type": {kind}}}',
            )
    outcome = row["outcome"] if row is not None else "over"
    if outcome != "taken":
        status, code, detail, hint = _REFUSALS[outcome]
        raise Problem(status, code, detail, hint=hint)
    return JSONResponse({"status": "taken"}, status_code=202)


ROUTES = [Route("/callbacks/{token}", receive_callback, methods=["POST"])]
