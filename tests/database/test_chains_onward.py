"""Chains after which their executions go on: whatever the graph, they leave behind what the same reports would."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, hands, import_workflow, start

LEASE = ("tenant_id", "execution_id", "queue_id", "token")
FORK: list[dict[str, Any]] = [
    {"id": "root"},
    {"id": "left", "depends_on": ["root"]},
    {"id": "more", "depends_on": ["left"]},
    {"id": "right", "depends_on": ["root"]},
    {"id": "join", "depends_on": ["more", "right"]},
    {"id": "last", "depends_on": ["join"]},
]
JOIN: list[dict[str, Any]] = [{"id": "left"}, {"id": "right"}, {"id": "join", "depends_on": ["left", "right"]}]


def _graph(seed: int) -> list[dict[str, Any]]:
    dice = random.Random(seed)
    steps: list[dict[str, Any]] = []
    for number in range(dice.randint(4, 11)):
        few = dice.sample([step["id"] for step in steps], min(len(steps), dice.choice([0, 1, 1, 1, 2, 3])))
        step: dict[str, Any] = {"id": f"s{number}", "depends_on": sorted(few)}
        if few:
            step["join"] = dice.choice(["default", "default", "all", "any", "always", "failed"])
        step["on_error"] = dice.choice(["fail", "continue", "skip"])
        steps.append(step)
    return steps


class _Reporter:
    """Reports leases one by one: as chains where the whole chain went well, or as objects."""

    def __init__(self, runner: Hands, version: dict[str, Any], broken: set[str], *, as_chains: bool) -> None:
        self._runner = runner
        self._steps = version["steps"]
        self._broken = broken
        self._as_chains = as_chains
        self.chain_count = 0

    def outcome(self, index: int) -> dict[str, Any]:
        name = self._steps[index]["id"]
        return failed() if name in self._broken else completed({"of": name})

    def report(self, lease: Row) -> list[Row]:
        indexes = [lease["step_index"]]
        chain = self._steps[indexes[0]]["chain"]
        while chain is not None and len(indexes) < chain["count"]:
            indexes.append(self._steps[indexes[-1]]["next"])
        outcomes = [self.outcome(index) for index in indexes]
        if self._as_chains and chain is not None and all(outcome["o"] == "completed" for outcome in outcomes):
            self.chain_count += 1
            return self._runner.report_chains([(lease, [outcome["out"] for outcome in outcomes])])
        ended = next((place for place, one in enumerate(outcomes) if one["o"] != "completed"), len(outcomes) - 1)
        members = [{"s": i, "ms": 1.0, **o} for i, o in zip(indexes, outcomes, strict=True)][: ended + 1]
        return self._runner.report([{**self._runner.result(lease, members[0]), "ahead": members[1:]}])


def _tell(database: Database, tenant: Tenant, execution_id: str) -> dict[str, Any]:
    told = get(database, tenant, execution_id)
    steps = {
        name: {key: step[key] for key in ("status", "output", "error", "attempts")}
        for name, step in told["steps"].items()
    }
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        events = api.all(
            "select seq, type, step, level from flowgres_api.execution_events where execution_id = %s order by seq",
            execution_id,
        )
    return {key: told[key] for key in ("status", "output", "error")} | {"steps": steps, "events": events}


@pytest.mark.parametrize("seed", range(0, 40, 10))
def test_any_graph_ends_as_with_reports(database: Database, db: Db, tenant: Tenant, seed: int) -> None:
    chain_count = 0
    with hands(database) as runner:
        for number in range(seed, seed + 10):
            dice = random.Random(number)
            steps = _graph(number)
            broken = {step["id"] for step in steps if dice.random() < 0.12}
            name = import_workflow(db, tenant, dag(f"graph-{number}", steps))
            told = []
            for as_chains in (True, False):
                execution_id = start(database, tenant, name)
                leases = runner.claim()
                version = runner.db.call("flowgres.get_version", p_version_id=leases[0]["version_id"])
                reporter = _Reporter(runner, version, broken, as_chains=as_chains)
                while leases:
                    leases.sort(key=lambda lease: lease["step_index"])
                    leases = leases[1:] + reporter.report(leases[0])
                    leases = leases or runner.claim()
                chain_count += reporter.chain_count
                told.append(_tell(database, tenant, execution_id))
            assert told[0] == told[1], (steps, broken)
    assert chain_count > 10
    assert_invariants(db)


def test_chains_of_one_execution_in_one_batch_are_numbered_one_after_the_other(
    database: Database, db: Db, tenant: Tenant
) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("fork", FORK)))
    with hands(database) as runner:
        (root,) = runner.claim()
        sides = {runner.step_name(row): row for row in runner.report_chains([(root, [0])], want=1)}
        assert set(sides) == {"left", "right"}
        handed = runner.report_chains([(sides["right"], [3]), (sides["left"], [1, 2])])
        assert [runner.step_name(row) for row in handed] == ["join"]
        assert runner.report_chains([(handed[0], [4, 5])]) == []
    told = _tell(database, tenant, execution_id)
    assert (told["status"], told["output"]) == ("completed", {"last": 5})
    assert [event["seq"] for event in told["events"]] == list(range(1, 15))
    assert [event["step"] for event in told["events"] if event["type"] == "step_completed"][0::5] == ["root", "last"]
    assert db.value("select count(*) from flowgres.events") == 0
    assert_invariants(db)


def test_join_is_made_ready_by_the_last_of_two_runners(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("fork", FORK))
    executions = [start(database, tenant, name) for _ in range(3)]
    with hands(database) as one, hands(database) as two:
        roots = one.claim()
        kept = one.report_chains([(root, [0]) for root in roots])
        one.db.call("flowgres.release", p_runner_id=one.id, p_rows=[[str(row[key]) for key in LEASE] for row in kept])
        left: list[Row] = []
        right: list[Row] = []
        for runner, side, mine in ((one, "left", left), (two, "right", right)):
            rows = runner.claim()
            mine += [row for row in rows if runner.step_name(row) == side]
            others = [[str(row[key]) for key in LEASE] for row in rows if row not in mine]
            runner.db.call("flowgres.release", p_runner_id=runner.id, p_rows=others)
        assert (len(left), len(right)) == (3, 3)
        assert one.report_chains([(row, [1, 2]) for row in left]) == []
        joins = two.report_chains([(row, [3]) for row in right])
        assert [two.step_name(row) for row in joins] == ["join"] * 3
        assert two.report_chains([(row, [4, 5]) for row in joins]) == []
    assert {get(database, tenant, execution_id)["status"] for execution_id in executions} == {"completed"}
    assert_invariants(db)


def test_chain_that_is_not_plain_is_judged_like_any_report(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("fork", FORK))
    held, cancelled, retried, announced, lost, plain = (start(database, tenant, name) for _ in range(6))
    with hands(database) as runner, database.connect() as holder:
        leases = {str(lease["execution_id"]): lease for lease in runner.claim()}
        runner.report([runner.result(leases[retried], failed("timeout"))])
        db.run("update flowgres.work_queue set due_at = now() where due_at is not null")
        (leases[retried],) = runner.claim()
        runner.report([runner.result(leases[announced], {"o": "started"})])
        lease = leases[lost]
        runner.db.call("flowgres.release", p_runner_id=runner.id, p_rows=[[str(lease[key]) for key in LEASE]])
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.cancel_execution", execution_id=cancelled)
        chains = [(leases[x], [0]) for x in (held, cancelled, retried, announced, lost, plain)]
        with holder.connection.transaction():
            holder.run("select from flowgres.executions where id = %s for no key update", held)
            rows = runner.report_chains(chains)
        assert [str(row["execution_id"]) for row in rows if row["is_passed_over"]] == [held]
        going_on = {str(row["execution_id"]) for row in rows if not row["is_passed_over"]}
        assert going_on == {retried, announced, plain}
        rows = [row for row in rows if not row["is_passed_over"]] + runner.report_chains(chains[:1])
        while rows or (rows := runner.claim()):
            rows = [row for lease in rows for row in runner.report([runner.result(lease, completed(1))])]
    statuses = {x: get(database, tenant, x)["status"] for x in (held, cancelled, retried, announced, lost, plain)}
    assert statuses.pop(cancelled) == "cancelled"
    assert set(statuses.values()) == {"completed"}
    assert_invariants(db)


@pytest.mark.parametrize("graph", [JOIN, FORK[:1]], ids=["goes on", "whole"])
def test_row_of_the_queue_that_somebody_holds_is_not_waited_for(
    database: Database, db: Db, tenant: Tenant, graph: list[dict[str, Any]]
) -> None:
    name = import_workflow(db, tenant, dag("held", graph))
    for _ in range(10):
        start(database, tenant, name)
    with hands(database) as runner, database.connect() as holder:
        leases = runner.claim()
        with holder.connection.transaction():
            holder.run("select from flowgres.work_queue where id = %s for update", leases[3]["queue_id"])
            runner.db.run("set statement_timeout to '800ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                runner.report_chains([(lease, [0]) for lease in leases])
