"""A conversation with a language model, in words of no provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from flowgres_runner.errors import AttemptError
from flowgres_runner.json_values import Json

END_TURN, MAX_TOKENS, STOP_SEQUENCE, REFUSAL = "end_turn", "max_tokens", "stop_sequence", "refusal"
"""Why a model stopped, as the output says it; other words of a provider stay as they are."""


@dataclass(eq=False)
class LlmError(AttemptError):
    """A model gave no answer that can be used."""

    error_class: str = "validation"
    retry_after_seconds: float | None = None
    details: Json = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that were read and written."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked. `messages` are in the provider's own form; `schema` is what the answer has to be like.

    `is_plain`: the server does not know how to be told of a schema, so the words alone have to do.
    """

    model: str
    messages: tuple[Mapping[str, Any], ...]
    max_tokens: int
    system: str | None = None
    temperature: float | None = None
    schema: Mapping[str, Any] | None = None
    is_plain: bool = False

    def followed_by(self, *messages: Mapping[str, Any]) -> Question:
        """The same conversation, some messages later."""
        return replace(self, messages=(*self.messages, *messages))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered. `turn` is its message as the provider wants it back, `call_id` that of a forced call."""

    text: str
    stop_reason: str
    model: str
    usage: Usage
    turn: Mapping[str, Any]
    call_id: str | None = None


class Dialect(Protocol):
    """How one kind of server is spoken to. `key_name` and `base_name` name the secrets of its key and its address."""

    key_name: str
    base_name: str
    default_base: str

    def path(self) -> str:
        """What is put behind the address of the server."""
        ...

    def headers(self, key: str | None) -> dict[str, str]:
        """Who asks, and in which version."""
        ...

    def body(self, question: Question, *, base: str) -> dict[str, Any]:
        """The question as the server wants it."""
        ...

    def read(self, body: Json, question: Question) -> Reply:
        """The answer. Raises LlmError for what is none."""
        ...

    def repaired(self, question: Question, reply: Reply, complaint: str) -> Question:
        """The question again, after an answer that was not as its schema says."""
        ...

    def is_about_schema(self, status: int, words: str) -> bool:
        """Whether a server refused the way in which it was told of a schema."""
        ...


def malformed(why: str) -> LlmError:
    """The server answered something that is no answer of its API."""
    return LlmError("llm_answer_malformed", f"the server's answer is not one of its API: {why}")


def member(value: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """A member of an answer, which has to be there and of this kind."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is int):
        raise malformed(f"{name} is missing, or not what it should be")
    return found


def count(value: Any, name: str) -> int:
    """A number of tokens; 0 where a server does not tell."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else 0
