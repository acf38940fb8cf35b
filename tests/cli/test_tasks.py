"""Tasks at the command line, and what TASKS.md shows, against the real server and a real runner."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.support.runner import wait_for

from .conftest import Flowgres

PAGE = (Path(__file__).parents[2] / "runner/flowgres_definitions/TASKS.md").read_text()


def test_task_is_listed_shown_and_counted_and_its_execution_says_who_has_it(
    live: Flowgres, write: Callable[..., Path]
) -> None:
    (definition,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert live("import", str(write("letters.yaml", definition))).code == 0
    execution = live("run", "letters", "-d", '{"name": "Ann"}', "--detach", "-o", "id").out.split()[0]
    wait_for(lambda: live("tasks", "list", "--execution", execution).json != [], what="the task")
    (task,) = live("tasks", "list", "--queue", "print", "--status", "waiting").json
    assert (task["payload"], task["execution_id"]) == ({"text": "Dear Ann"}, execution)
    assert live("tasks", "queues").json == [
        {**live("tasks", "queues").json[0], "queue": "print", "waiting": 1, "claimed": 0}
    ]
    assert "waits for a worker of the queue print" in live("executions", "show", execution, "-o", "table").out

    key = live("keys", "create", "press", "--role", "worker", "--queue", "print").json["api_key"]
    api = live.environment["FLOWGRES_API_URL"]
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    (claimed,) = httpx.post(
        f"{api}/rpc/claim_tasks", headers=headers, json={"queue": "print", "worker": "press-1"}
    ).json()
    mine = {"task_id": claimed["task_id"], "token": claimed["token"]}
    httpx.post(f"{api}/rpc/extend_task", headers=headers, json={**mine, "progress": 0.4})
    shown = live("tasks", "show", claimed["task_id"]).json
    assert (shown["status"], shown["worker"], shown["progress"]) == ("claimed", "press-1", 0.4)
    assert "the worker press-1 has it" in live("executions", "show", execution, "-o", "table").out
    table = live("tasks", "list", "--execution", execution, "-o", "table").out
    assert "claimed" in table
    assert all(len(line) <= 80 for line in table.splitlines()), table
    done = httpx.post(f"{api}/rpc/complete_task", headers=headers, content=json.dumps({**mine, "output": {"pages": 1}}))
    assert done.status_code == 200, done.text


def test_mistakes_at_a_task_have_their_exit_codes(live: Flowgres) -> None:
    missing = live("tasks", "show", "nothing")
    assert (missing.code, "flowgres tasks list" in missing.err) == (3, True)
    assert live("keys", "create", "a", "--role", "worker").code == 2
    assert live("keys", "create", "a", "--queue", "print").code == 2
