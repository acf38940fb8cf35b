"""One request over aiohttp, without redirects, decoding or retries; its errors become ours here.

aiohttp itself instead of httpx over aiohttp, by measurement. Client CPU for one small POST to a local echo server at
50 / 200 concurrent requests (Python 3.11, 2 cores): httpx 0.28 4,100 / 3,100 us, httpx2 2.16 630 / 1,080,
httpx.AsyncClient over httpx-aiohttp 290 / 310 (httpx2: 265 / 270), httpx.Request straight into that transport
185 / 200, aiohttp 97 / 102. Two more reasons: that transport reports every lost connection as a connect timeout and
lets broken framing through unmapped, so outcomes could not be told apart; and httpx parses URLs in its own way, where
only one parser may have a say. `Transport` is the seam: a benchmark puts httpx or httpx2 behind it.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Mapping
from typing import Protocol

import aiohttp
from aiohttp import http_exceptions

from flowgres_runner.http.failures import HttpError
from flowgres_runner.http.guard import GuardedResolver, Resolve, guarded_socket
from flowgres_runner.http.headers import received_headers
from flowgres_runner.http.tls import Contexts, Identity
from flowgres_runner.http.urls import Target

_KEEPALIVE_SECONDS = 4.0
"""Shorter than the 5 s of common servers: a connection they are about to close must not be picked."""
_LARGE_BODY_BYTES = 1 << 20
_PIECE_BYTES = 65_536
_BUFFER_BYTES = 16_384
"""Of what nobody has asked for yet; with twice as much a connection is not read from any more."""
_MAX_HEADER_BYTES = 16_384
_MAX_HEADER_COUNT = 128
_ERRORS = (aiohttp.ClientError, http_exceptions.HttpProcessingError, OSError)


class Answer(Protocol):
    """An answer whose headers are here (names in lower case) and whose body is still on the wire.

    `header_values` has those that came more than once, and cookies, one by one.
    """

    status: int
    headers: dict[str, str]
    header_values: dict[str, list[str]]

    async def read(self) -> bytes:
        """The next piece of the body, empty at its end. Raises HttpError only."""
        ...

    def close(self) -> None:
        """Free the connection; one with an unread rest is not used again."""
        ...


class Transport(Protocol):
    """Sends single requests to checked targets, without redirects. Raises HttpError only."""

    async def send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        identity: Identity | None = None,
    ) -> Answer:
        """Send, and give the answer as soon as its headers are there. The caller closes it."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class _AiohttpAnswer:
    """An answer of aiohttp."""

    __slots__ = ("_is_watched", "_response", "header_values", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._is_watched = False
        self.status = response.status
        self.headers, self.header_values = received_headers(response.raw_headers)

    async def read(self) -> bytes:
        """The next piece of the body (see `Answer`)."""
        content = self._response.content
        if not self._is_watched and not content.is_eof():
            self._watch()
        try:
            return await content.read(_PIECE_BYTES)
        except _ERRORS as error:
            raise _translated(error) from error

    def _watch(self) -> None:
        """End the body with its connection.

        When a later part of a body breaks the framing, aiohttp closes the connection without telling the reader, who
        would then wait for the deadline.
        """
        self._is_watched = True
        connection = self._response.connection
        protocol = connection.protocol if connection is not None else None
        if protocol is None:
            return
        content = self._response.content

        def end(closed: asyncio.Future[None] | None) -> None:
            if closed is not None and not closed.cancelled():
                closed.exception()
            if not content.is_eof() and content.exception() is None:
                content.set_exception(aiohttp.ClientPayloadError("the connection was closed within the body"))

        closed = protocol.closed
        if closed is None:
            end(None)
        else:
            closed.add_done_callback(end)

    def close(self) -> None:
        """Free the connection; aiohttp itself closes one that has unread bytes."""
        self._response.release()


def _read_in_pieces(response: aiohttp.ClientResponse) -> None:
    """Have the loop take less from the socket at once: a connection that waits keeps that much in memory."""
    connection = response.connection
    transport = connection.transport if connection is not None else None
    if transport is not None and hasattr(transport, "max_size"):
        transport.max_size = _PIECE_BYTES


class AiohttpTransport:
    """The transport of production: aiohttp with the guard in its connector."""

    def __init__(self, *, concurrency: int, resolve: Resolve | None = None) -> None:
        self._concurrency = concurrency
        self._resolver = GuardedResolver(resolve)
        self._contexts = Contexts()
        self._open_session: aiohttp.ClientSession | None = None

    def _session(self) -> aiohttp.ClientSession:
        """The session, made at first use because it binds to the running loop."""
        if self._open_session is None:
            self._open_session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=self._resolver,
                    use_dns_cache=False,  # every connection is checked against what DNS says now
                    socket_factory=guarded_socket,
                    limit=self._concurrency,
                    keepalive_timeout=_KEEPALIVE_SECONDS,
                ),
                # The client's deadline covers everything; a second set of clocks would only blur the outcome.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # no proxy, no netrc: they would take the connection past the guard
                read_bufsize=_BUFFER_BYTES,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                max_headers=_MAX_HEADER_COUNT,
            )
        return self._open_session

    async def send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        identity: Identity | None = None,
    ) -> Answer:
        """Send one request (see `Transport`)."""
        trusted: ssl.SSLContext | bool = True if identity is None else await self._contexts.find(identity)
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY_BYTES else body
        try:
            response = await self._session().request(
                method,
                target.url,
                headers=headers,
                data=data,
                allow_redirects=False,
                ssl=trusted,
                middlewares=() if method in _SENT_ONCE else (_send_once,),
            )
            _read_in_pieces(response)
            return _AiohttpAnswer(response)
        except _ERRORS as error:
            raise _translated(error) from error

    async def close(self) -> None:
        """Close all connections and the resolver's threads."""
        if self._open_session is not None:
            await self._open_session.close()
            self._open_session = None
            # Transports of aborted TLS connections finish in the next turns of the loop.
            await asyncio.sleep(0)
        await self._resolver.close()


