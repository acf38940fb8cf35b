"""One delivery, from its first byte to the answer.

The order is what makes it safe: the address, the raw bytes, the signature, and only then what the bytes say. Everything
that SQL decides, it decides in one transaction, together with the start.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from flowgres_front.bodies import BodyLimits, check_declared_size, read_body
from flowgres_front.budget import ANONYMOUS, Budget, Party, Shares
from flowgres_front.database import Database
from flowgres_front.problems import Problem
from flowgres_front.settings import FrontSettings
from flowgres_front.visits import visit_of
from flowgres_front.webhooks.endpoints import Address, Endpoint, Endpoints
from flowgres_front.webhooks.journal import Journal, Rejection
from flowgres_front.webhooks.kept import kept_headers, kept_query
from flowgres_front.webhooks.payloads import Payload, looks_like_json, media_type, read_payload
from flowgres_front.webhooks.signatures import Headers, Proof, Refusal, check_decoy, verify
from flowgres_process.secret_keys import SecretKeys

STRANGERS: Final[Party] = "webhooks"
"""Who has not delivered anything authentic to an address before: their bodies come out of one share."""

_OWN: Final[Party] = "webhooks log"
"""What the front asks and writes of webhooks that there are, whoever came."""

_MOST_VALUES: Final = 200_000
_MOST_SENDERS: Final = 10_000
_MOST_CHALLENGE: Final = 1_000
_MOST_KEY: Final = 255
_READ_AT_ONCE_BYTES: Final = 64 << 10
"""Longer bodies are taken apart outside of the loop."""

_KEYS_IN_BODIES: Final = {"stripe": "id", "slack": "event_id"}
_TRIES: Final = 3
_WAIT_SECONDS: Final = 3.0
_INACTIVE_RETRY_SECONDS: Final = "60"

Reading = Callable[[str, Party, bytes, dict[str, Any]], Awaitable[Any]]
"""Has a reading process look at a body: the job, at whose expense, the body, and what the job is to know."""


class Webhooks:
    """What the front needs to take deliveries, and how much of it one party may have at a time."""

    def __init__(
        self,
        settings: FrontSettings,
        *,
        database: Database,
        keys: SecretKeys,
        bodies: Budget,
        transactions: Budget,
        reading: Reading,
    ) -> None:
        self._settings = settings
        self._database = database
        self._bodies = bodies
        self._transactions = transactions
        self._reading = reading
        self._endpoints = Endpoints(self._ask, keys)
        self._journal = Journal(self._write_journal)
        # A burst of one sender waits its turn, and is not sent away: some senders come once.
        self._deliveries = Budget("deliveries", Shares(whole=256, tenant=96, anonymous=0), wait_seconds=_WAIT_SECONDS)
        # Who has delivered something authentic: the next body is at the expense of the tenant.
        self._senders: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def close(self) -> None:
        """Write what is left for the log."""
        await self._journal.close()

    async def receive(self, request: Request, address: Address | None) -> Response:
        """Take a delivery that came to an address; None is one that cannot be."""
        came_at = time.monotonic()
        endpoint = await self._endpoints.find(address)
        party = self._party(request, endpoint)
        headers = _headers_of(request)
        received = 0
        try:
            async with self._deliveries.take(party), AsyncExitStack() as holding:
                limits = self._limits(endpoint)
                check_declared_size(request, limits)
                body = await read_body(request, limits, budget=self._bodies, party=party, holding=holding)
                received = len(body)
                return await self._judge(request, address, endpoint, headers, body, came_at)
        except _LoggedError:
            raise
        except Problem as problem:
            if endpoint is not None:
                reason = problem.reason if isinstance(problem, _RefusedError) else problem.code
                kind = media_type(headers)
                self._journal.note(Rejection(endpoint.tenant_id, endpoint.id, problem.status, reason, kind, received))
            raise

    async def _judge(
        self,
        request: Request,
        address: Address | None,
        endpoint: Endpoint | None,
        headers: Headers,
        body: bytes,
        came_at: float,
    ) -> Response:
        """Check the signature, by the state of now if that of before does not do; then deliver."""
        for _ in range(_TRIES):
            if address is None or endpoint is None:
                check_decoy(body)
                raise _RefusedError("webhook_gone")
            verdict = verify(endpoint.scheme, endpoint.secrets, headers, body)
            if isinstance(verdict, Refusal):
                if endpoint.asked_at >= came_at:
                    raise _RefusedError(endpoint.trouble or verdict.reason)
                endpoint = await self._endpoints.renew(address)
                continue
            delivered = await self._deliver(request, endpoint, verdict, headers, body)
            if delivered["outcome"] == "stale":
                endpoint = await self._endpoints.renew(address)
                continue
            if endpoint.scheme != "none" or address.is_secret:
                self._know(request, endpoint)
            return _answer(delivered)
        raise Problem(503, "webhook_changing", "this webhook is being changed", headers={"Retry-After": "1"})

    async def _deliver(
        self, request: Request, endpoint: Endpoint, proof: Proof, headers: Headers, body: bytes
    ) -> dict[str, Any]:
        """Read what is authentic, and hand it to SQL: {outcome, http_status, reason, message, execution_id, answer}."""
        limits = self._limits(endpoint)
        payload, answer, challenge = Payload("null", None), None, None
        try:
            if len(body) > _READ_AT_ONCE_BYTES and looks_like_json(headers, body):
                await self._reading("object", endpoint.tenant_id, body, asdict(limits))
            payload = read_payload(endpoint.scheme, headers, body, limits)
        except Problem as problem:
            if problem.status in (429, 503):
                raise
            answer = {
                "outcome": "failed",
                "status": problem.status,
                "reason": problem.code,
                "message": problem.detail,
                "hint": problem.hint,
            }
        if endpoint.scheme == "slack" and _is_challenge(payload.value):
            challenge = str(payload.value["challenge"])[:_MOST_CHALLENGE]
            answer = {"outcome": "answered", "status": 200, "reason": "url_verification"}
        async with self._transactions.take(endpoint.tenant_id):
            delivered = await self._database.own(
                "select * from flowgres.receive_delivery(p_tenant_id => %(tenant_id)s, p_webhook_id => %(webhook_id)s,"
                " p_stamp => %(stamp)s, p_signed_at => %(signed_at)s, p_key => %(key)s,"
                " p_content_type => %(content_type)s, p_byte_count => %(byte_count)s,"
                " p_trigger => %(trigger)s::jsonb, p_answer => %(answer)s)",
                tenant_id=endpoint.tenant_id,
                webhook_id=endpoint.id,
                stamp=endpoint.stamp,
                signed_at=proof.signed_at,
                key=_key_of(endpoint.scheme, proof, payload),
                content_type=media_type(headers) or None,
                byte_count=len(body),
                trigger=_trigger(request, endpoint, headers, payload),
                answer=None if answer is None else Jsonb(answer),
            )
        assert delivered is not None  # noqa: S101 - a function with out parameters has one row
        return {**delivered, "challenge": challenge, "hint": (answer or {}).get("hint")}

    async def _ask(self, address: Address) -> dict[str, Any] | None:
        async with self._transactions.take(ANONYMOUS if self._endpoints.known(address) is None else _OWN):
            row = await self._database.own(
                "select flowgres.find_webhook(p_token_hash => %(token_hash)s, p_tenant => %(tenant)s,"
                " p_path => %(path)s) as webhook",
                token_hash=address.token_hash,
                tenant=address.tenant,
                path=address.path,
            )
        found: dict[str, Any] | None = None if row is None else row["webhook"]
        return found

    async def _write_journal(self, rejections: list[dict[str, Any]]) -> None:
        async with self._transactions.take(_OWN):
            await self._database.own(
                "select flowgres.reject_deliveries(p_rejections => %(rejections)s)", rejections=Jsonb(rejections)
            )

    def _limits(self, endpoint: Endpoint | None) -> BodyLimits:
        most = self._settings.max_body_bytes
        return BodyLimits(
            bytes=most if endpoint is None else min(most, endpoint.max_bytes),
            depth=self._settings.max_json_depth,
            values=_MOST_VALUES,
            seconds=self._settings.body_seconds,
        )

    def _party(self, request: Request, endpoint: Endpoint | None) -> Party:
        if endpoint is None or (endpoint.id, _host_of(request)) not in self._senders:
            return STRANGERS
        return endpoint.tenant_id

    def _know(self, request: Request, endpoint: Endpoint) -> None:
        visit_of(request).is_proven = True
        sender = (endpoint.id, _host_of(request))
        self._senders[sender] = None
        self._senders.move_to_end(sender)
        if len(self._senders) > _MOST_SENDERS:
            self._senders.popitem(last=False)


class _RefusedError(Problem):
    """The delivery is not authentic: one answer for every reason, and for addresses that there are not."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            401,
            "webhook_refused",
            "this delivery is not accepted",
            hint="Is the address right, the secret, and the clock? Its owner sees why: flowgres webhooks deliveries.",
        )
        self.reason = reason


