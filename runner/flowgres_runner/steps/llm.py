"""`llm`: ask a language model, once, and once more when its answer is not as the schema says.

The output is `{text, json, model, stop_reason, usage, cost, repaired, mode}`; `json` is the answer to a `schema`, else
null. In stub mode (the setting `llm_mode`, and in development without a provider) no model is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from flowgres_definitions.description import config_schema
from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator import EvaluatorError
from flowgres_runner.http.headers import retry_after_seconds
from flowgres_runner.json_values import encode_json
from flowgres_runner.llm import DIALECTS, Dialect, LlmError, Question, Reply, Usage, cost_of, refusal_of
from flowgres_runner.llm.conversation import MAX_TOKENS, REFUSAL
from flowgres_runner.llm.refusals import words_of
from flowgres_runner.providers import Providers
from flowgres_runner.steps.base import (
    Completed,
    Failed,
    Handler,
    HttpAnswer,
    HttpFailedError,
    Json,
    Outcome,
    StepError,
    StepTask,
)
from flowgres_runner.steps.failures import as_text, not_configured

_MEMBERS = config_schema("llm")["properties"]
_ANY_STATUS = frozenset(range(100, 600))
_MAX_ANSWER_CHARACTERS = 256 << 10
_MAX_SHOWN_CHARACTERS = 2_000
_DEFAULT_MAX_TOKENS = 1024


class SchemaCheck(Protocol):
    """Reads answers and checks them by strangers' schemas, in a process of its own: a pattern may take for ever."""

    async def check(self, text: str | None, schema: Mapping[str, Any], *, tenant_id: str) -> tuple[Json, list[str]]:
        """The value of a text (None: an example), and what is wrong with it. Raises OutputError, EvaluatorError."""
        ...


class LlmHandler(Handler):
    """Handler of `llm` steps; `check` judges answers that have a schema."""

    type = "llm"
    waits = True
    uses_tools = True
    has_stub = True
    least_timeout_seconds = 120.0
    secret_places = tuple(key for key, of in _MEMBERS.items() if "x-secrets" in of)

    def __init__(self, check: SchemaCheck) -> None:
        self._check = check

    def provider_names(self, config: Json) -> tuple[str, ...]:
        """See Handler."""
        dialect = DIALECTS.get(str(config.get("provider"))) if isinstance(config, dict) else None
        return () if dialect is None else (dialect.key_name, dialect.base_name)

    async def _run(self, task: StepTask) -> Outcome:
        """Ask, or give the stub."""
        config: Any = task.config
        providers = task.providers
        try:
            if providers.settings.get("llm_mode") == "stub":
                return await self._stub(task, config)
            access = _access(config, providers)
            if access is None and providers.is_development:
                return await self._stub(task, config)
            if access is None:
                dialect = DIALECTS[config["provider"]]
                return Failed(not_configured(
                    f"the provider {config['provider']}", dialect.key_name,
                    setting="llm_mode stub", stands_for="answers without a model",
                ))  # fmt: skip
            return await self._ask(task, config, *access)
        except LlmError as error:
            return Failed(
                StepError(error.code, error.message, error.error_class, error.retry_after_seconds, error.details)
            )
        except HttpFailedError as error:
            return Failed(error)
        except OutputError as error:
            return Failed(StepError(error.code, error.message, error.error_class))
        except EvaluatorError as error:
            return Failed(StepError("reader_unavailable", error.message, "internal"))

    async def _ask(self, task: StepTask, config: Mapping[str, Any], base: str, key: str | None) -> Outcome:
        dialect = DIALECTS[config["provider"]]
        schema = config.get("schema")
        question = _question(config)
        reply, question = await _call(task, dialect, question, base, key)
        usage, value, is_repaired = reply.usage, None, False
        if schema is not None:
            value, problems = await self._judged(task, reply, schema, config)
            if problems:
                question = dialect.repaired(question, reply, _complaint(problems))
                reply, _ = await _call(task, dialect, question, base, key)
                usage, is_repaired = usage + reply.usage, True
                value, problems = await self._judged(task, reply, schema, config)
                if problems:
                    raise LlmError(
                        "llm_output_invalid",
                        f"the answer is not as its schema says, also after it was asked to mend it: {problems[0]}",
                        details={"problems": list[Json](problems[:10]), "text": reply.text[:_MAX_SHOWN_CHARACTERS]},
                    )
        prices = task.providers.settings.get("llm_prices")
        cost = cost_of(usage, (reply.model, config["model"]), prices if isinstance(prices, dict) else {})
        return Completed(
            _output(reply, value, usage, mode="call", cost=cost, is_repaired=is_repaired),
            detail={"provider": config["provider"], "model": reply.model, "repaired": is_repaired},
        )

    async def _judged(
        self, task: StepTask, reply: Reply, schema: Mapping[str, Any], config: Mapping[str, Any]
    ) -> tuple[Json, list[str]]:
        """The value of an answer and what is wrong with it. Raises LlmError for one that was cut."""
        if reply.stop_reason == MAX_TOKENS:
            bound = config.get("max_tokens", _DEFAULT_MAX_TOKENS)
            raise LlmError(
                "llm_truncated",
                f"the answer was cut after {bound} tokens, so it is no complete JSON",
                details={"max_tokens": bound, "hint": "Raise max_tokens, or ask for less."},
            )
        return await self._check.check(reply.text, schema, tenant_id=task.tenant_id)

    async def _stub(self, task: StepTask, config: Mapping[str, Any]) -> Outcome:
        schema, given = config.get("schema"), config.get("stub")
        text, value = (
            as_text(given) if given is not None else f"This is no answer of {config['model']}: llm_mode.",
            None,
        )
        if schema is not None:
            asked = None if given is None else text
            value, problems = await self._check.check(asked, schema, tenant_id=task.tenant_id)
            if problems:
                raise LlmError(
                    "llm_stub_invalid",
                    f"the stub is not as the schema says: {problems[0]}",
                    details={"problems": list[Json](problems[:10]), "hint": "Give the answer of tests in config.stub."},
                )
            text = encode_json(value)
        reply = Reply(text, "end_turn", config["model"], Usage(), {})
        return Completed(_output(reply, value, Usage(), mode="stub", cost=None, is_repaired=False))


