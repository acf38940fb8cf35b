"""The Chat Completions API, which OpenAI and many other servers have: POST /chat/completions below an address like
https://host/v1.

The schema of an answer goes along as `response_format`. Servers that do not know it say so with 400; they are asked
once more, with the schema in words alone.
"""

from __future__ import annotations

from typing import Any

from flowgres_runner.json_values import Json, encode_json
from flowgres_runner.llm.conversation import (
    END_TURN,
    MAX_TOKENS,
    REFUSAL,
    Question,
    Reply,
    Usage,
    count,
    malformed,
    member,
)

_STOPPED = {"stop": END_TURN, "length": MAX_TOKENS, "content_filter": REFUSAL}
_ASKED = "Answer with one JSON value and nothing else. It has to match this JSON Schema: "


class OpenAi:
    """See `Dialect`."""

    key_name = "OPENAI_API_KEY"
    base_name = "OPENAI_BASE_URL"
    default_base = "https://api.openai.com/v1"

    def path(self) -> str:
        """See Dialect."""
        return "/chat/completions"

    def headers(self, key: str | None) -> dict[str, str]:
        """See Dialect."""
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def body(self, question: Question, *, base: str) -> dict[str, Any]:
        """See Dialect."""
        system = question.system
        if question.schema is not None:
            words = _ASKED + encode_json(dict(question.schema))
            system = words if system is None else f"{system}\n\n{words}"
        head = [] if system is None else [{"role": "system", "content": system}]
        # The old name is the one that all others know; newer models of OpenAI refuse it.
        bound = "max_completion_tokens" if base == self.default_base else "max_tokens"
        body: dict[str, Any] = {
            "model": question.model,
            "messages": [*head, *question.messages],
            bound: question.max_tokens,
        }
        if question.temperature is not None:
            body["temperature"] = question.temperature
        if question.schema is not None and not question.is_plain:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(question.schema)},
            }
        return body

    def read(self, body: Json, question: Question) -> Reply:
        """See Dialect."""
        choices = member(body, "choices", list)
        if not choices:
            raise malformed("choices is empty")
        message = member(choices[0], "message", dict)
        stopped = member(choices[0], "finish_reason", str)
        refusal = message.get("refusal")
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            raise malformed("content is no text")
        is_refused = isinstance(refusal, str) and bool(refusal)
        usage = body.get("usage") if isinstance(body, dict) else None
        return Reply(
            text=str(refusal) if is_refused else content or "",
            stop_reason=REFUSAL if is_refused else _STOPPED.get(stopped, stopped),
            model=member(body, "model", str),
            usage=Usage(count(usage, "prompt_tokens"), count(usage, "completion_tokens")),
            turn={"role": "assistant", "content": content or ""},
        )

    def repaired(self, question: Question, reply: Reply, complaint: str) -> Question:
        """See Dialect."""
        return question.followed_by(reply.turn, {"role": "user", "content": complaint})

    def is_about_schema(self, status: int, words: str) -> bool:
        """See Dialect."""
        return status in (400, 422) and ("response_format" in words or "json_schema" in words)
