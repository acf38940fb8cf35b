"""`flowgres mcp`, as a client of the Model Context Protocol meets it: over stdio, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from flowgres_cli.definitions import check_text
from flowgres_cli.stack.ports import free_port, is_free
from flowgres_cli.stack.process import ManagedProcess
from tests.support.api import Api
from tests.support.database import Database
from tests.support.node import NODE, installed
from tests.support.stack import Stack, running_stack

Json = Any
HELLO = Path(__file__).parents[2] / "examples" / "hello"
NOBODYS = "0193b5a0-0000-7000-8000-000000000000"
BROKEN = "name: broken\nsteps:\n  - id: only\n    type: log\n    config: {message: '{{ input.name }'}\n"

CALLS_NOTHING = "name: calls\nsteps:\n  - id: only\n    type: sub_workflow\n    config: {workflow: nothing}\n"

SERVES = """
from pathlib import Path
from flowgres_cli.client import Client
from flowgres_cli.config import load_config
from flowgres_cli.mcp.server import make_server

make_server(Client(load_config({{}}, {{}}, Path("/")))).run("streamable-http", port={port})
"""


@pytest.fixture(scope="module")
def stack(module_database: Database, module_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(module_database, module_api, tmp_path_factory.mktemp("stack")) as stack:
        stack.import_file(HELLO / "workflow.yaml")
        yield stack


@asynccontextmanager
async def model(**environment: str) -> AsyncIterator[Client]:
    """A client that has started `flowgres mcp`."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    started = StdioServerParameters(
        command=sys.executable,
        args=["-m", "flowgres_cli", "mcp"],
        env={**inherited, "XDG_CONFIG_HOME": "/nonexistent", **environment},
    )
    async with Client(started) as client:
        yield client


def of(stack: Stack) -> dict[str, str]:
    return {
        "FLOWGRES_API_URL": stack.api.url,
        "FLOWGRES_FRONT_URL": stack.front.url,
        "FLOWGRES_API_KEY": stack.api.headers["X-API-Key"],
    }


