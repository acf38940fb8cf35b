"""flowgres_runner.testing: one attempt of a step type without a runner, with what a runner would give it."""

from __future__ import annotations

import asyncio
import json
import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from flowgres_process.errors import SecretError
from flowgres_runner.steps import Completed, Outcome, StepError, StepTask, StepType
from flowgres_runner.testing import config_problems, run_step
from tests.support.packages import EXAMPLE

ACME = runpy.run_path(str(EXAMPLE / "acme_steps.py"))
Shout, Customer = ACME["Shout"], ACME["Customer"]


class Slow(StepType):
    type = "slow"

    async def run(self, task: StepTask) -> Outcome:
        task.log.info("begun")
        task.progress(0.25, "begun")
        task.progress(7)
        await asyncio.sleep(60)
        return Completed(None)


class Moody(StepType):
    type = "moody"

    def run(self, task: StepTask) -> Outcome:
        if task.attempt < 2:
            raise StepError("moody", "not today", retryable=True)
        return Completed([task.item, task.resume, task.idempotency_key])


class _Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"sent": self.headers["authorization"]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_attempt_gives_its_output_and_its_lines() -> None:
    run = run_step(Shout, {"text": "hi", "times": 2})
    assert run.output == "HI!!"
    assert run.log == (("info", "shouting 2 characters"),)


def test_a_configuration_is_checked_as_an_import_and_a_runner_do() -> None:
    assert run_step(Shout, {"text": ""}).error.code == "config_invalid"
    assert config_problems(Shout, {"text": "{{ input.text }}"}) == []
    assert [line.split(":")[0] for line in config_problems(Shout, {"text": 1, "tmes": 1})] == ["tmes", "text"]


def test_secrets_are_put_in_and_masked_in_what_comes_out(service: str) -> None:
    config: dict[str, Any] = {"service": service, "id": 7, "token": "{{ secrets.KEY }}"}
    run = run_step(Customer(), config, secrets={"KEY": "tok-3f9A/xyz-secret"})
    assert run.output == {"sent": "Bearer ***"}


def test_a_secret_elsewhere_is_refused_as_a_runner_refuses_it() -> None:
    with pytest.raises(SecretError):
        run_step(Shout, {"text": "{{ secrets.KEY }}"}, secrets={"KEY": "x"})
    with pytest.raises(KeyError, match="no value is given for the secret KEY"):
        run_step(Shout, {"text": "{{ secrets.KEY }}"})


def test_the_guard_is_there_when_it_is_asked_for(service: str) -> None:
    config: dict[str, Any] = {"service": service, "id": 7, "token": "x"}
    assert run_step(Customer, config, allow_private_networks=False).error.code == "ssrf_blocked"


def test_an_attempt_ends_with_its_time_or_its_cancel() -> None:
    assert run_step(Slow, timeout_seconds=0.01).error.error_class == "timeout"
    cancelled = run_step(Slow, cancel_after_seconds=0.1)
    assert (cancelled.outcome, cancelled.log) == (None, (("info", "begun"),))
    assert cancelled.progress == ((0.25, "begun"), (1.0, ""))


def test_what_an_attempt_is_told_can_be_chosen() -> None:
    assert run_step(Moody).error.retryable is True
    again = run_step(Moody, attempt=2, item="i", resume={"r": 1}).output
    assert again == ["i", {"r": 1}, "00000000-0000-7000-8000-000000000001/step"]
