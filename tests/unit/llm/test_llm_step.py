"""The step type `llm` against servers that take nothing that the real ones would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flowgres_runner.http import Client
from flowgres_runner.llm.conversation import Usage
from flowgres_runner.llm.prices import cost_of
from flowgres_runner.reading.reader import Reader
from flowgres_runner.steps.base import Outcome
from flowgres_runner.steps.llm import LlmHandler
from tests.support.llm_servers import KEY, LlmServer
from tests.support.provided import attempt, error_of, output_of

SCORE = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
BOTH = pytest.mark.parametrize("provider", ["anthropic", "openai"])


class Asking:
    """Asks the server of a test in either dialect."""

    def __init__(self, client: Client, reader: Reader, server: LlmServer) -> None:
        self._client, self._handler, self.server = client, LlmHandler(reader), server

    def own(self, provider: str) -> dict[str, str]:
        tail = "/v1" if provider == "openai" else ""
        return {f"{provider.upper()}_API_KEY": KEY, f"{provider.upper()}_BASE_URL": self.server.url + tail}

    async def __call__(
        self,
        provider: str,
        *,
        own: Mapping[str, str] | None = None,
        shared: Any = None,
        settings: Any = None,
        is_development: bool = False,
        seconds: float = 5,
        **config: Any,
    ) -> Outcome:
        basis = {"provider": provider, "model": "m1"} | ({} if "messages" in config else {"prompt": "Hi?"})
        return await attempt(
            self._handler, self._client, basis | config, own=self.own(provider) if own is None else own, shared=shared,
            settings=settings, is_development=is_development, seconds=seconds,
        )  # fmt: skip


@pytest.fixture
def ask(client: Client, reader: Reader, server: LlmServer) -> Asking:
    return Asking(client, reader, server)


@BOTH
async def test_answer_with_usage(ask: Asking, provider: str) -> None:
    output = output_of(await ask(provider, system="Be short.", temperature=0.5, max_tokens=50))
    assert output | {"model": "m1"} == {
        "text": "hello", "json": None, "model": "m1", "stop_reason": "end_turn", "cost": None, "repaired": False,
        "usage": {"input_tokens": 10, "output_tokens": 5}, "mode": "call",
    }  # fmt: skip
    assert ask.server.complaints == []


@BOTH
async def test_conversation_and_values_as_prompt(ask: Asking, provider: str) -> None:
    messages = [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
    ]  # fmt: skip
    output_of(await ask(provider, messages=messages))
    output_of(await ask(provider, prompt={"a": [1]}))
    assert ask.server.requests[0]["messages"] == messages
    assert ask.server.requests[1]["messages"] == [{"role": "user", "content": '{"a":[1]}'}]


@BOTH
async def test_answer_by_schema(ask: Asking, provider: str) -> None:
    ask.server.answers = [{"score": 3}]
    output = output_of(await ask(provider, schema=SCORE))
    assert (output["json"], output["repaired"]) == ({"score": 3}, False)


@BOTH
async def test_schema_that_is_no_object(ask: Asking, provider: str) -> None:
    ask.server.answers = [[1, 2]]
    output = output_of(await ask(provider, schema={"type": "array", "items": {"type": "integer"}}))
    assert output["json"] == [1, 2]
    assert ask.server.complaints == []


@BOTH
async def test_answer_is_mended_in_one_more_turn(ask: Asking, provider: str) -> None:
    ask.server.answers = [{"score": "high"}, {"score": 3}]
    output = output_of(await ask(provider, schema=SCORE))
    assert (output["json"], output["repaired"]) == ({"score": 3}, True)
    assert output["usage"] == {"input_tokens": 20, "output_tokens": 10}
    assert ask.server.complaints == []
    assert "score" in str(ask.server.requests[1]["messages"][-1])


@BOTH
async def test_answer_that_stays_wrong_fails_after_two_turns(ask: Asking, provider: str) -> None:
    ask.server.answers = [{"score": "high"}]
    error = error_of(await ask(provider, schema=SCORE))
    assert (error.code, error.error_class, len(ask.server.requests)) == ("llm_output_invalid", "validation", 2)
    assert isinstance(error.details, dict)
    assert "high" in str(error.details["text"])


async def test_json_in_a_fence_is_json(ask: Asking) -> None:
    ask.server.answers = ['```json\n{"score": 3}\n```']
    assert output_of(await ask("openai", schema=SCORE))["json"] == {"score": 3}


async def test_server_that_knows_no_schema_is_told_in_words(ask: Asking) -> None:
    ask.server.knows_schema, ask.server.answers = False, [{"score": 3}]
    assert output_of(await ask("openai", schema=SCORE))["json"] == {"score": 3}
    assert "response_format" not in ask.server.requests[1]
    assert "JSON Schema" in ask.server.requests[1]["messages"][0]["content"]


@pytest.mark.parametrize(("provider", "stop"), [("anthropic", "max_tokens"), ("openai", "length")])
async def test_answer_that_was_cut_is_told_of(ask: Asking, provider: str, stop: str) -> None:
    ask.server.answers = [{"stop": stop, "value": "hel"}]
    assert output_of(await ask(provider))["stop_reason"] == "max_tokens"
    error = error_of(await ask(provider, schema=SCORE, max_tokens=7))
    assert (error.code, error.error_class, len(ask.server.requests)) == ("llm_truncated", "validation", 2)


@pytest.mark.parametrize(
    ("provider", "answer"),
    [("anthropic", {"stop": "refusal", "value": ""}), ("openai", {"refusal": "I will not.", "value": ""}),
     ("openai", {"stop": "content_filter", "value": ""})],
)  # fmt: skip
async def test_model_that_declines(ask: Asking, provider: str, answer: Any) -> None:
    ask.server.answers = [answer]
    error = error_of(await ask(provider))
    assert (error.code, error.error_class) == ("llm_refused", "validation")


@pytest.mark.parametrize(
    ("provider", "answer", "code", "error_class"),
    [
        ("anthropic", {"status": 529, "error": "overloaded_error"}, "llm_overloaded", "5xx"),
        ("openai", {"status": 503}, "llm_overloaded", "5xx"),
        ("anthropic", {"status": 500, "error": "api_error"}, "llm_unavailable", "5xx"),
        ("anthropic", {"status": 429, "headers": {"retry-after": "7"}}, "llm_rate_limited", "429"),
        ("openai", {"status": 429, "error": "insufficient_quota"}, "llm_quota_exceeded", "http_status"),
        ("anthropic", {"status": 404, "error": "not_found_error"}, "llm_request_refused", "http_status"),
        ("openai", {"status": 302, "headers": {"location": "/elsewhere"}}, "llm_request_refused", "http_status"),
        ("openai", {"cut": True}, "http_connect", "connect"),
        ("openai", {"raw": '{"choices": []}'}, "llm_answer_malformed", "validation"),
        ("anthropic", {"raw": "[]"}, "llm_answer_malformed", "validation"),
        ("openai", {"after": 5}, "http_timeout", "timeout"),
    ],
)
async def test_trouble_has_a_code(ask: Asking, provider: str, answer: Any, code: str, error_class: str) -> None:
    ask.server.answers = [answer]
    error = error_of(await ask(provider, seconds=0.3 if "after" in answer else 5))
    assert (error.code, error.error_class, len(ask.server.requests)) == (code, error_class, 1)
    assert error.retry_after_seconds == (7 if "headers" in answer and "retry-after" in answer["headers"] else None)


@BOTH
async def test_wrong_key_is_not_tried_again_and_not_shown(ask: Asking, provider: str) -> None:
    wrong = "sk-wrong-key-987654321"
    error = error_of(await ask(provider, own=ask.own(provider) | {f"{provider.upper()}_API_KEY": wrong}))
    assert (error.code, error.error_class) == ("llm_unauthorized", "http_status")
    assert wrong not in repr(error)


async def test_cost_by_the_price_of_the_setting(ask: Asking) -> None:
    prices = {"m1": {"input": 3, "output": 15, "currency": "EUR"}}
    output = output_of(await ask("openai", settings={"llm_prices": prices}))
    assert output["cost"] == {"amount": 0.000105, "currency": "EUR"}


@pytest.mark.parametrize("tokens", [10**30, 10**4000], ids=["30 digits", "4000 digits"])
def test_tokens_beyond_all_reason_have_no_cost(tokens: int) -> None:
    assert cost_of(Usage(tokens, 1), ["m1"], {"m1": {"input": 3, "output": 15}}) is None


async def test_key_of_the_operator_never_goes_to_an_address_of_the_tenant(ask: Asking) -> None:
    shared = {"OPENAI_API_KEY": KEY}
    address = f"{ask.server.url}/v1"
    for outcome in (
        await ask("openai", own={}, shared=shared, base_url=address),
        await ask("openai", own={"OPENAI_BASE_URL": address}, shared=shared),
    ):
        assert error_of(outcome).code == "llm_unauthorized"
    assert all("authorization" not in headers for headers in ask.server.headers)
    assert len(ask.server.headers) == 2


async def test_account_of_the_operator_is_used_as_a_whole(ask: Asking) -> None:
    assert output_of(await ask("openai", own={}, shared=ask.own("openai")))["text"] == "hello"


async def test_server_without_keys_needs_none(ask: Asking) -> None:
    ask.server.needs_key = False
    assert output_of(await ask("openai", own={}, base_url=f"{ask.server.url}/v1"))["text"] == "hello"


@BOTH
async def test_without_a_provider_production_fails_and_development_answers(ask: Asking, provider: str) -> None:
    error = error_of(await ask(provider, own={}))
    assert (error.code, error.retryable) == ("provider_not_configured", False)
    assert output_of(await ask(provider, own={}, is_development=True))["mode"] == "stub"
    assert ask.server.requests == []


async def test_stub_is_the_answer_of_the_setting(ask: Asking) -> None:
    stubbed = {"llm_mode": "stub"}
    assert output_of(await ask("openai", settings=stubbed, stub="short"))["text"] == "short"
    output = output_of(await ask("openai", settings=stubbed, schema=SCORE, stub={"score": 9}))
    assert (output["json"], output["text"], output["mode"]) == ({"score": 9}, '{"score":9}', "stub")
    assert output_of(await ask("openai", settings=stubbed, schema=SCORE))["json"] == {"score": 0}
    assert error_of(await ask("openai", settings=stubbed, schema=SCORE, stub={"score": "x"})).code == "llm_stub_invalid"
    assert ask.server.requests == []


async def test_schema_that_takes_for_ever_ends(ask: Asking, client: Client) -> None:
    reader = Reader(cpu_seconds=0.3)
    hostile = {"type": "string", "pattern": "^(a+)+$"}
    ask.server.answers = ['"' + "a" * 40 + '!"']
    try:
        outcome = await attempt(
            LlmHandler(reader), client, {"provider": "openai", "model": "m", "prompt": "x", "schema": hostile},
            own=ask.own("openai"),
        )  # fmt: skip
    finally:
        await reader.close()
    assert error_of(outcome).error_class == "validation"


async def test_schema_that_is_none_is_refused(ask: Asking) -> None:
    ask.server.answers = ["{}"]
    assert error_of(await ask("openai", schema={"type": "objct"})).code == "config_invalid"
