"""`flowgres test --record`: a file of cases from a real run, which passes when it is replayed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flowgres_definitions.loader import load_definition
from tests.support.server import Server

from .conftest import Flowgres

pytestmark = pytest.mark.slow

SECRET = "a-secret-that-is-long-enough"
WORKFLOW = """\
name: recorded
inputs:
  base: {type: string, required: true}
  amount: {type: number, default: 5}
steps:
  - id: raw
    type: http
    config: {url: "{{ input.base }}/flaky", headers: {Authorization: "Bearer {{ secrets.RECORD_KEY }}"}}
    retry: {attempts: 3, delay: 10ms}
  - id: word
    type: http
    config: {url: "{{ input.base }}/word"}
  - id: bytes
    type: http
    config: {url: "{{ input.base }}/bytes"}
  - id: nothing
    type: http
    config: {method: DELETE, url: "{{ input.base }}/nothing"}
  - id: shaped
    type: http
    config: {url: "{{ input.base }}/object"}
    output: {id: "{{ response.body.id }}"}
  - {id: wait, type: delay, config: {seconds: 0.1}}
  - id: each
    type: http
    foreach: {items: [a, b, missing], tolerate: 100%}
    config: {url: "{{ input.base }}/item/{{ item }}"}
    output: "{{ response.body }}"
  - id: child
    type: sub_workflow
    config: {workflow: recorded_child, input: {}}
  - id: large
    type: condition
    config: {expression: "{{ input.amount > 100 }}", true_branch: [review], false_branch: [pass]}
  - {id: review, type: log, config: {message: review}}
  - {id: pass, type: log, config: {message: pass}}
outputs:
  raw: "{{ steps.raw.output }}"
  word: "{{ steps.word.output.body }}"
  word_headers: "{{ steps.word.output.headers }}"
  bytes: "{{ steps.bytes.output }}"
  nothing: "{{ steps.nothing.output.body }}"
  shaped: "{{ steps.shaped.output }}"
  each: "{{ steps.each.output }}"
  child: "{{ steps.child.output }}"
  id: "run {{ execution.id }}"
  at: "{{ execution.started_at }}"
  texts: ["1e5", "on", "0o7", "", "null", "2026-01-01", "two\\nlines", "12:30"]
"""
CHILD = """\
name: recorded_child
steps:
  - {id: deep, type: transform, config: {expression: "{{ 42 }}"}}
outputs: {answer: "{{ steps.deep.output }}"}
"""
BROKEN = """\
name: recorded_broken
inputs: {base: {type: string, required: true}}
steps:
  - id: ask
    type: http
    config: {url: "{{ input.base }}/item/missing"}