async def call(client: Client, tool: str, /, **arguments: Any) -> Json:
    """What a tool answers."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    found = answer.structured_content
    return found["result"] if set(found) == {"result"} else found


async def refused(client: Client, tool: str, /, **arguments: Any) -> dict[str, Json]:
    """The error of a tool."""
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error, answer.content
    (content,) = answer.content
    assert isinstance(content, TextContent)
    found: dict[str, Json] = json.loads(content.text[content.text.index("{") :])
    return found


async def test_tools_say_what_they_take_and_whether_they_change_anything(stack: Stack) -> None:
    async with model(**of(stack)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    reading = {name for name, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
    assert reading == {
        *("list_workflows", "validate_workflow", "get_execution", "get_logs", "list_approvals", "why"),
        *("list_instances", "get_instance", "get_instance_history"),
    }
    assert set(tools) - reading == {
        *("run_workflow", "cancel_execution", "retry_execution", "start_instance", "transition_instance")
    }
    for tool in tools.values():
        assert tool.description
        assert tool.annotations is not None
    destructive = {name for name, tool in tools.items() if tool.annotations and tool.annotations.destructive_hint}
    assert destructive == {"cancel_execution"}


async def test_a_model_validates_runs_and_reads(stack: Stack) -> None:
    async with model(**of(stack)) as client:
        listed = await call(client, "list_workflows")
        valid = await call(client, "validate_workflow", definition=(HELLO / "workflow.yaml").read_text())
        execution = await call(client, "run_workflow", workflow="hello", input={"name": "Ann"}, idempotency_key="one")
        again = await call(client, "run_workflow", workflow="hello", input={"name": "Ann"}, idempotency_key="one")
        logs = await call(client, "get_logs", execution_id=execution["id"])
        rest = await call(client, "get_logs", execution_id=execution["id"], after=logs[0]["seq"], limit=1)
    assert [(one["name"], one["status"]) for one in listed] == [("hello", "active")]
    assert valid == {"valid": True, "problems": []}
    assert execution["status"] == "completed"
    assert "Ann" in json.dumps(execution["output"])
    assert again["id"] == execution["id"]
    assert logs[0]["type"] == "execution_started"
    assert rest == [logs[1]]


async def test_all_that_is_wrong_with_a_definition_is_told(stack: Stack) -> None:
    async with model(**of(stack)) as client:
        broken = await call(client, "validate_workflow", definition=BROKEN)
        unreadable = await call(client, "validate_workflow", definition="a: [")
        unknown = await call(client, "validate_workflow", definition=CALLS_NOTHING)
    assert broken["valid"] is False
    assert {"line", "column", "path", "code", "message", "hint"} <= set(broken["problems"][0])
    assert broken["problems"][0]["line"] == 5
    assert unreadable["valid"] is False
    # Only the server knows which workflows there are.
    assert check_text(CALLS_NOTHING.encode())[1] == []
    assert [problem["path"] for problem in unknown["problems"]] == ["steps[0].config.workflow"]


async def test_what_waits_is_answered_in_time_and_cancelled(stack: Stack) -> None:
    waiting = {"name": "waits", "steps": [{"id": "wait", "type": "delay", "config": {"seconds": 3600}}]}
    assert stack.api.rpc("import_workflow", definition=waiting).status_code == 200
    async with model(**of(stack)) as client:
        execution = await call(client, "run_workflow", workflow="waits", wait_seconds=0)
        cancelled = await call(client, "cancel_execution", execution_id=execution["id"], reason="enough")
        found = await call(client, "get_execution", execution_id=execution["id"])
        gone = await refused(client, "cancel_execution", execution_id=NOBODYS)
        retried = await call(client, "retry_execution", execution_id=execution["id"], reason="after all")
        twice = await refused(client, "retry_execution", execution_id=execution["id"], version=1)
    assert execution["status"] not in ("completed", "failed", "cancelled")
    assert (cancelled["status"], found["status"]) == ("cancelled", "cancelled")
    assert gone["code"] == "execution_not_found"
    assert (retried["generation"], twice["code"]) == (2, "execution_not_ended")


async def test_a_model_moves_an_instance_and_reads_why_it_may_not(stack: Stack) -> None:
    machine = {
        "name": "case",
        "states": [{"name": "open", "initial": True}, {"name": "closed", "final": True}],
        "transitions": [{"from": "open", "to": "closed", "name": "close", "required": ["reason"]}],
    }
    assert stack.api.rpc("import_workflow", definition=machine).status_code == 200
    entity = {"entity_table": "cases", "entity_id": "7"}
    async with model(**of(stack)) as client:
        started = await call(client, "start_instance", workflow="case", metadata={"a": 1}, **entity)
        twice = await refused(client, "start_instance", workflow="case", **entity)
        listed = await call(client, "list_instances", workflow="case", state="open", status="active", **entity)
        vain = await refused(client, "transition_instance", instance_id=started["id"], to_state="closed")
        moved = await call(
            client,
            "transition_instance",
            instance_id=started["id"],
            to_state="closed",
            executed_by="a model",
            metadata={"reason": "done"},
        )
        history = await call(client, "get_instance_history", instance_id=started["id"])
        none = await refused(client, "get_instance", instance_id="seven")
        gone = await refused(client, "get_instance_history", instance_id=NOBODYS)
    assert (started["current_state"], started["metadata"], started["executions"]) == ("open", {"a": 1}, [])
    assert started["transitions"][0]["needs"] == {"fields": ["reason"]}
    assert [row["id"] for row in listed] == [started["id"]]
    assert (moved["current_state"], moved["status"], moved["transitions"]) == ("closed", "completed", [])
    assert [(row["to_state"], row["executed_by"]) for row in history] == [("closed", "a model"), ("open", "system")]
    assert (twice["code"], vain["code"]) == ("instance_exists", "transition_fields_missing")
    assert (none["code"], gone["code"]) == ("argument_invalid", "instance_not_found")


async def test_errors_have_a_code_a_sentence_and_a_hint(stack: Stack) -> None:
    async with model(**of(stack)) as client:
        missing = await refused(client, "run_workflow", workflow="nothing")
        none = await refused(client, "get_execution", execution_id="seven")
        absent = await refused(client, "get_logs", execution_id=NOBODYS)
    assert missing["code"] == "workflow_not_found"
    assert missing["message"]
    assert missing["hint"]
    assert none["code"] == "argument_invalid"
    assert absent["code"] == "execution_not_found"


async def test_it_starts_without_a_server_and_each_call_says_so() -> None:
    async with model(FLOWGRES_API_URL="http://127.0.0.1:1", FLOWGRES_API_KEY="fg_live_nothing") as client:
        error = await refused(client, "list_workflows")
    assert "cannot reach" in error["message"]
    assert error["hint"]


# Of the protocol's own tests, those that need no tools of theirs in the server.
SCENARIOS = (
    *("server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "tools-call-error"),
    *("server-sse-multiple-streams", "dns-rebinding-protection"),
)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_conformance_tests_of_the_protocol_pass(scenario: str, served: str, tmp_path: Path) -> None:
    program = installed("mcp") / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    done = subprocess.run(
        [str(NODE), str(program), "server", "--url", served, "--scenario", scenario],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"Passed: (\d+)/(\d+), 0 failed", done.stdout)
    assert counted is not None, done.stdout
    assert counted[1] == counted[2] != "0"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same server over HTTP, which is how the conformance tests speak. No scenario calls a tool that is there."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/mcp"
    process = ManagedProcess(
        "mcp",
        [sys.executable, "-c", SERVES.format(port=port)],
        log_path=tmp_path_factory.mktemp("mcp") / "mcp.log",
        environment={name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ},
    )
    process.start()
    try:
        process.wait_until(lambda: not is_free(port), timeout_seconds=60)
        yield address
    finally:
        process.stop()


def test_without_the_extra_it_says_how_to_get_it() -> None:
    blocked = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'mcp':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from flowgres_cli.main import main\n"
        "main(['mcp'])\n"
    )
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "[extra_missing]" in done.stderr
    assert "-m pip install 'mcp>=" in done.stderr
