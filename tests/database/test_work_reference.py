"""Random graphs, whose steps end in random ways and order, on the engine and in the model of the rules at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from tests.support.database import Database, Db, Row, Tenant, postgrest_request
from tests.support.engine import Hands, assert_invariants, completed, failed, import_workflow
from tests.support.model import Model
from tests.support.scale import IS_LONG

FEATURES = ["at_least", "cancels", "stop", "compensate", "on_failure"]
"""What graphs are drawn with beside what they always are: of at_least, cancels, stop, compensate and on_failure."""

JOINS = ["default", "default", "default", "all", "any", "always", "failed", "failed", "at_least"]
TYPES = ["transform", "transform", "transform", "transform", "condition", "switch", "stop"]
PLAIN: dict[str, Any] = {"type": "transform", "config": {"expression": "1"}}
ENDED = """
select jsonb_object_agg(step, status) from flowgres.step_executions
where execution_id = %s and finished_at is not null and step <> '$outputs'
"""
# To cut down what failed is worth its time; to explain it, too, would take minutes.
DRAWN = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate, Phase.shrink], print_blob=True
)

Step = dict[str, Any]


def _switched_on(words: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([word for word in words if word in FEATURES or word not in ("at_least", "stop")])


def _seldom() -> st.SearchStrategy[bool]:
    return st.integers(0, 5).map(lambda drawn: drawn == 5)


def _places(least: int, most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(least, most), unique=True, max_size=3)


DRAFTS = st.fixed_dictionaries(
    {
        "type": _switched_on(TYPES),
        "parents": _places(1, 8),
        "join": _switched_on(JOINS),
        "at_least": st.integers(1, 3),
        "rest": st.sampled_from(["continue", "cancel"]),
        "on_error": st.sampled_from(["fail", "continue", "skip"]),
        "when": _seldom(),
        "branches": st.lists(_places(0, 4), min_size=2, max_size=4),
        "status": st.sampled_from(["completed", "failed", "cancelled"]),
        "cancels": _places(1, 29) if "cancels" in FEATURES else st.just([]),
        "compensate": _seldom() if "compensate" in FEATURES else st.just(False),
        "repeat": _seldom(),
    }
)
"""Steps whose parents are told by how far they stand before, branches by the places of children, so that any may go."""


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Definitions of 2 to 30 steps, each after those that it depends on."""
    drafts = draw(st.integers(2, 10).flatmap(lambda least: st.lists(DRAFTS, min_size=least, max_size=30)))
    steps = [_step(draft, i, len(drafts)) for i, draft in enumerate(drafts)]
    for step, draft in zip(steps, drafts, strict=True):
        children = [child["id"] for child in steps if step["id"] in child["depends_on"]]
        step |= _type(draft, children)
    definition: dict[str, Any] = {"name": "random", "steps": steps}
    if draw(_seldom()):
        definition["outputs"] = {"n": 1}
    if "on_failure" in FEATURES:
        whens = draw(st.lists(_seldom(), max_size=3))
        definition["on_failure"] = [{"id": f"f{i}", **PLAIN, **_when(when)} for i, when in enumerate(whens)]
    return definition


def _when(is_given: bool) -> Step:
    return {"when": "{{ true }}"} if is_given else {}


def _step(draft: Step, i: int, count: int) -> Step:
    # The second depends on the first: when no step depends on another, the order of the list counts.
    parents = [f"s{i - back}" for back in sorted(draft["parents"], reverse=True) if back <= i] or ["s0"] * (i == 1)
    join = draft["join"] if parents else "default"
    if join == "at_least":
        join = {"at_least": min(draft["at_least"], len(parents)), "rest": draft["rest"]}
    step = {"id": f"s{i}", "depends_on": parents, "join": join, "on_error": draft["on_error"], **_when(draft["when"])}
    cancels = [f"s{(i + far) % count}" for far in draft["cancels"] if far < count]
    return {**step, "cancels": cancels} if cancels else step


def _type(draft: Step, children: list[str]) -> Step:
    """The type of a step, and what belongs to it; branches list any of the children, but none is in all of them."""
    first, *others = [[children[i] for i in branch if i < len(children)] for branch in draft["branches"]]
    last = [one for one in first if not all(one in branch for branch in others)]
    match draft["type"]:
        case "condition":
            last = [one for one in first if one not in others[0]]
            config: Step = {"expression": "{{ true }}", "true_branch": others[0], "false_branch": last}
        case "switch":
            cases = [{"equals": n, "next": branch} for n, branch in enumerate(others)]
            config = {"value": 1, "cases": cases, "default": last}
        case "stop":
            config = {"status": draft["status"]}
        case _:
            repeat = {"repeat": {"until": "{{ round > 2 }}"}} if draft["repeat"] else {}
            return {**PLAIN, **repeat, **({"compensate": PLAIN} if draft["compensate"] else {})}
    return {"type": draft["type"], "config": config}


