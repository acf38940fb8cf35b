"""Anthropic's Messages API: POST /v1/messages.

An answer by a schema is asked for as the call of one tool, which the model must make: its input is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_runner.json_values import Json, encode_json
from flowgres_runner.llm.conversation import (
    END_TURN,
    MAX_TOKENS,
    REFUSAL,
    STOP_SEQUENCE,
    Question,
    Reply,
    Usage,
    count,
    member,
)

VERSION = "2023-06-01"
_TOOL = "answer"
_WRAPPED = "value"
"""The input of a tool is an object: what else a schema asks for is put below this name."""
_STOPPED = {"tool_use": END_TURN, "end_turn": END_TURN, "max_tokens": MAX_TOKENS, "stop_sequence": STOP_SEQUENCE,
            "refusal": REFUSAL}  # fmt: skip


class Anthropic:
    """See `Dialect`."""

    key_name = "ANTHROPIC_API_KEY"
    base_name = "ANTHROPIC_BASE_URL"
    default_base = "https://api.anthropic.com"

    def path(self) -> str:
        """See Dialect."""
        return "/v1/messages"

    def headers(self, key: str | None) -> dict[str, str]:
        """See Dialect."""
        headers = {"anthropic-version": VERSION}
        return headers if key is None else {**headers, "x-api-key": key}

    def body(self, question: Question, *, base: str) -> dict[str, Any]:
        """See Dialect."""
        body: dict[str, Any] = {
            "model": question.model,
            "max_tokens": question.max_tokens,
            "messages": list(question.messages),
        }
        if question.system is not None:
            body["system"] = question.system
        if question.temperature is not None:
            body["temperature"] = question.temperature
        if question.schema is not None:
            about = "Give the answer. Call this once, with all of it."
            body["tools"] = [{"name": _TOOL, "description": about, "input_schema": _as_object(question.schema)}]
            body["tool_choice"] = {"type": "tool", "name": _TOOL}
        return body

    def read(self, body: Json, question: Question) -> Reply:
        """See Dialect."""
        content = member(body, "content", list)
        texts: list[str] = []
        call_id: str | None = None
        for block in content:
            kind = member(block, "type", str)
            if kind == "text":
                texts.append(member(block, "text", str))
            elif kind == "tool_use":
                call_id = member(block, "id", str)
                given = member(block, "input", dict)
                is_wrapped = question.schema is not None and not _is_object(question.schema) and _WRAPPED in given
                texts = [encode_json(given[_WRAPPED] if is_wrapped else given)]
                break
        stopped = member(body, "stop_reason", str)
        usage = member(body, "usage", dict)
        return Reply(
            text="".join(texts),
            stop_reason=_STOPPED.get(stopped, stopped),
            model=member(body, "model", str),
            usage=Usage(count(usage, "input_tokens"), count(usage, "output_tokens")),
            turn={"role": "assistant", "content": content},
            call_id=call_id,
        )

    def repaired(self, question: Question, reply: Reply, complaint: str) -> Question:
        """See Dialect: a call has to be answered, or the next question is refused."""
        if reply.call_id is None:
            return question.followed_by(reply.turn, {"role": "user", "content": complaint})
        result = {"type": "tool_result", "tool_use_id": reply.call_id, "is_error": True, "content": complaint}
        return question.followed_by(reply.turn, {"role": "user", "content": [result]})

    def is_about_schema(self, status: int, words: str) -> bool:
        """See Dialect: every model takes tools."""
        return False


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object"


def _as_object(schema: Mapping[str, Any]) -> dict[str, Any]:
    if _is_object(schema):
        return dict(schema)
    inner = {key: value for key, value in schema.items() if key not in ("$defs", "definitions", "$schema")}
    kept = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {"type": "object", "properties": {_WRAPPED: inner}, "required": [_WRAPPED], **kept}