"""


class _Service(BaseHTTPRequestHandler):
    """Answers once with 503 and the secret that it was sent, then with what the path says."""

    asked: set[str] = set()  # noqa: RUF012 - of all requests

    def do_GET(self) -> None:
        headers: dict[str, str] = {"Content-Type": "application/json", "X-Trace": "t-1"}
        status, body = 200, json.dumps({"id": 7, "said": self.headers.get("Authorization"), "none": None}).encode()
        if self.path == "/flaky" and self.path not in self.asked:
            status, body = 503, json.dumps({"said": self.headers.get("Authorization")}).encode()
        elif self.path == "/word":
            body = b'"a word"'
        elif self.path == "/bytes":
            headers["Content-Type"], body = "image/png", b"\x89PNG\x00\xff"
        elif self.path == "/item/missing":
            status, body = 404, b'{"error": "missing"}'
        elif self.path.startswith("/item/"):
            body = json.dumps(self.path[-1]).encode()
        self.asked.add(self.path)
        self._answer(status, headers, body)

    def do_DELETE(self) -> None:
        self._answer(204, {}, b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Service) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def recorded(live: Flowgres, base: str) -> Path:
    """A folder with the workflows, and cases that were recorded of them."""
    folder = live.folder / "recorded"
    folder.mkdir()
    for name, text in (("child", CHILD), ("workflow", WORKFLOW), ("broken", BROKEN)):
        (folder / f"{name}.yaml").write_text(text)
    stored = live("secrets", "set", "RECORD_KEY", stdin=SECRET)
    assert stored.code == 0, stored.err
    assert live("import", "recorded").code == 0
    for name in ("recorded", "recorded_broken"):
        run = live("run", name, "-f", f"base={base}", "--wait")
        assert run.code in (0, 7), run.err
        execution_id = live("executions", "list", "--workflow", name, "-o", "id").out.split()[0]
        kept = live("test", "--record", execution_id, "--output-file", f"recorded/{name}.test.yaml")
        assert (kept.code, kept.out) == (0, ""), kept.err
    return folder


def test_recorded_cases_pass_when_they_are_replayed(recorded: Path, live: Flowgres, server: Server) -> None:
    answer = live("test", "recorded", "--format", "json", "--database-url", server.superuser_dsn)
    assert [case["failures"] for case in answer.json["cases"]] == [[], []]
    assert answer.code == 0


def test_secrets_are_named_and_not_recorded(recorded: Path) -> None:
    text = (recorded / "recorded.test.yaml").read_text()
    assert "RECORD_KEY: put-in-RECORD_KEY" in text
    assert SECRET not in text
    assert "Bearer ***" in text


def test_attempts_are_recorded_one_after_the_other(recorded: Path) -> None:
    document = load_definition((recorded / "recorded.test.yaml").read_bytes()).document
    (case,) = document["cases"]
    first = next(mock for mock in case["mocks"] if mock["step"] == "raw")
    assert [answer["status"] for answer in first["answers"]] == [503, 200]
    assert set(first["answers"][1]["headers"]) == {"content-type", "x-trace"}
    assert [mock["when"] for mock in case["mocks"] if mock["step"] == "each"] == [{"item_index": n} for n in range(3)]
    assert {"step": "child", "output": {"answer": 42}} in case["mocks"]
    assert case["expect"]["branches"] == {"large": "false"}
    assert case["expect"]["steps"]["review"] == "skipped"
    assert document["workflow"] == "workflow.yaml"


def test_changed_workflow_fails_the_recorded_case(recorded: Path, live: Flowgres, server: Server) -> None:
    changed = live.folder / "changed"
    changed.mkdir()
    (changed / "workflow.yaml").write_text(WORKFLOW.replace("input.amount > 100", "input.amount > 1"))
    (changed / "recorded.test.yaml").write_text((recorded / "recorded.test.yaml").read_text())
    answer = live("test", "changed", "--database-url", server.superuser_dsn)
    assert answer.code == 1
    assert "recorded.test.yaml" in answer.out
    assert "branches.large" in answer.out


def test_workflow_is_written_along_where_it_is_not_there(recorded: Path, live: Flowgres, server: Server) -> None:
    execution_id = live("executions", "list", "--workflow", "recorded_broken", "-o", "id").out.split()[0]
    printed = live("test", "--record", execution_id)
    assert printed.code == 0
    assert "workflow: recorded_broken.yaml\n" in printed.out
    assert "--output-file writes it" in printed.err
    (live.folder / "fresh").mkdir()
    kept = live("test", "--record", execution_id, "--output-file", "fresh/x.test.yaml")
    assert "fresh/recorded_broken.yaml written" in kept.err
    assert live("test", "fresh", "--database-url", server.superuser_dsn).code == 0


def test_run_that_no_case_can_repeat_is_refused(live: Flowgres) -> None:
    started = live("run", "sleep", "--detach")
    execution_id = started.json["execution_id"]
    refused = live("test", "--record", execution_id)
    assert (refused.code, refused.out) == (1, "")
    assert "has not ended" in refused.err
    assert live("executions", "cancel", execution_id).code == 0
    assert "cancelled from outside" in live("test", "--record", execution_id).err
    nowhere = live("test", "--record", "3f2504e0-4f89-71d3-9a0c-0305e82c3301")
    assert nowhere.code == 3