def _output(reply: Reply, value: Json, usage: Usage, *, mode: str, cost: Json, is_repaired: bool) -> dict[str, Json]:
    return {
        "text": reply.text,
        "json": value,
        "model": reply.model,
        "stop_reason": reply.stop_reason,
        "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
        "cost": cost,
        "repaired": is_repaired,
        "mode": mode,
    }


def _access(config: Mapping[str, Any], providers: Providers) -> tuple[str, str | None] | None:
    """The address and the key; None when there are none. Whoever names an address has none of the operator's keys."""
    dialect = DIALECTS[config["provider"]]
    key, base = config.get("api_key"), config.get("base_url")
    if key is not None or base is not None:
        account = providers.own
    else:
        account = providers.account(dialect.key_name, dialect.base_name)
    key = key or account.get(dialect.key_name)
    base = base or account.get(dialect.base_name)
    if key is None and base is None:
        return None
    return (base or dialect.default_base).rstrip("/"), key


def _question(config: Mapping[str, Any]) -> Question:
    messages = config.get("messages") or [{"role": "user", "content": as_text(config["prompt"])}]
    return Question(
        model=config["model"],
        messages=tuple(messages),
        max_tokens=int(config.get("max_tokens", _DEFAULT_MAX_TOKENS)),
        system=config.get("system"),
        temperature=config.get("temperature"),
        schema=config.get("schema"),
    )


async def _call(
    task: StepTask, dialect: Dialect, question: Question, base: str, key: str | None
) -> tuple[Reply, Question]:
    """Ask once; give the question as it was understood too. Raises LlmError, HttpFailedError."""
    answer = await _send(task, dialect, question, base, key)
    if question.schema is not None and not question.is_plain and not 200 <= answer.status < 300:
        words = " ".join(words_of(answer.body))
        if dialect.is_about_schema(answer.status, words):
            question = replace(question, is_plain=True)
            answer = await _send(task, dialect, question, base, key)
    if not 200 <= answer.status < 300:
        raise refusal_of(answer.status, answer.body, retry_after_seconds=retry_after_seconds(answer.headers))
    reply = dialect.read(answer.body, question)
    if reply.stop_reason == REFUSAL:
        raise LlmError(
            "llm_refused", "the model declined to answer", details={"text": reply.text[:_MAX_SHOWN_CHARACTERS]}
        )
    if len(reply.text) > _MAX_ANSWER_CHARACTERS:
        raise LlmError("llm_answer_too_large", f"the answer has more than {_MAX_ANSWER_CHARACTERS} characters")
    return reply, question


async def _send(task: StepTask, dialect: Dialect, question: Question, base: str, key: str | None) -> HttpAnswer:
    # No status is left to the client: their meaning stands in the body. A redirect would take the key along.
    return await task.http.request(
        "POST",
        base + dialect.path(),
        headers=dialect.headers(key),
        json=dialect.body(question, base=base),
        expected_status=_ANY_STATUS,
    )


def _complaint(problems: list[str]) -> str:
    listed = "\n".join(f"- {problem}" for problem in problems[:10])
    return f"That is not as the schema says:\n{listed}\nGive the whole answer again, so that it is."
