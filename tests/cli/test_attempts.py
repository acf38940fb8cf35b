"""`executions show --step`: what became of each attempt, and what was sent and came back."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.cli.conftest import Flowgres
from tests.support.behaviours import Received, answer
from tests.support.llm_servers import KEY, LlmServer
from tests.support.mail import MailServer
from tests.support.peers import Peer, serving

SECRET = "hunter2/with space"


async def echo_all(peer: Peer, request: Received, writer: Any) -> None:
    """Give everything back, with a status that is not expected."""
    told = " ".join(
        (
            request.head.decode(), request.body.decode(), SECRET, quote(SECRET), SECRET.encode().hex(),
            base64.b64encode(SECRET.encode()).decode(), json.dumps(SECRET).replace("/", "\\/"),
        )
    )  # fmt: skip
    headers = {"X-Echo": SECRET, "X-Path": request.path}
    status = 200 if request.path.endswith("/good") else 503
    writer.write(answer(told.encode(), status=status, content_type="text/plain", headers=headers))


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with serving(echo_all) as peer:
        yield peer


def run(live: Flowgres, write: Callable[..., Path], name: str, url: str, **more: Any) -> str:
    config = {
        "method": "POST", "url": f"{url}?key={{{{ secrets.KEY }}}}", "json": {"key": "{{ secrets.KEY }}"},
        "headers": {"X-Key": "{{ secrets.KEY }}"},
    }  # fmt: skip
    step = {"id": "call", "type": "http", "config": config, "retry": {"attempts": 2, "delay": "10ms"}, **more}
    path = write(f"{name}.yaml", json.dumps({"name": name, "steps": [step]}))
    assert live("secrets", "set", "KEY", stdin=SECRET).code == 0
    imported = live("import", str(path))
    assert imported.code == 0, imported.err
    return str(live("run", name, "--wait").json["execution_id"])


def test_last_failed_attempt_shows_what_was_sent_and_came_back(
    live: Flowgres, write: Callable[..., Path], peer: Peer
) -> None:
    execution = run(live, write, "echoed", f"{peer.url}/bad")
    first, second = live("executions", "show", execution, "--step", "call").json
    assert "request" not in first["detail"]
    assert second["detail"]["request"]["url"] == f"{peer.url}/bad?key=***"
    shown = live("executions", "show", execution, "--step", "call", "-o", "table", COLUMNS="80").out
    assert shown.count("attempt") == 2
    assert f"  > POST {peer.url}/bad?key=***\n" in shown
    assert "  > x-key: ***\n" in shown
    assert '  > {"key":"***"}\n' in shown
    assert "  < 503\n" in shown
    assert "  < x-echo: ***\n" in shown
    everything = shown + json.dumps([first, second])
    assert "hunter2" not in everything
    assert SECRET.encode().hex() not in everything
    assert base64.b64encode(SECRET.encode()).decode().rstrip("=") not in everything


def test_every_attempt_is_kept_with_record_all(live: Flowgres, write: Callable[..., Path], peer: Peer) -> None:
    execution = run(live, write, "kept", f"{peer.url}/bad", record="all")
    details = [attempt["detail"] for attempt in live("executions", "show", execution, "--step", "call").json]
    assert [detail["response"]["status"] for detail in details] == [503, 503]
    execution = run(live, write, "kept-good", f"{peer.url}/good", record="all")
    (attempt,) = live("executions", "show", execution, "--step", "call").json
    assert (attempt["status"], attempt["detail"]["response"]["status"]) == ("completed", 200)
    assert "hunter2" not in json.dumps(attempt)


def test_no_attempt_is_kept_with_record_none(live: Flowgres, write: Callable[..., Path], peer: Peer) -> None:
    execution = run(live, write, "unkept", f"{peer.url}/bad", record="none")
    rows = live("executions", "show", execution, "--step", "call").json
    assert [sorted(row["detail"]) for row in rows] == [["duration_ms", "method", "status", "url"]] * 2


def test_step_that_does_not_exist_is_told_with_those_that_do(live: Flowgres) -> None:
    execution = live("run", "greet").json["execution_id"]
    told = live("executions", "show", execution, "--step", "nope")
    assert told.code == 3
    assert "hello" in told.err
    assert live("executions", "show", execution, "--step", "hello").json[0]["status"] == "completed"


def run_step(live: Flowgres, write: Callable[..., Path], name: str, **step: Any) -> tuple[list[Any], str]:
    """Run one step that keeps all; its attempts as JSON, and as a person sees them."""
    definition = {"name": name, "steps": [{"id": "call", "record": "all", **step}]}
    imported = live("import", str(write(f"{name}.yaml", json.dumps(definition))))
    assert imported.code == 0, imported.err
    execution = str(live("run", name, "--wait").json["execution_id"])
    shown = live("executions", "show", execution, "--step", "call", "-o", "table", COLUMNS="200").out
    return live("executions", "show", execution, "--step", "call").json, shown


def test_e_mail_shows_what_was_handed_in(live: Flowgres, write: Callable[..., Path]) -> None:
    with MailServer() as server:
        config = {
            "channel": "email", "recipient": "ann@shop.example", "subject": "Paid", "message": "All is well.",
            "server": f"smtp://127.0.0.1:{server.port}?tls=none", "from": "shop@shop.example",
        }  # fmt: skip
        (attempt,), shown = run_step(live, write, "mailed", type="notify", config=config)
    assert (attempt["status"], len(server.mails)) == ("completed", 1), attempt
    assert f"  > SMTP smtp://127.0.0.1:{server.port}" in shown
    assert "  > All is well." in shown
    assert "  < 250" in shown


def test_question_to_a_model_that_was_mended_shows_both_turns(live: Flowgres, write: Callable[..., Path]) -> None:
    with serving_llm(LlmServer(answers=["none", {"n": 1}], needs_key=False)) as server:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        config = {
            "provider": "openai", "model": "m", "prompt": "How many?", "schema": schema,
            "base_url": f"{server.url}/v1", "api_key": "{{ secrets.MODEL_KEY }}",
        }  # fmt: skip
        assert live("secrets", "set", "MODEL_KEY", stdin=KEY).code == 0
        (attempt,), shown = run_step(live, write, "asked", type="llm", config=config)
    assert (attempt["status"], attempt["detail"]["requests"]) == ("completed", 2), attempt
    assert attempt["detail"]["earlier"]["number"] == 1
    first, second = shown.split("request 2 of 2")
    assert "request 1 of 2" in first
    for part in (first, second):
        assert f"  > POST {server.url}/v1/chat/completions" in part
        assert "  < 200" in part
    assert "How many?" in first
    assert KEY not in shown + json.dumps(attempt)


@contextmanager
def serving_llm(server: LlmServer) -> Iterator[LlmServer]:
    """The server in a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield server
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
