"""Step types of packages, from the installation of a package to its removal, with real runners."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.api import Api
from tests.support.database import Database, Db, Tenant
from tests.support.engine import get, import_workflow, start
from tests.support.front import Front
from tests.support.packages import EXAMPLE, beside, install_example, install_module
from tests.support.runner import Runner, wait_for

pytestmark = pytest.mark.slow

Json = Any
TOKEN = "tok-3f9A/xyz-secret"

CLUMSY = """
import time
from flowgres_runner.steps import Completed, StepError, StepType


class Clumsy(StepType):
    type = "clumsy"

    async def run(self, task):
        time.sleep(task.config["seconds"])
        return Completed(task.attempt)


class Moody(StepType):
    type = "moody"

    def run(self, task):
        task.log.warning(f"attempt {task.attempt}")
        if task.config["mood"] == "bug":
            raise KeyError("no such thing")
        raise StepError("moody", "not today", retryable=task.config["mood"] == "again", retry_after_seconds=0.05)


class Asleep(StepType):
    type = "asleep"

    def start(self):
        raise OSError("no pool today")

    def run(self, task):
        return Completed(None)
"""


class Service(BaseHTTPRequestHandler):
    """The customers' service: one customer, who gets to see what was sent."""

    seen: ClassVar[list[dict[str, str]]]

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        found = self.path == "/customers/7"
        body = json.dumps({"name": "ada", "sent": self.headers["authorization"]} if found else {}).encode()
        self.send_response(200 if found else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict[str, str]]]]:
    class Seen(Service):
        seen: ClassVar[list[dict[str, str]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Seen)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Seen.seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def front(database: Database, tenant: Tenant, tmp_path: Path) -> Iterator[Api]:
    """A front in whose environment the packages are not: it knows what runners published."""
    with Front(database.url("front"), log_path=tmp_path / "front.log") as process:
        yield Api(process.url).as_key(tenant.key)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_example(tmp_path_factory.mktemp("example"))


@pytest.fixture
def clumsy(tmp_path: Path) -> Path:
    return install_module(tmp_path / "clumsy", "clumsy_types", CLUMSY, clumsy="Clumsy", moody="Moody", asleep="Asleep")


def run(database: Database, db: Db, tenant: Tenant, *steps: Json, given: Json = None) -> Json:
    name = import_workflow(db, tenant, {"name": "subject", "steps": list(steps)})
    return ended(database, tenant, start(database, tenant, name, input=given or {}))


def ended(database: Database, tenant: Tenant, execution_id: str) -> Json:
    def look() -> bool:
        return get(database, tenant, execution_id)["status"] in ("completed", "failed", "cancelled")

    wait_for(look, what="the end of the execution")
    return get(database, tenant, execution_id)


def lines(db: Db, execution_id: str) -> list[str]:
    query = "select message from flowgres.events where execution_id = %s and type = 'log' order by seq"
    return [row["message"] for row in db.all(query, execution_id)]


def test_example_package_is_installed_and_its_workflow_runs(
    database: Database,
    db: Db,
    tenant: Tenant,
    start_runner: Callable[..., Runner],
    example: Path,
    service: tuple[str, list[dict[str, str]]],
    front: Api,
) -> None:
    url, seen = service
    runner = start_runner(**beside(example))
    assert front.request("PUT", "/secrets/CUSTOMER_TOKEN", json={"value": TOKEN}).status_code in (200, 201, 204)
    text = (EXAMPLE / "workflow.yaml").read_bytes()
    sent = front.request("POST", "/workflows", content=text, headers={"Content-Type": "application/yaml"})
    assert sent.status_code == 201, sent.text
    execution_id = start(database, tenant, "greet_customer", input={"service": url, "id": 7})
    execution = ended(database, tenant, execution_id)
    assert execution["output"] == {"greeting": "HELLO ADA!!!"}, execution
    (call,) = seen
    assert call["authorization"] == f"Bearer {TOKEN}"
    assert call["idempotency-key"] == f"{execution_id}/who"
    assert execution["steps"]["who"]["output"] == {"name": "ada", "sent": "Bearer ***"}
    assert [line.split(",")[0] for line in lines(db, execution_id)] == [
        f"attempt 1: asking {url}/customers/7",
        "shouting 9 characters",
    ]
    assert TOKEN not in runner.log
    unknown = ended(database, tenant, start(database, tenant, "greet_customer", input={"service": url, "id": 8}))
    step = unknown["steps"]["who"]
    assert (step["status"], step["attempts"], step["error"]["code"]) == ("failed", 1, "customer_unknown")


def test_schema_is_enforced_at_every_door(
    database: Database,
    db: Db,
    tenant: Tenant,
    api: Api,
    start_runner: Callable[..., Runner],
    example: Path,
    tmp_path: Path,
    front: Api,
) -> None:
    start_runner(**beside(example))
    wrong = {
        "name": "subject",
        "steps": [{"id": "a", "type": "shout", "config": {"txt": "x", "times": "{{ input.n }}"}}],
    }
    # The front, which parses everything at once.
    refused = front.request("POST", "/workflows", json=wrong)
    assert refused.status_code == 422
    assert {(error["path"], error["code"]) for error in refused.json()["errors"]} == {
        ("steps[0].config.text", "missing_key"),
        ("steps[0].config.txt", "unknown_key"),
    }
    # SQL alone, which checks the same.
    client = api.as_key(tenant.key)
    refused = client.rpc("import_workflow", definition=wrong)
    assert refused.status_code == 422
    told = json.loads(refused.json()["details"])
    assert {error["path"] for error in told} == {"steps[0].config.text", "steps[0].config.txt"}
    # Offline, with the package installed beside the command and without it.
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(wrong))
    knowing, ignorant = (_validate(file, environment) for environment in (beside(example), {}))
    assert knowing.returncode == ignorant.returncode == 4
    assert "steps[0].config.txt" in knowing.stderr
    assert "no runner serves" not in knowing.stderr
    assert 'no runner serves the step type "shout"' in ignorant.stderr
    assert _validate(EXAMPLE / "workflow.yaml", beside(example)).returncode == 0
    # What expressions give, before the step runs.
    ended_ = run(
        database, db, tenant, {"id": "a", "type": "shout", "config": {"text": "{{ input.t }}"}}, given={"t": ["no"]}
    )
    error = ended_["steps"]["a"]["error"]
    assert (error["code"], ended_["steps"]["a"]["attempts"]) == ("config_invalid", 1)
    assert error["message"] == "config.text: expected text, found list"


