"""What a server means by a status that is no success: the two APIs put it into the same few words."""

from __future__ import annotations

from typing import Any

from flowgres_runner.json_values import Json
from flowgres_runner.llm.conversation import LlmError

_MAX_WORDS = 500
_AGAIN = {503: "llm_overloaded", 529: "llm_overloaded"}


def words_of(body: Json) -> tuple[str, str]:
    """The word and the sentence of an error: {"error": {"type" or "code", "message"}}, or a text as it is."""
    error: Any = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return "", _short(error)
    if isinstance(error, dict):
        word = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
        message = error.get("message")
        return _short(word) if isinstance(word, str) else "", _short(message) if isinstance(message, str) else ""
    return "", _short(body) if isinstance(body, str) else ""


def refusal_of(status: int, body: Json, *, retry_after_seconds: float | None) -> LlmError:
    """The error for an answer that is no success."""
    word, sentence = words_of(body)
    details: dict[str, Any] = {"status": status}
    if word:
        details["error"] = word
    if sentence:
        details["message"] = sentence
    said = f": {sentence}" if sentence else f": {word}" if word else ""

    def made(code: str, what: str, error_class: str) -> LlmError:
        return LlmError(code, f"{what} ({status}){said}", error_class, retry_after_seconds, details)

    if status in (401, 403):
        return made("llm_unauthorized", "the key was refused", "http_status")
    if status == 402 or word in ("insufficient_quota", "billing_error"):
        return made("llm_quota_exceeded", "the account has nothing left", "http_status")
    if status == 429:
        return made("llm_rate_limited", "too many requests or tokens for now", "429")
    if status in _AGAIN or word == "overloaded_error":
        return made("llm_overloaded", "the provider has too much to do", "5xx")
    if status in (408, 504):
        return made("llm_unavailable", "the provider took too long", "timeout")
    if status >= 500:
        return made("llm_unavailable", "the provider failed", "5xx")
    return made("llm_request_refused", "the request was refused", "http_status")


def _short(text: str) -> str:
    return " ".join(text.replace("\0", "").split())[:_MAX_WORDS]