@dataclass
class Stage:
    """A database with all that the examples of a test need open."""

    owner: Db
    hands: Hands
    requests: psycopg.Connection[Row]
    tenant: Tenant

    def ask(self, function: str, **arguments: Any) -> dict[str, Any]:
        """A request of the tenant."""
        with postgrest_request(self.requests, "member", tenant_id=self.tenant.tenant_id) as db:
            answer: dict[str, Any] = db.call(f"flowgres_api.{function}", **arguments)
        return answer

    def statuses(self, execution_id: str, leases: dict[str, Row]) -> dict[str, str]:
        """Those of the steps that are ready, leased or over."""
        ended = self.owner.value(ENDED, execution_id) or {}
        queued = self.owner.column("select id from flowgres.work_queue where execution_id = %s", execution_id)
        names = {lease["queue_id"]: name for name, lease in leases.items()}
        return {**dict.fromkeys((names[queue_id] for queue_id in queued), "ready"), **ended}


@pytest.fixture(scope="module")
def stage(module_database: Database, reference_tenant: Tenant) -> Iterator[Stage]:
    dsn = module_database.dsn("authenticator")
    with (
        module_database.connect() as owner,
        module_database.connect("runner") as runner,
        psycopg.connect(dsn, row_factory=dict_row) as requests,
    ):
        yield Stage(owner, Hands(runner), requests, reference_tenant)


def _follow(stage: Stage, definition: Step, data: st.DataObject) -> None:
    """Run a definition on the engine and in the model, and compare what they say of it in the end."""
    name = import_workflow(stage.owner, stage.tenant, definition)
    execution_id = stage.ask("start_execution", workflow=name)["execution_id"]
    model = Model(definition)
    try:
        _run(stage, execution_id, definition, model, data)
    finally:
        if model.execution == "running":
            # An example that was given up, or failed: others are to find nothing of it.
            with suppress(psycopg.Error):
                stage.ask("cancel_execution", execution_id=execution_id)
    execution = stage.ask("get_execution", execution_id=execution_id)
    statuses = {step["step"]: step["status"] for step in execution["steps"]}
    expected = {step: status for step, status in model.status.items() if step != "$outputs"}
    assert (execution["status"], statuses) == (model.execution, expected)


def _run(stage: Stage, execution_id: str, definition: Step, model: Model, data: st.DataObject) -> None:
    """Let drawn steps end in drawn ways until none runs, and compare engine and model each time."""
    steps = {step["id"]: step for step in definition["steps"] + definition.get("on_failure", [])}
    soundness = data.draw(st.sampled_from([50, 20, 8, 3]))
    leases: dict[str, Row] = {}
    rows = stage.hands.claim()
    while True:
        while rows:
            leases |= {stage.hands.step_name(row): row for row in rows if str(row["execution_id"]) == execution_id}
            rows = stage.hands.claim()
        ended = {step: status for step, status in model.status.items() if status not in ("pending", "ready")}
        ended.pop("$outputs", None)
        assert stage.statuses(execution_id, leases) == {**dict.fromkeys(model.ready(), "ready"), **ended}
        if not model.ready():
            return
        if data.draw(st.integers(0, 50)) == 50:
            stage.ask("cancel_execution", execution_id=execution_id)
            model.cancel()
            continue
        running = st.sampled_from(sorted(model.ready()))
        names = data.draw(st.lists(running, unique=True, min_size=1, max_size=3))
        # A round that is not the last is no end, and of those the rules say nothing.
        again = [name for name in names if "repeat" in steps.get(name, {}) and data.draw(st.booleans())]
        ends = {name: _end(data, steps.get(name, {}), soundness) for name in names if name not in again}
        results = [stage.hands.result(leases[name], {"o": "again", "out": 1}) for name in again]
        results += [stage.hands.result(leases[name], _report(steps.get(name, {}), *end)) for name, end in ends.items()]
        rows = stage.hands.report(results, want=100)
        # The engine takes what is told in one call in the order in which the steps became ready.
        model.end_all((name, *ends[name]) for name in sorted(ends, key=lambda name: leases[name]["queue_id"]))


def _end(data: st.DataObject, step: Step, soundness: int) -> tuple[str, list[str]]:
    """How a step ends, and which children the branch that it takes lists."""
    if "when" in step and data.draw(st.booleans()):
        return "skipped", []
    if data.draw(st.integers(0, soundness)) == soundness:
        return "failed", []
    config = step.get("config", {})
    branches = [config[key] for key in ("true_branch", "false_branch", "default") if key in config]
    branches += [case["next"] for case in config.get("cases", [])]
    return "completed", data.draw(st.sampled_from(branches)) if branches else []


def _report(step: Step, outcome: str, taken: list[str]) -> dict[str, Any]:
    # A stop gives what its configuration says.
    output = {"status": "completed", **step["config"]} if step.get("type") == "stop" else 1
    if outcome == "completed" and "repeat" in step:
        return {"o": "enough", "out": output}
    return {"completed": completed(output, taken=taken), "failed": failed(), "skipped": {"o": "skipped"}}[outcome]


@given(definition=definitions(), data=st.data())
@settings(DRAWN, max_examples=100)
def test_random_graphs_go_as_the_rules_say(stage: Stage, definition: Step, data: st.DataObject) -> None:
    _follow(stage, definition, data)


@pytest.mark.slow
@given(definition=definitions(), data=st.data())
@settings(DRAWN, max_examples=2_000 if IS_LONG else 500)
def test_many_random_graphs_do(stage: Stage, definition: Step, data: st.DataObject) -> None:
    _follow(stage, definition, data)


def test_random_graphs_leave_no_violation(module_database: Database) -> None:
    with module_database.connect() as db:
        assert_invariants(db)
