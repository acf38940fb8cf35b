"""HTTP from workflows: a client that calls only public addresses, within a deadline and a size.

`client` holds the flow; `urls`, `guard`, `headers`, `bodies`, `masks` one rule each; `transport` the only use of a
library that opens sockets.
"""

from __future__ import annotations

from flowgres_runner.http.client import MAX_REDIRECTS, MAX_RESPONSE_BYTES, Client
from flowgres_runner.http.exchange import Request, Response, is_success
from flowgres_runner.http.failures import Failure, HttpError, SsrfBlockedError
from flowgres_runner.http.guard import EgressPolicy, Resolve, is_public
from flowgres_runner.http.headers import basic_authorization
from flowgres_runner.http.tls import Identity
from flowgres_runner.http.transport import AiohttpTransport, Answer, Transport
from flowgres_runner.http.urls import Target

__all__ = [
    "MAX_REDIRECTS",
    "MAX_RESPONSE_BYTES",
    "AiohttpTransport",
    "Answer",
    "Client",
    "EgressPolicy",
    "Failure",
    "HttpError",
    "Identity",
    "Request",
    "Resolve",
    "Response",
    "SsrfBlockedError",
    "Target",
    "Transport",
    "basic_authorization",
    "is_public",
    "is_success",
]