_SENT_ONCE = frozenset({"POST", "PATCH"})
"""Methods that aiohttp itself never sends again."""


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware that makes every attempt the last one.

    aiohttp would silently send GET, PUT and DELETE a second time when a connection breaks; attempts are the engine's to
    count. It does so for errors of its own, so ours take their place before it sees them.
    """
    try:
        return await send(request)
    except _ERRORS as error:
        raise _translated(error) from error


def _translated(error: Exception) -> HttpError:
    """Our error for one of aiohttp's. Texts of the peer stay out of the message."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return HttpError("http_tls", "the server's certificate is not valid for this address", "tls")
    if _demands_certificate(error):
        return HttpError("http_tls", "the server refused the certificate that it was shown, or demands one", "tls")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return HttpError("http_tls", "the TLS handshake failed", "connect")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return HttpError("http_connect", "the name could not be resolved", "connect")
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or "no connection"
        return HttpError("http_connect", f"could not connect: {reason.lower()[:80]}", "connect")
    if isinstance(error, aiohttp.InvalidURL):
        return HttpError("url_invalid", "the url is malformed")
    cause = _parser_error(error)
    if isinstance(cause, http_exceptions.LineTooLong) or (cause is not None and "Too many headers" in cause.message):
        return HttpError("response_too_large", f"the headers of the response are larger than {_MAX_HEADER_BYTES} bytes")
    if cause is not None and not _is_incomplete(cause):
        return HttpError("response_malformed", "the response is not valid HTTP")
    if isinstance(error, aiohttp.ClientPayloadError):
        return HttpError("http_connect", "the response ended before it was complete", "connect")
    return HttpError("http_connect", "the connection was lost before the response", "connect")


def _demands_certificate(error: BaseException) -> bool:
    """Whether the server ended the connection for want of another client certificate."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    reason = (seen.reason or "") if isinstance(seen, ssl.SSLError) else ""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _parser_error(error: BaseException) -> http_exceptions.BadHttpMessage | None:
    """What aiohttp's parser said, at the bottom of the chain."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, http_exceptions.BadHttpMessage):
        seen = seen.__cause__ or seen.__context__
    return seen


def _is_incomplete(cause: http_exceptions.BadHttpMessage) -> bool:
    """Whether the connection ended inside a body, which happens to good servers too."""
    return isinstance(cause, http_exceptions.PayloadEncodingError) and "Not enough data" in cause.message
