"""Steps that reach a provider, run by a real runner: accounts from secrets, what is kept, and what nobody sees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from flowgres_process.secret_keys import SecretKeys
from tests.support.database import Database, Tenant
from tests.support.front import SECRET_KEY
from tests.support.llm_servers import KEY, LlmServer
from tests.support.mail import MailServer
from tests.support.runner import Runner, run_to_end

Json = Any
StartRunner = Callable[..., Runner]
MAIL = {"channel": "email", "recipient": "ann@example.com", "message": "{{ input.text }}"}
ASK = {"provider": "openai", "model": "m1", "prompt": "{{ input.text }}"}


@pytest.fixture
def tenant(database: Database) -> Tenant:
    return database.make_tenant()


def store(database: Database, tenant: Tenant, **secrets: str) -> None:
    with database.connect() as db:
        for name, value in secrets.items():
            sealed = SecretKeys(SECRET_KEY).seal(value, tenant_id=str(tenant.tenant_id), name=name)
            db.run(
                "insert into flowgres.secrets (tenant_id, name, key_id, nonce, ciphertext) values (%s, %s, %s, %s, %s)",
                tenant.tenant_id, name, sealed.key_id, sealed.nonce, sealed.ciphertext,
            )  # fmt: skip


def run(database: Database, tenant: Tenant, *steps: Json, **given: Json) -> dict[str, Json]:
    with database.connect() as db:
        return run_to_end(database, db, tenant, *steps, **given)


def everything_kept(database: Database) -> str:
    """Attempts and events of all executions, as text."""
    with database.connect() as db:
        rows = db.all("select to_jsonb(a) from flowgres.attempts as a")
        rows += db.all("select to_jsonb(e) from flowgres.events as e")
        rows += db.all("select to_jsonb(s) from flowgres.step_executions as s")
    return json.dumps(rows, default=str)


async def test_mail_and_model_by_the_tenants_secrets(database: Database, tenant: Tenant, runner: Runner) -> None:
    with MailServer() as mail:
        async with LlmServer(answers=["A summary."]) as llm:
            store(
                database, tenant, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{llm.url}/v1", SMTP_FROM="shop@example.com",
                SMTP_URL=f"smtp://127.0.0.1:{mail.port}?tls=none",
            )  # fmt: skip
            steps: list[Json] = [
                {"id": "ask", "type": "llm", "config": ASK},
                {
                    "id": "tell",
                    "type": "notify",
                    "depends_on": ["ask"],
                    "config": MAIL | {"message": "{{ steps.ask.output.text }}"},
                },
            ]
            execution = await asyncio.to_thread(run, database, tenant, *steps, text="long")
    assert execution["status"] == "completed", execution
    assert mail.mails[0].message.get_content().strip() == "A summary."
    assert KEY not in everything_kept(database)


async def test_failed_attempt_keeps_what_it_sent_without_the_key(
    database: Database, tenant: Tenant, runner: Runner
) -> None:
    async with LlmServer(answers=[{"status": 404, "error": "model_not_found"}]) as llm:
        store(database, tenant, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{llm.url}/v1")
        execution = await asyncio.to_thread(
            run, database, tenant, {"id": "ask", "type": "llm", "config": ASK}, text="x"
        )
    assert execution["error"]["code"] == "llm_request_refused"
    kept = everything_kept(database)
    assert "chat/completions" in kept
    assert "model_not_found" in kept
    assert KEY not in kept


def test_mail_that_was_refused_is_kept_with_the_attempt(database: Database, tenant: Tenant, runner: Runner) -> None:
    with MailServer(answer="554 spam") as mail:
        url = f"smtp://127.0.0.1:{mail.port}?tls=none"
        store(database, tenant, SMTP_URL=url, SMTP_FROM="shop@example.com")
        run(database, tenant, {"id": "tell", "type": "notify", "config": MAIL | {"subject": "Hi"}}, text="It is here.")
    with database.connect() as db:
        detail = db.value("select a.detail from flowgres.attempts as a where a.error is not null")
    assert (detail["request"]["method"], detail["request"]["body"].strip()) == ("SMTP", "It is here.")
    assert detail["request"]["headers"]["Subject"] == "Hi"
    assert detail["response"]["status"] == 554


def test_production_without_a_provider_fails_at_once(
    database: Database, tenant: Tenant, start_runner: StartRunner
) -> None:
    with database.connect() as db:
        db.run("update flowgres.settings set value = '\"production\"' where name = 'environment'")
    start_runner(ENV="production")
    execution = run(database, tenant, {"id": "tell", "type": "notify", "config": MAIL}, text="x")
    step = execution["steps"]["tell"]
    assert (step["error"]["code"], step["attempts"]) == ("provider_not_configured", 1)


async def test_operators_account_is_shared_only_when_it_says_so(
    database: Database, tenant: Tenant, start_runner: StartRunner
) -> None:
    async with LlmServer() as llm:
        given = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{llm.url}/v1"}
        alone = start_runner(**given)
        step = {"id": "ask", "type": "llm", "config": ASK}
        execution = await asyncio.to_thread(run, database, tenant, step, text="x")
        assert execution["steps"]["ask"]["output"]["mode"] == "stub"
        assert "SHARED_PROVIDER_KEYS" in alone.log
        alone.stop()
        start_runner(**given, SHARED_PROVIDER_KEYS="true")
        execution = await asyncio.to_thread(run, database, tenant, step, text="x")
    assert execution["steps"]["ask"]["output"]["mode"] == "call"
    assert KEY not in everything_kept(database)


def test_mode_of_the_tenant_holds(database: Database, tenant: Tenant, runner: Runner) -> None:
    store(database, tenant, SMTP_URL="smtp://127.0.0.1:1?tls=none", SMTP_FROM="a@example.com")
    with database.as_role("admin", tenant_id=tenant.tenant_id) as api:
        api.run("select flowgres_api.set_setting(name => 'notify_mode', value => '\"log\"')")
    execution = run(database, tenant, {"id": "tell", "type": "notify", "config": MAIL}, text="x")
    assert execution["steps"]["tell"]["output"]["mode"] == "log"
