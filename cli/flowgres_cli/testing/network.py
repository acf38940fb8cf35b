"""The network of cases: a transport that sends nothing, and answers from mocks."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from flowgres_cli.testing.clock import VirtualClock
from flowgres_cli.testing.matching import ABSENT
from flowgres_cli.testing.mocks import Answer
from flowgres_cli.testing.world import Attempt, Sent, current_attempt
from flowgres_runner.http import HttpError, Identity, Target

NOT_MOCKED = "request_not_mocked"


class MockedTransport:
    """The transport of the runner's HTTP client, which builds, reads, masks and judges as ever."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    async def send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        identity: Identity | None = None,
    ) -> MockedAnswer:
        """Answer a request. Raises HttpError for the error of a mock, and where no mock is for it."""
        url = str(target.url.with_fragment(None))
        attempt = current_attempt.get()
        if attempt is None:
            raise HttpError(NOT_MOCKED, "this request belongs to no step, so no mock is for it")
        sent = Sent(attempt.asked, self._clock.now, method, url, dict(headers), body)
        attempt.world.sent.append(sent)
        answer = _answer(attempt, sent)
        if answer is None:
            attempt.world.unanswered.append(f"no mock answers {method} {url} of {_name(attempt)}")
            raise HttpError(
                NOT_MOCKED,
                "no mock answers this request",
                details={"hint": "Add a mock with `step` or `url` to the case, or to its file."},
            )
        await self._clock.sleep(answer.takes)
        if answer.error is not None:
            raise _error(answer.error)
        return MockedAnswer(answer)

    async def close(self) -> None:
        """There is nothing to close."""


class MockedAnswer:
    """What a mock answers, as the client reads it."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = dict(answer.headers)
        self.header_values = {name: [value] for name, value in self.headers.items() if name == "set-cookie"}
        self._rest = b""
        if answer.body is ABSENT:
            return
        is_text = isinstance(answer.body, str)
        kind = "application/octet-stream" if answer.is_base64 else "text/plain; charset=utf-8"
        self.headers.setdefault("content-type", kind if is_text else "application/json")
        if answer.is_base64:
            self._rest = base64.b64decode(answer.body)
        else:
            self._rest = (answer.body if is_text else json.dumps(answer.body, ensure_ascii=False)).encode()

    async def read(self) -> bytes:
        """All of the body, then nothing."""
        rest, self._rest = self._rest, b""
        return rest

    def close(self) -> None:
        """There is no connection."""


def is_base64(text: object) -> bool:
    """Whether a body can be given as base64."""
    try:
        base64.b64decode(text, validate=True)  # type: ignore[arg-type]  # whatever it is, it says so
    except (binascii.Error, TypeError, ValueError):
        return False
    return True


def _answer(attempt: Attempt, sent: Sent) -> Answer | None:
    if attempt.answer is not None:
        answer, attempt.answer = attempt.answer, None
        return answer
    return attempt.world.answers.of_request(attempt.asked, sent.method, sent.url, sent.json)


def _name(attempt: Attempt) -> str:
    asked = attempt.asked
    return asked.step if asked.iteration is None else f"{asked.step}[{asked.iteration}]"


def _error(error: Mapping[str, object]) -> HttpError:
    code = str(error["code"])
    details, after = error.get("details"), error.get("retry_after")
    return HttpError(
        code,
        str(error.get("message", code)),
        str(error.get("class", "connect")),
        retry_after_seconds=after if isinstance(after, int | float) else None,
        details=details if isinstance(details, dict) else None,
    )
