"""Servers on loopback that speak the two APIs of language models as strictly as the real ones do.

What they refuse is told with the status and the body of the real one; what they answer is scripted.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = Any
KEY = "sk-test-key-0123456789"


@dataclass
class LlmServer:
    """One server; use as an async context manager. `answers` are given one after the other, the last one stays.

    An answer is a text, a value (the input of the tool that was asked for, or its JSON), or {"status", "error",
    "headers", "stop", "refusal", "cut", "after", "raw"}.
    """

    answers: list[Json] = field(default_factory=lambda: ["hello"])
    knows_schema: bool = True
    needs_key: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def __aenter__(self) -> LlmServer:
        self._numbers = itertools.count()
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/messages", self._anthropic)
        app.router.add_post("/v1/chat/completions", self._openai)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def _next(self) -> Json:
        number = next(self._numbers)
        return self.answers[min(number, len(self.answers) - 1)]

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        body = await self._taken(request)
        problem = None
        if self.needs_key and request.headers.get("x-api-key") != KEY:
            return _error(
                401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
            )
        if request.headers.get("anthropic-version") != "2023-06-01":
            problem = "anthropic-version: header is required"
        problem = problem or _anthropic_problem(body)
        if problem:
            self.complaints.append(problem)
            return _error(400, {"type": "error", "error": {"type": "invalid_request_error", "message": problem}})
        answer = self._next()
        special = answer if isinstance(answer, dict) and answer.keys() & _SPECIAL else {}
        if "status" in special:
            shape = {"type": "error", "error": {"type": special.get("error", "api_error"), "message": "No."}}
            return _error(special["status"], shape, special.get("headers"))
        value = special.get("value", answer)
        content: list[Json]
        if "tools" in body:
            content = [
                {"type": "text", "text": "Here:"},
                {"type": "tool_use", "id": f"toolu_{len(self.requests)}", "name": "answer",
                 "input": value if isinstance(value, dict) else {"value": value}},
            ]  # fmt: skip
            stop = "tool_use"
        else:
            content, stop = [{"type": "text", "text": value if isinstance(value, str) else ""}], "end_turn"
        return await self._sent(request, special, {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"] + "-20990101",
            "content": content, "stop_reason": special.get("stop", stop), "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 5},
        })  # fmt: skip

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        body = await self._taken(request)
        if self.needs_key and request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error",
                                          "code": "invalid_api_key"}})  # fmt: skip
        problem = _openai_problem(body)
        if problem is None and "response_format" in body and not self.knows_schema:
            problem = "Unrecognized request argument supplied: response_format"
        if problem:
            self.complaints.append(problem)
            return _error(400, {"error": {"message": problem, "type": "invalid_request_error", "code": None}})
        answer = self._next()
        special = answer if isinstance(answer, dict) and answer.keys() & _SPECIAL else {}
        if "status" in special:
            shape = {"error": {"message": "No.", "type": "server_error", "code": special.get("error")}}
            return _error(special["status"], shape, special.get("headers"))
        value = special.get("value", answer)
        content = value if isinstance(value, str) else web.json_response(value).text
        message = {"role": "assistant", "content": content, "refusal": special.get("refusal")}
        return await self._sent(request, special, {
            "id": "c1", "object": "chat.completion", "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": special.get("stop", "stop")}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        })  # fmt: skip

    async def _taken(self, request: web.Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.requests.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return body

    async def _sent(self, request: web.Request, special: dict[str, Any], body: Json) -> web.StreamResponse:
        await asyncio.sleep(special.get("after", 0))
        if "raw" in special:
            return web.Response(text=special["raw"], content_type="application/json")
        whole = web.json_response(body)
        if "cut" not in special:
            return whole
        # The connection is lost within the body.
        data = str(whole.text).encode()
        response = web.StreamResponse(headers={"Content-Length": str(len(data)), "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(data[:20])
        assert request.transport is not None
        request.transport.close()
        return response


_SPECIAL = {"status", "stop", "refusal", "cut", "after", "raw"}


def _error(status: int, body: Json, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def _anthropic_problem(body: dict[str, Any]) -> str | None:
    known = {"model", "max_tokens", "messages", "system", "temperature", "tools", "tool_choice"}
    if body.keys() - known:
        return f"{min(body.keys() - known)}: Extra inputs are not permitted"
    if not isinstance(body.get("model"), str):
        return "model: Field required"
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        return "max_tokens: Field required"
    if not 0 <= body.get("temperature", 0) <= 1:
        return "temperature: range: 0..1"
    for tool in body.get("tools", ()):
        if tool["input_schema"].get("type") != "object":
            return "tools.0.input_schema.type: Field required"
    if "tool_choice" in body and body["tool_choice"]["name"] not in {tool["name"] for tool in body.get("tools", ())}:
        return "tool_choice: Tool not found in provided tools"
    return _messages_problem(body.get("messages"), {"user", "assistant"}) or _calls_problem(body["messages"])


def _messages_problem(messages: Json, roles: set[str]) -> str | None:
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    before = None
    for message in messages:
        if message.get("role") not in roles:
            return f"messages: Unexpected role {message.get('role')!r}"
        if message["role"] == before:
            return "messages: roles must alternate"
        if not message.get("content"):
            return "messages: all messages must have non-empty content"
        before = message["role"]
    return "messages: first message must use the user role" if messages[0]["role"] == "assistant" else None


def _calls_problem(messages: list[Json]) -> str | None:
    for message, following in itertools.pairwise(messages):
        blocks = message["content"] if isinstance(message["content"], list) else []
        called = {block["id"] for block in blocks if block.get("type") == "tool_use"}
        answers = following["content"] if isinstance(following["content"], list) else []
        answered = {block.get("tool_use_id") for block in answers if block.get("type") == "tool_result"}
        if called - answered:
            return "messages: `tool_use` ids were found without `tool_result` blocks immediately after"
    return None


def _openai_problem(body: dict[str, Any]) -> str | None:
    known = {"model", "max_tokens", "max_completion_tokens", "messages", "temperature", "response_format"}
    if body.keys() - known:
        return f"Unrecognized request argument supplied: {min(body.keys() - known)}"
    if not isinstance(body.get("model"), str):
        return "you must provide a model parameter"
    shape = body.get("response_format")
    if shape is not None and (shape["type"] != "json_schema" or not {"name", "schema"} <= shape["json_schema"].keys()):
        return "Missing required parameter: 'response_format.json_schema.name'"
    messages = body.get("messages")
    first = messages[1:] if messages and messages[0].get("role") == "system" else messages
    return _messages_problem(first, {"user", "assistant"})
