"""The runner's HTTP client over stock httpx, for the benchmark that compares the two.

    python -m tests.support.stock_httpx [arguments of flowgres-runner]

starts a runner that differs from the real one in its transport alone. It has no guard: benchmarks call loopback.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from typing import Any

import httpx

from flowgres_runner.http import Answer, HttpError
from flowgres_runner.http import client as client_module
from flowgres_runner.http.headers import received_headers
from flowgres_runner.http.tls import Identity
from flowgres_runner.http.urls import Target


class _HttpxAnswer:
    """An answer of httpx. It can only be closed with an await, so it closes itself at the end of its body."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.aiter_raw()
        self.status = response.status_code
        self.headers, self.header_values = received_headers(response.headers.raw)

    async def read(self) -> bytes:
        try:
            return await anext(self._chunks, b"")
        except httpx.HTTPError as error:
            raise HttpError("http_connect", "the response ended before it was complete", "connect") from error

    def close(self) -> None:
        pass


class HttpxTransport:
    """A `Transport` over `httpx.AsyncClient` as it comes."""

    def __init__(self, *, concurrency: int, resolve: Any = None) -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.AsyncClient(trust_env=False, limits=limits, timeout=None)  # noqa: S113 (the client's own)

    async def send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        identity: Identity | None = None,
    ) -> Answer:
        request = self._client.build_request(method, str(target.url), headers=headers, content=body)
        try:
            return _HttpxAnswer(await self._client.send(request, stream=True))
        except httpx.HTTPError as error:
            raise HttpError("http_connect", "the connection was lost before the response", "connect") from error

    async def close(self) -> None:
        await self._client.aclose()


def main() -> None:
    """Run a runner on stock httpx."""
    from flowgres_runner.main import main as run_runner

    if find_spec("sniffio") is None:
        # httpcore looks for it anew in every request, a fifth of the cost; the yardstick shall not lose by that.
        vars(sys)["modules"]["sniffio"] = None
    vars(client_module)["AiohttpTransport"] = HttpxTransport
    sys.exit(run_runner())


if __name__ == "__main__":
    main()