class _LoggedError(Problem):
    """A refusal that SQL has logged."""


def _answer(delivered: dict[str, Any]) -> Response:
    """What the sender reads."""
    outcome, status = delivered["outcome"], delivered["http_status"]
    if outcome == "rejected":
        refused = _RefusedError(delivered["reason"])
        raise _LoggedError(refused.status, refused.code, refused.detail, hint=refused.hint)
    if outcome == "failed":
        raise _LoggedError(
            status,
            delivered["reason"],
            delivered["message"] or "nothing could start",
            hint=delivered["hint"] or "",
            headers={"Retry-After": _INACTIVE_RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else None,
        )
    if outcome == "answered":
        return JSONResponse({"challenge": delivered["challenge"]})
    body = {"execution_id": str(delivered["execution_id"])}
    return JSONResponse(body | ({"duplicate": True} if outcome == "duplicate" else {}), status_code=status)


def _key_of(scheme: str, proof: Proof, payload: Payload) -> str | None:
    """What the sender calls the delivery: by a header, in the body, or else by what was signed at that second."""
    value = payload.value if isinstance(payload.value, dict) else {}
    key = proof.key
    if scheme in _KEYS_IN_BODIES:
        key = value.get(_KEYS_IN_BODIES[scheme])
    elif key is None and payload.event is not None:
        key = f"{payload.event['source']} {payload.event['id']}"
    if not isinstance(key, str) or not key:
        if proof.signed_at is None:
            return None
        key = "signature:" + _digest(proof.signature)
    return key if len(key) <= _MOST_KEY and key.isprintable() else "sha256:" + _digest(key)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _trigger(request: Request, endpoint: Endpoint, headers: Headers, payload: Payload) -> str:
    """What expressions see of the request, as JSON; the payload as it was written."""
    members = {
        "headers": kept_headers(headers, endpoint.secrets),
        "query": kept_query(request.scope["query_string"].decode("latin-1"), endpoint.secrets),
    }
    if payload.event is not None:
        members["event"] = dict(payload.event)
    return '{"payload": ' + payload.text + ", " + json.dumps(members, ensure_ascii=False)[1:]


def _is_challenge(value: Any) -> bool:
    return (
        isinstance(value, dict) and value.get("type") == "url_verification" and isinstance(value.get("challenge"), str)
    )


def _headers_of(request: Request) -> Headers:
    found: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        found.setdefault(name, []).append(value)
    return found


def _host_of(request: Request) -> str:
    return request.client.host if request.client is not None else ""
