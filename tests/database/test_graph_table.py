"""The table of graphs: small graphs with the status of every step, worked out by hand from the rules.

Each file in `graphs` maps a sentence to a graph:

- `steps`, and `on_failure`, `outputs` and `settings` where they matter, are the definition's own. Steps without a type
  are transforms, and a step without `depends_on` starts at once.
- `ends` says how steps end that do not simply complete: `failed`, `skipped` (their `when` is false), or, for a
  condition or switch, the list of the steps that it takes.
- `order` lists the steps that end first, one after the other; those that are not listed end after them in list order.
  `$cancel` is a cancel from outside, `$timeout` the end of the execution's time.
- `starts` says for some steps after whose end they start, or `never`.
- `expect` holds the status of the execution and of every step. Compensations, steps of `on_failure` and `$outputs` are
  named when they ran, in the order in which they ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flowgres_definitions.loader import load_yaml
from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start

Graph = Mapping[str, Any]

FILES = sorted((Path(__file__).parent / "graphs").glob("*.yaml"))
KEYS = {"steps", "on_failure", "outputs", "settings", "ends", "order", "starts", "expect"}
STATUSES = {"completed", "failed", "skipped", "cancelled"}
OUTPUTS = "$outputs"
EVENTS = {"$cancel", "$timeout"}
NEVER = "never"


def _graphs() -> Iterator[Any]:
    for file in FILES:
        # The reader of definitions refuses what is written twice.
        for name, graph in load_yaml(file.read_bytes(), source=file.name).document.items():
            yield pytest.param(graph, id=name)


def _later(graph: Graph) -> list[str]:
    """What runs when all steps have ended, if it runs."""
    compensations = [f"{step['id']}.compensate" for step in graph["steps"] if "compensate" in step]
    return [*compensations, *(step["id"] for step in graph.get("on_failure", [])), OUTPUTS]


def _check(graph: Graph) -> None:
    """The graph says all that it has to say."""
    steps = {step["id"]: step for step in graph["steps"]}
    known = {*steps, *_later(graph)}
    expected = graph["expect"]
    assert not graph.keys() - KEYS, "a key that means nothing"
    assert 2 <= len(steps) == len(graph["steps"]) <= 8, "two to eight steps with ids of their own"
    assert not steps.keys() - expected.keys(), "a step without an expected status"
    assert not expected.keys() - known - {"execution"}, "an expectation of what is no step"
    assert {status for name, status in expected.items() if name != "execution"} <= STATUSES
    assert expected["execution"] in STATUSES - {"skipped"}
    assert set(graph.get("ends", {})) <= known
    assert set(graph.get("order", [])) <= known | EVENTS
    assert set(graph.get("starts", {})) <= known
    assert set(graph.get("starts", {}).values()) <= known | EVENTS | {NEVER}
    for step in (*steps.values(), *graph.get("on_failure", [])):
        end, branches = graph.get("ends", {}).get(step["id"]), _branches(step)
        assert (end == "skipped") == ("when" in step), f"{step['id']} is skipped when its `when` is false"
        assert end in (None, "failed", "skipped") or end in branches, f"{step['id']} takes no such branch"
        if branches and expected[step["id"]] == "completed":
            assert end in branches, f"{step['id']} completes, so it takes a branch"


def _branches(step: Mapping[str, Any]) -> list[list[str]]:
    """The lists of steps that a condition or switch may take."""
    config = step.get("config", {})
    match step.get("type"):
        case "condition":
            return [config.get("true_branch", []), config.get("false_branch", [])]
        case "switch":
            return [*(case["next"] for case in config["cases"]), config.get("default", [])]
    return []


def _definition(graph: Graph) -> dict[str, Any]:
    """The graph as a definition; types and configs where they do not matter are filled in."""
    steps = [
        {**step, "compensate": _filled(step["compensate"])} if "compensate" in step else step for step in graph["steps"]
    ]
    more = {key: graph[key] for key in ("outputs", "settings") if key in graph}
    if "on_failure" in graph:
        more["on_failure"] = [_filled(step) for step in graph["on_failure"]]
    return dag("graph", steps, **more)


def _filled(step: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "transform", "config": {"expression": "1"}, **step}


class Play:
    """One execution of a graph. Everything that is ready runs at once, and ends one at a time in the graph's order."""

    def __init__(self, database: Database, db: Db, tenant: Tenant, runner: Hands, graph: Graph) -> None:
        self.database, self.db, self.tenant, self.runner, self.graph = database, db, tenant, runner, graph
        self.ends: Mapping[str, Any] = graph.get("ends", {})
        self.later = _later(graph)
        self.ran_later: list[str] = []
        self.now = ""
        self.starts: dict[str, str] = {}
        self.outputs: str | None = None
        self.running: dict[str, Row] = {}
        self.execution_id = start(database, tenant, import_workflow(db, tenant, _definition(graph)))

    def execution(self) -> dict[str, Any]:
        """The execution as its tenant sees it now."""
        return get(self.database, self.tenant, self.execution_id)

    def play(self) -> None:
        """Let everything run and end."""
        self._take(self.runner.claim())
        for name in self.graph.get("order", []):
            if name in EVENTS:
                self._happen(name)
            else:
                assert name in self.running, f"{name} is to end now, but what runs is {sorted(self.running)}"
                self._end(name)
        in_list_order = [*(step["id"] for step in self.graph["steps"]), *self.later]
        while self.running:
            self._end(min(self.running, key=in_list_order.index))

    def statuses(self) -> dict[str, str]:
        """What everything that has a row has come to."""
        execution = self.execution()
        found = {"execution": execution["status"]}
        found |= {name: step["status"] for name, step in execution["steps"].items()}
        return found if self.outputs is None else {**found, OUTPUTS: self.outputs}

    def _take(self, leases: list[Row]) -> None:
        for lease in leases:
            name = self.runner.step_name(lease)
            assert name not in self.running, f"{name} is handed over twice"
            self.running[name] = lease
            self.starts[name] = self.now
            if name in self.later:
                self.ran_later.append(name)
        if self.running.keys() & self.later:
            assert len(self.running) == 1, f"{sorted(self.running)} run at once"

    def _end(self, name: str) -> None:
        self.now = name
        lease, end = self.running.pop(name), self.ends.get(name)
        if name == OUTPUTS:
            self.outputs = end or "completed"
        report = self.runner.result(lease, self._outcome(name))
        leases = self.runner.report([report], want=100)
        self._drop_lost()
        self._take([*leases, *self.runner.claim()])

    def _happen(self, event: str) -> None:
        self.now = event
        if event == "$cancel":
            with self.database.as_role("member", tenant_id=self.tenant.tenant_id) as api:
                api.call("flowgres_api.cancel_execution", execution_id=self.execution_id, reason="enough")
        else:
            Clock(self.db).advance(seconds=float(self.graph["settings"]["timeout"]) + 1)
            assert self.runner.db.call("flowgres.expire_executions", p_limit=10) == 1
        self._drop_lost()
        self._take(self.runner.claim())

    def _drop_lost(self) -> None:
        """What was cancelled while it ran is reported all the same, and that changes nothing."""
        lost = self.runner.beat(*self.running.values())["lost"] if self.running else []
        for name in [name for name, lease in self.running.items() if lease["queue_id"] in lost]:
            report = self.runner.result(self.running.pop(name), self._outcome(name))
            assert self.runner.report([report]) == [], f"{name} ended before, and was heard"

    def _outcome(self, name: str) -> dict[str, Any]:
        """What a runner reports of a step."""
        match self.ends.get(name):
            case "failed":
                return failed()
            case "skipped":
                return {"o": "skipped"}
            case list(taken):
                return completed(taken=taken)
        step: Mapping[str, Any] = next((step for step in self.graph["steps"] if step["id"] == name), {})
        if step.get("type") == "stop":
            return completed({"status": "completed", **step.get("config", {})})
        return completed()


@pytest.mark.parametrize("graph", list(_graphs()))
def test_graph_ends_as_the_table_says(module_database: Database, reference_tenant: Tenant, graph: Graph) -> None:
    _check(graph)
    with module_database.connect() as db, module_database.connect("runner") as runner:
        play = Play(module_database, db, reference_tenant, Hands(runner), graph)
        play.play()
    assert play.statuses() == graph["expect"]
    assert play.ran_later == [name for name in graph["expect"] if name in play.later]
    starts = graph.get("starts", {})
    assert {name: play.starts.get(name, NEVER) for name in starts} == starts


def test_table_leaves_no_violation(module_database: Database) -> None:
    with module_database.connect() as db:
        assert_invariants(db)