def test_types_own_word_decides_about_retries_and_failures_keep_their_lines(
    database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner], clumsy: Path
) -> None:
    runner = start_runner(**beside(clumsy))
    policy = {"attempts": 3, "delay": 0.05}
    attempts = {}
    for mood in ("again", "never", "bug"):
        step = {"id": "a", "type": "moody", "config": {"mood": mood}, "retry": policy}
        execution = run(database, db, tenant, step)
        attempts[mood] = execution["steps"]["a"]["attempts"]
        assert lines(db, execution["id"]) == [f"attempt {n}" for n in range(1, attempts[mood] + 1)]
    assert attempts == {"again": 3, "never": 1, "bug": 1}
    error = execution["steps"]["a"]["error"]
    assert (error["code"], error["class"], error["message"]) == (
        "step_error",
        "step_error",
        "KeyError: 'no such thing'",
    )
    asked = {"id": "a", "type": "moody", "config": {"mood": "bug"}, "retry": {**policy, "errors": ["step_error"]}}
    assert run(database, db, tenant, asked)["steps"]["a"]["attempts"] == 3
    assert "step_type_start_failed" in runner.log
    assert "no pool today" in runner.log
    assert db.value("select 'asleep' = any(capabilities) from flowgres.runners") is False


def test_type_that_blocks_its_loop_loses_no_lease_and_delays_nobody(
    database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner], clumsy: Path
) -> None:
    db.run("update flowgres.settings set value = '3' where name = 'lease_seconds'")
    db.run("update flowgres.settings set value = '1' where name = 'heartbeat_seconds'")
    runner = start_runner(**beside(clumsy))
    name = import_workflow(
        db, tenant, {"name": "blocks", "steps": [{"id": "a", "type": "clumsy", "config": {"seconds": 7}}]}
    )
    blocked = start(database, tenant, name)
    wait_for(lambda: "step_type_blocked" in runner.log, what="the warning")
    beside_it = run(database, db, tenant, {"id": "a", "type": "log", "config": {"message": "hi"}})
    assert beside_it["status"] == "completed"
    assert get(database, tenant, blocked)["status"] == "running"
    execution = ended(database, tenant, blocked)
    assert (execution["status"], execution["steps"]["a"]["output"]) == ("completed", 1)
    assert db.value("select count(*) from flowgres.runners") == 1
    assert "clumsy_types.py" in runner.log


def test_steps_that_nobody_serves_any_more_say_so(
    database: Database, db: Db, tenant: Tenant, api: Api, start_runner: Callable[..., Runner], example: Path
) -> None:
    served = start_runner(**beside(example))
    step = {"id": "a", "type": "shout", "config": {"text": "hi"}}
    assert run(database, db, tenant, step)["status"] == "completed"
    served.stop()
    waiting = start(database, tenant, "subject")
    alone = get(database, tenant, waiting)["steps"]["a"]
    assert (alone["status"], alone["reason"]) == ("ready", "no runner is alive")
    start_runner()
    said = 'no live runner serves the step type "shout"'
    wait_for(lambda: get(database, tenant, waiting)["steps"]["a"]["reason"] == said, what="the reason")
    client = api.as_key(tenant.key)
    (row,) = client.get(f"/step_executions?execution_id=eq.{waiting}").json()
    assert (row["status"], row["reason"]) == ("ready", said)
    assert api.rpc("health").json()["unserved_types"] == ["shout"]
    options = {"FLOWGRES_API_URL": api.url, "FLOWGRES_API_KEY": tenant.key}
    shown = _flowgres("executions", "show", waiting, "-o", "table", environment=options)
    assert said in " ".join(shown.stdout.split()), shown
    assert "no live runner serves their type" in _flowgres("doctor", "-o", "table", environment=options).stdout
    start_runner(**beside(example))
    assert ended(database, tenant, waiting)["status"] == "completed"
    assert api.rpc("health").json()["unserved_types"] == []


def _validate(file: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return _flowgres("validate", str(file), environment=environment)


def _flowgres(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowgres_cli", *arguments],
        env={"PATH": os.environ["PATH"], "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
