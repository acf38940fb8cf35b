"""The one HTTP client of the runner: guarded, bounded, quick. Nothing else in the runner opens HTTP connections.

The order of one request: parse the URL, check the headers, then under one deadline connect (checked by `guard`), send,
follow redirects, read and decode under the cap, parse, mask. Outcomes are values; only cancellation raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from flowgres_runner.http.budget import ByteBudget, Room, current_room
from flowgres_runner.http.exchange import Exchange, Request, Response
from flowgres_runner.http.failures import Failure, HttpError, SsrfBlockedError
from flowgres_runner.http.guard import Dial, EgressPolicy, Resolve, current_dial
from flowgres_runner.http.headers import retry_after_seconds
from flowgres_runner.http.receiving import BodyReader, ThreadReader, collect, read_body, too_large
from flowgres_runner.http.recording import current_recorder
from flowgres_runner.http.transport import AiohttpTransport, Answer, Transport
from flowgres_runner.json_values import LARGE_BYTES
from flowgres_runner.payloads.codings import codings_of, undo_codings
from flowgres_runner.payloads.failures import BodyError
from flowgres_runner.payloads.masks import BEGINNING_SIZE
from flowgres_runner.payloads.texts import Reading
from flowgres_runner.timing import REAL_TIME, Timing

MAX_RESPONSE_BYTES = 5 << 20
MAX_REDIRECTS = 5
_MAX_EXCERPT_BYTES = 65_536
_MAX_EXCERPT_CHARACTERS = 1_000
_EXCERPT_SECONDS = 1.0


class Client:
    """Sends requests under an egress policy. Use as an async context manager, or call `close`.

    `concurrency` bounds open connections, `resolve` replaces DNS, `transport` replaces aiohttp, `reader` reads large
    bodies, `timing` bounds and measures requests. A request takes from the room of its step (`current_room`); outside
    of one, from a budget of the client.
    """

    def __init__(
        self,
        *,
        policy: EgressPolicy | None = None,
        concurrency: int = 200,
        resolve: Resolve | None = None,
        transport: Transport | None = None,
        user_agent: str = "flowgres",
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        reader: BodyReader | None = None,
        timing: Timing = REAL_TIME,
    ) -> None:
        self._policy = policy or EgressPolicy()
        self._transport = transport or AiohttpTransport(concurrency=concurrency, resolve=resolve)
        self._max_response_bytes = max_response_bytes
        self._reader = reader or ThreadReader()
        self._budget = ByteBudget()
        self._timing = timing
        # Identity: a compressed answer costs CPU here and invites bombs.
        self._own_headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": user_agent}

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def timing(self) -> Timing:
        """The time that requests are measured by."""
        return self._timing

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def request(
        self, request: Request, *, timeout_seconds: float, redact: Sequence[str] = ()
    ) -> Response | Failure:
        """Send a request; give the answer, or why there is none.

        `timeout_seconds` bounds everything from the lookup to the last byte. `redact` lists secret values, which are
        replaced by `***` wherever they would appear in the result.
        """
        exchange = Exchange(request, tuple(redact), self._timing)
        room = current_room.get()
        if room is not None:
            result = await self._bounded(exchange, room, timeout_seconds)
        else:
            with self._budget.room("") as room:
                result = await self._bounded(exchange, room, timeout_seconds)
        recorder = current_recorder.get()
        if recorder is not None:
            recorder.note(exchange, result)
        return result

    async def _bounded(self, exchange: Exchange, room: Room, timeout_seconds: float) -> Response | Failure:
        try:
            async with self._timing.timeout(timeout_seconds):
                return await self._exchange(exchange, room)
        except TimeoutError:
            late = HttpError("http_timeout", f"no complete answer within {timeout_seconds:g} s", "timeout")
            return exchange.failure(late)
        except BodyError as error:
            return exchange.failure(HttpError(error.code, error.message, error.error_class))
        except HttpError as error:
            return exchange.failure(error)

    async def _exchange(self, exchange: Exchange, room: Room) -> Response:
        """Send, follow redirects, read the answer."""
        target = exchange.aim(self._own_headers)
        policy = self._policy
        for _ in range(MAX_REDIRECTS + 1):
            if policy.refuses_name(target.host, target.port):
                raise SsrfBlockedError(f"{target.host} is not a public name", is_allowable=True)
            dial = Dial(policy, by_name=policy.allows_name(target.host, target.port))
            token = current_dial.set(dial)
            try:
                answer = await self._transport.send(
                    exchange.method, target, exchange.headers, exchange.body, identity=exchange.identity
                )
                exchange.status, exchange.answered = answer.status, answer.headers
                try:
                    location = exchange.location(answer)
                    if location is None:
                        return await self._receive(exchange, answer, room)
                finally:
                    answer.close()
            except HttpError:
                if dial.refused is not None:
                    raise SsrfBlockedError(dial.refused, is_allowable=True) from None
                raise
            finally:
                current_dial.reset(token)
            target = exchange.redirect(answer.status, location)
            exchange.status = None
        raise HttpError("http_too_many_redirects", f"more than {MAX_REDIRECTS} redirects", "http_status")

    async def _receive(self, exchange: Exchange, answer: Answer, room: Room) -> Response:
        """Read the body of an expected status; turn any other into an error."""
        if not exchange.request.is_expected(answer.status):
            raise await _unexpected_status(answer, exchange)
        headers = answer.headers
        limit = min(self._max_response_bytes, exchange.request.max_response_bytes or self._max_response_bytes)
        is_head = exchange.method == "HEAD"
        announced = headers.get("content-length", "")
        if not is_head and announced.isdecimal() and int(announced[:20]) > limit:
            raise too_large(limit)
        reading = Reading(
            codings=() if is_head else codings_of(headers.get("content-encoding", "")),
            content_type=headers.get("content-type", ""),
            reads_as=exchange.request.reads_as,
            secrets=exchange.secrets,
            limit=limit,
        )
        given = [await collect(answer, limit=limit, room=room)]
        beginning = given[0]
        if len(beginning) > LARGE_BYTES:
            beginning = beginning[:BEGINNING_SIZE]  # all of it is to go as it is read
        try:
            body = await read_body(given, reading, room=room, reader=self._reader)
        except BodyError:
            if not reading.codings:
                exchange.received = bytes(beginning)
            raise
        return exchange.response(answer, body)


async def _unexpected_status(answer: Answer, exchange: Exchange) -> HttpError:
    """The error for a status, with the beginning of the body, which often says why."""
    status = answer.status
    if status == 429 or status == 425:
        error_class = "429"  # 425, too early, asks for the same: once more, later
    elif status >= 500:
        error_class = "5xx"
    else:
        error_class = "timeout" if status == 408 else "http_status"
    details: dict[str, str | int] = {"status": status}
    excerpt = await _excerpt(answer, exchange)
    if excerpt:
        details["body"] = excerpt
    return HttpError(
        "http_status",
        f"answered {status}",
        error_class,
        retry_after_seconds=retry_after_seconds(answer.headers),
        details=details,
        status=status,
    )


async def _excerpt(answer: Answer, exchange: Exchange) -> str:
    """The first words of an error's body; nothing when it is binary, encoded or slow (the status is enough)."""
    data = b""
    codings: tuple[str, ...] = ("unknown",)
    try:
        codings = codings_of(answer.headers.get("content-encoding", ""))
        async with asyncio.timeout(_EXCERPT_SECONDS):
            while len(data) <= _MAX_EXCERPT_BYTES and (chunk := await answer.read()):
                data += chunk
        if len(data) > _MAX_EXCERPT_BYTES:
            return ""
        data = undo_codings(data, codings, limit=_MAX_EXCERPT_BYTES)
        codings = ()
        text = data.decode().replace("\0", "")
    except (BodyError, HttpError, TimeoutError, UnicodeDecodeError, OSError):
        return ""
    finally:
        if not codings:
            exchange.received = data
    # Masked before it is cut: half a secret must not remain at the end.
    return exchange.mask.text(text)[:_MAX_EXCERPT_CHARACTERS]
