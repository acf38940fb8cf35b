"""What an attempt of a step that waits is given: the HTTP client under the step's rules, and a log."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Collection, Mapping

from flowgres_runner.http import Client, Failure, Request, Response, is_success
from flowgres_runner.http.recording import current_recorder
from flowgres_runner.json_values import encode_json
from flowgres_runner.providers import NO_PROVIDERS, Providers
from flowgres_runner.steps.base import (
    ConfigInvalidError,
    HttpAnswer,
    HttpFailedError,
    Json,
    JsonText,
    StepLog,
    StepTools,
)
from flowgres_runner.trace_context import TRACE_HEADERS, TraceContext

_JSON_TYPE = "application/json"
_TEXT_TYPE = "text/plain; charset=utf-8"


class GuardedHttp:
    """The runner's client for one attempt, callable from any thread: requests are sent by the loop of the runner."""

    def __init__(
        self, client: Client, *, deadline: float, secret_values: tuple[str, ...], trace: TraceContext | None
    ) -> None:
        self._client = client
        self._trace = trace
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._secret_values = secret_values
        # Of the attempt: what asks may be another loop or a thread, whose requests have a context of their own.
        self._recorder = current_recorder.get()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        json: Json = None,
        timeout_seconds: float | None = None,
        expected_status: Collection[int] | None = None,
    ) -> HttpAnswer:
        """Send a request. Raises HttpFailedError, ConfigInvalidError for a body that cannot be sent."""
        request = _make_request(
            method, url, headers=self._traced(headers), body=body, json=json, expected_status=expected_status
        )
        sending = self._send(request, self._bounded(timeout_seconds))
        if asyncio.get_running_loop() is self._loop:
            return await asyncio.to_thread(_answer, await sending)
        return _answer(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(sending, self._loop)))

    def request_blocking(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        json: Json = None,
        timeout_seconds: float | None = None,
        expected_status: Collection[int] | None = None,
    ) -> HttpAnswer:
        """The same from a thread without a loop."""
        request = _make_request(
            method, url, headers=self._traced(headers), body=body, json=json, expected_status=expected_status
        )
        seconds = self._bounded(timeout_seconds)
        sending = self._send(request, seconds)
        return _answer(asyncio.run_coroutine_threadsafe(sending, self._loop).result(seconds + 5))

    async def _send(self, request: Request, seconds: float) -> Response | Failure:
        current_recorder.set(self._recorder)
        return await self._client.request(request, timeout_seconds=seconds, redact=self._secret_values)

    def _traced(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        """The headers with the span of the attempt, unless there is one in them."""
        given = dict(headers or {})
        if self._trace is None or not TRACE_HEADERS.isdisjoint(name.lower() for name in given):
            return given
        return given | self._trace.headers

    def _bounded(self, seconds: float | None) -> float:
        remaining = max(0.001, self._deadline - time.monotonic())
        return remaining if seconds is None else min(seconds, remaining)


def make_tools(
    client: Client,
    *,
    timeout_seconds: float,
    secret_values: tuple[str, ...],
    trace: TraceContext | None = None,
    providers: Providers = NO_PROVIDERS,
) -> StepTools:
    """The tools of one attempt that begins now; to be called in the loop of the runner."""
    deadline = time.monotonic() + timeout_seconds
    return StepTools(
        http=GuardedHttp(client, deadline=deadline, secret_values=secret_values, trace=trace),
        log=StepLog(),
        deadline=deadline,
        cancelled=threading.Event(),
        secret_values=secret_values,
        providers=providers,
    )


def _make_request(
    method: str,
    url: str,
    *,
    headers: dict[str, str],
    body: bytes | str | None,
    json: Json,
    expected_status: Collection[int] | None,
) -> Request:
    given = headers
    content_type = None
    if json is not None:
        if body is not None:
            raise ConfigInvalidError("only one of body and json can be given")
        try:
            body, content_type = encode_json(json), _JSON_TYPE
        except (TypeError, ValueError, RecursionError):
            raise ConfigInvalidError("json holds something that cannot be sent") from None
    elif isinstance(body, str):
        content_type = _TEXT_TYPE
    if content_type is not None and "content-type" not in {name.lower() for name in given}:
        given["Content-Type"] = content_type
    try:
        data = body.encode() if isinstance(body, str) else body
    except UnicodeEncodeError:
        raise ConfigInvalidError("the body holds something that cannot be sent") from None
    is_expected = is_success if expected_status is None else frozenset(expected_status).__contains__
    return Request(method=method.upper(), url=url, headers=given, body=data, is_expected=is_expected)


def _answer(result: Response | Failure) -> HttpAnswer:
    """The answer with its body as a value: a large one came as its text, and takes time to open."""
    if isinstance(result, Failure):
        details: Json = None if result.details is None else dict(result.details)
        raise HttpFailedError(result.code, result.message, result.error_class, result.retry_after_seconds, details)
    body = result.body.value
    return HttpAnswer(
        status=result.status,
        headers=result.headers,
        body=json.loads(body.data) if isinstance(body, JsonText) else body,
        is_binary=result.body.is_binary,
        url=result.url,
        header_values=result.header_values,
    )
