"""What forks take over, and what they leave to the original: lists, compensations, versions, failures."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import completed, dag, failed, get, hands, import_workflow, start, statuses

from .test_replays import replay

Json = Any


def test_ten_thousand_iterations_are_taken_over_as_one_output(database: Database, db: Db, tenant: Tenant) -> None:
    count = 10_000
    steps: list[Json] = [{"id": "each", "foreach": {"items": "{{ input.n }}"}}, {"id": "end", "depends_on": ["each"]}]
    original = start(database, tenant, import_workflow(db, tenant, dag("large", steps)))
    # As if its iterations had run.
    output = list(range(count))
    with hands(database) as runner:
        (lease,) = runner.claim()
        runner.report([runner.result(lease, {"o": "expand", "out": []})])
        runner.work()
        db.run(
            "update flowgres.step_executions set output = %s::text::jsonb where execution_id = %s and step = 'each'",
            str(output), original,
        )  # fmt: skip
        fork = replay(database, tenant, original, from_step="end")["execution_id"]
        assert runner.work() == ["end"]
    rows = "select count(*) from flowgres.step_executions where execution_id = %s"
    assert db.value(rows, fork) == 2
    assert get(database, tenant, fork)["steps"]["each"]["output"] == output


def test_iterations_stay_with_the_original_and_the_list_runs_whole(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[Json] = [{"id": "each", "foreach": {"items": [1, 2]}}, {"id": "end", "depends_on": ["each"]}]
    original = start(database, tenant, import_workflow(db, tenant, dag("lists", steps)))

    def decide(lease: Json, step: str) -> Json:
        is_list = step == "each" and lease["iteration"] == -1
        return {"o": "expand", "out": [1, 2]} if is_list else completed(lease["item"])

    with hands(database) as runner:
        runner.work(decide)
        kept = replay(database, tenant, original, from_step="end")["execution_id"]
        assert runner.work(decide) == ["end"]
        whole = replay(database, tenant, original, from_step="each")["execution_id"]
        assert runner.work(decide) == ["each", "each", "each", "end"]
    for id in (kept, whole):
        assert get(database, tenant, id)["steps"]["each"]["output"] == [1, 2]
    with pytest.raises(psycopg.Error, match="step_not_found"):
        replay(database, tenant, original, from_step="each[1]")


def test_what_was_taken_over_is_not_undone(database: Database, db: Db, tenant: Tenant) -> None:
    undo = {"type": "log", "config": {"message": "undo"}}
    steps: list[Json] = [
        {"id": "charge", "compensate": undo},
        {"id": "reserve", "depends_on": ["charge"], "compensate": undo},
        {"id": "ship", "depends_on": ["reserve"]},
    ]
    original = start(database, tenant, import_workflow(db, tenant, dag("undone", steps)))
    with hands(database) as runner:
        runner.work()
        fork = replay(database, tenant, original, from_step="reserve")["execution_id"]
        ran = runner.work(lambda lease, step: failed() if step == "ship" else completed(step))
    assert ran == ["reserve", "ship", "reserve.compensate"]
    assert get(database, tenant, fork)["status"] == "failed"


def test_fork_on_another_version_finds_steps_by_their_ids(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("grown", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    original = start(database, tenant, name, input={"n": 1})
    with hands(database) as runner:
        runner.work(lambda lease, step: failed() if step == "b" else completed(step))
        steps: list[Json] = [{"id": "z"}, {"id": "a"}, {"id": "b", "depends_on": ["a", "z"]}]
        import_workflow(db, tenant, dag("grown", steps))
        answer = replay(database, tenant, original, from_step="b", version=2)
        assert answer["version"] == 2
        # What the original never had runs.
        assert runner.work() == ["z", "b"]
    fork = get(database, tenant, answer["execution_id"])
    assert statuses(fork) == {"z": "completed", "a": "completed", "b": "completed"}
    assert [fork["steps"][step]["reused_from"] for step in "zab"] == [None, original, None]


def test_input_of_a_replay_is_checked_by_the_version_that_it_runs(database: Database, db: Db, tenant: Tenant) -> None:
    def import_with(inputs: Json) -> None:
        import_workflow(db, tenant, dag("typed", [{"id": "a"}], inputs=inputs))

    import_with({"n": {"type": "integer"}})
    original = start(database, tenant, "typed", input={"n": 1})
    import_with({"n": {"type": "integer"}, "m": {"type": "string", "required": True}})
    with pytest.raises(psycopg.Error, match="input_invalid"):
        replay(database, tenant, original, version=2)
    answer = replay(database, tenant, original, version=2, input={"n": 2, "m": "x"})
    assert get(database, tenant, answer["execution_id"])["input"] == {"n": 2, "m": "x"}


def test_failure_that_was_handled_stands_and_one_that_was_not_is_tried_again(
    database: Database, db: Db, tenant: Tenant
) -> None:
    steps: list[Json] = [
        {"id": "handled"},
        {"id": "handler", "depends_on": ["handled"], "join": "failed"},
        {"id": "broken"},
        {"id": "end", "depends_on": ["handler"]},
    ]
    original = start(database, tenant, import_workflow(db, tenant, dag("failures", steps)))
    with hands(database) as runner:
        # So that the failure that nobody handles comes last.
        leases = {runner.step_name(lease): lease for lease in runner.claim()}
        next_leases = runner.report([runner.result(leases["handled"], failed())])
        while next_leases:
            next_leases = runner.report([runner.result(lease, completed()) for lease in next_leases])
        runner.report([runner.result(leases["broken"], failed())])
        assert get(database, tenant, original)["status"] == "failed"
        fork = replay(database, tenant, original, from_step="end")["execution_id"]
        assert sorted(runner.work()) == ["broken", "end"]
    assert statuses(get(database, tenant, fork)) == {
        "handled": "failed", "handler": "completed", "broken": "completed", "end": "completed",
    }  # fmt: skip
    # With an output in its place nothing has to be tried.
    with hands(database) as runner:
        fork = replay(database, tenant, original, from_step="end", overrides={"broken": 1})["execution_id"]
        assert runner.work() == ["end"]
    assert get(database, tenant, fork)["status"] == "completed"


def test_fork_of_a_running_one_runs_what_has_not_ended(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[Json] = [{"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["a", "b"]}]
    original = start(database, tenant, import_workflow(db, tenant, dag("running", steps)))
    with hands(database) as runner:
        a, b = sorted(runner.claim(), key=lambda lease: lease["step_index"])
        runner.report([runner.result(a, completed("A"))])
        fork = replay(database, tenant, original, from_step="c")["execution_id"]
        assert runner.work() == ["b", "c"]
        assert get(database, tenant, fork)["status"] == "completed"
        (c,) = runner.report([runner.result(b, completed("B"))])
        runner.report([runner.result(c, completed("C"))])
    assert get(database, tenant, original)["status"] == "completed"


def test_rule_of_starts_does_not_hold_for_replays(database: Database, db: Db, tenant: Tenant) -> None:
    definition = dag("ruled", [{"id": "a"}], settings={"start": {"singleton": "return"}})
    original = start(database, tenant, import_workflow(db, tenant, definition))
    again = replay(database, tenant, original)["execution_id"]
    assert again != original
    assert db.value("select count(*) from flowgres.executions") == 2


def test_replays_count_for_the_rate_of_starts(database: Database, db: Db, tenant: Tenant) -> None:
    original = start(database, tenant, import_workflow(db, tenant, dag("often", [{"id": "a"}])))
    db.run("update flowgres.settings set value = '3' where name = 'rate_limit_per_minute'")
    replay(database, tenant, original)
    replay(database, tenant, original)
    with pytest.raises(psycopg.Error, match="start_rate_exceeded"):
        replay(database, tenant, original)


def test_many_are_replayed_at_once_each_with_its_own(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("many", [{"id": "a"}]))
    originals = [start(database, tenant, name, input={"n": n}, priority=n % 3) for n in range(9)]
    import_workflow(db, tenant, dag("many", [{"id": "a"}, {"id": "b"}]))
    originals.append(start(database, tenant, name, input={"n": 9}))
    unknown = "00000000-0000-7000-8000-000000000000"
    rows = db.all(
        "select execution_id::text, started_id::text, code"
        " from flowgres.replay_held(%s, %s::uuid[], 'somebody', 'again')",
        tenant.tenant_id, "{" + ",".join([*originals, unknown]) + "}",
    )  # fmt: skip
    assert {row["execution_id"]: row["code"] for row in rows} == {
        **dict.fromkeys(originals), unknown: "execution_not_found",
    }  # fmt: skip
    for row in rows:
        if row["started_id"] is not None:
            kept = ("input", "priority", "version")
            original, again = (get(database, tenant, row[key]) for key in ("execution_id", "started_id"))
            assert [again[key] for key in kept] == [original[key] for key in kept]
            assert (again["replayed_from"], again["created_by"]) == (original["id"], "somebody")
    assert db.value("select count(*) from flowgres.audit_log where action = 'execution_replayed'") == 10
    with hands(database) as runner:
        assert len(runner.work()) == 22
