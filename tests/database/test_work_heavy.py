"""Contexts that are large: a claim leaves them behind, and they are had a few at a time."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, completed, dag, hands, import_workflow

MOST = 1 << 20
KIB = 1 << 10

INPUTS = {
    "small": {"text": "x"},
    "middling": {"text": secrets.token_hex(4 * KIB)},
    "large": {"text": secrets.token_hex(100 * KIB)},
    "compressed": {"text": "x" * (900 * KIB)},
}


def start_with(database: Database, tenant: Tenant, workflow: str, inputs: list[dict[str, Any]]) -> None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.run(
            "select flowgres_api.start_execution(workflow => %s, input => i) from jsonb_array_elements(%s) as i",
            workflow,
            inputs,
        )


def contexts_of(runner: Hands, leases: list[Row], *, most: int = MOST) -> list[tuple[int, Any]]:
    """One answer: (queue id, context) each."""
    rows = [
        [str(lease["tenant_id"]), str(lease["execution_id"]), lease["queue_id"], lease["token"]] for lease in leases
    ]
    found = runner.db.all("select * from flowgres.get_contexts(%s, %s, %s)", runner.id, rows, most)
    return [(row["queue_id"], row["context"]) for row in found]


@pytest.mark.parametrize("is_fan", [False, True], ids=["alone", "fan"])
def test_a_claim_brings_what_is_light(database: Database, db: Db, tenant: Tenant, is_fan: bool) -> None:
    steps = [{"id": "a"}, {"id": "b"}] if is_fan else [{"id": "a"}]
    workflow = import_workflow(db, tenant, dag("heavy", steps))
    start_with(database, tenant, workflow, list(INPUTS.values()))
    with hands(database) as runner:
        leases = runner.claim()
        brought = {len(lease["context"]["input"]["text"]) for lease in leases if lease["context"] is not None}
        lacking = [lease for lease in leases if lease["context"] is None]

        assert brought == {1, 8 * KIB}
        for lease in lacking if not is_fan else []:
            [(queue_id, context)] = contexts_of(runner, [lease])
            assert queue_id == lease["queue_id"]
            assert context["input"] in (INPUTS["large"], INPUTS["compressed"])
        assert len({lease["execution_id"] for lease in leases}) == 4


def test_contexts_come_as_there_is_room_and_one_in_any_case(database: Database, db: Db, tenant: Tenant) -> None:
    workflow = import_workflow(db, tenant, dag("heavy", [{"id": "a"}]))
    start_with(database, tenant, workflow, [INPUTS["large"]] * 7)
    with hands(database) as runner:
        leases = runner.claim()
        for most, count in ((0, 1), (500 * KIB, 2), (MOST, 5), (MOST * 10, 7)):
            answer = contexts_of(runner, leases, most=most)
            assert [queue_id for queue_id, _ in answer] == [lease["queue_id"] for lease in leases]
            assert [context is not None for _, context in answer] == [True] * count + [False] * (7 - count)


def test_outputs_that_a_step_refers_to_count(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "big"},
        {"id": "small"},
        {"id": "with", "depends_on": ["big", "small"], "config": {"expression": "{{ steps.big.output }}"}},
        {"id": "without", "depends_on": ["big", "small"], "config": {"expression": "{{ steps.small.output }}"}},
    ]
    workflow = import_workflow(db, tenant, dag("heavy", steps))
    start_with(database, tenant, workflow, [{}])
    output = secrets.token_hex(200 * KIB)
    with hands(database) as first:
        reports = [
            first.result(lease, completed(output if first.step_name(lease) == "big" else 1)) for lease in first.claim()
        ]
        first.report_once(reports, room=0)
        # One at a time: of a fan the first row would bring the context for both.
        seen = {first.step_name(lease): lease for _ in range(2) for lease in first.claim(1)}

        assert seen["with"]["context"] is None
        assert seen["without"]["context"]["steps"]["small"]["output"] == 1
        [(_, context)] = contexts_of(first, [seen["with"]])
        assert context["steps"]["big"]["output"] == output


def test_what_another_runner_holds_has_no_context(database: Database, db: Db, tenant: Tenant) -> None:
    workflow = import_workflow(db, tenant, dag("heavy", [{"id": "a"}]))
    start_with(database, tenant, workflow, [INPUTS["large"]])
    with hands(database) as one, hands(database) as other:
        assert contexts_of(other, one.claim()) == []


@pytest.mark.parametrize("is_fan", [False, True], ids=["alone", "fan"])
@pytest.mark.parametrize(("size", "comes_along"), [(4 * KIB, True), (200 * KIB, False)])
def test_a_claim_brings_what_a_step_resumes_with_when_it_is_light(
    database: Database, db: Db, tenant: Tenant, size: int, comes_along: bool, is_fan: bool
) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "only"}]))
    call = {"type": "sub_workflow", "config": {"workflow": "child"}}
    steps = [{"id": f"call{number}", **call} for number in range(2 if is_fan else 1)]
    workflow = import_workflow(db, tenant, dag("parent", steps))
    start_with(database, tenant, workflow, [{}])
    output = secrets.token_hex(size)
    with hands(database) as runner:
        runner.db.run("set flowgres.fetches_resumes to on")
        calls: list[dict[str, Any]] = [{"o": "child", "workflow": "child", "version": None, "input": {}}] * len(steps)
        runner.report_once(
            [runner.result(lease, call) for lease, call in zip(runner.claim(), calls, strict=True)], room=0
        )
        runner.report_once([runner.result(lease, completed(output)) for lease in runner.claim()], room=0)
        resumed = runner.claim()

        assert len(resumed) == len(steps)
        for lease in resumed:
            if comes_along:
                assert lease["resume"]["output"] == {"only": output}
            else:
                assert lease["resume"] == "left"
            rows = [[str(lease["tenant_id"]), str(lease["execution_id"]), lease["queue_id"], lease["token"]]]
            [found] = runner.db.all("select * from flowgres.get_contexts(%s, %s, %s)", runner.id, rows, 0)
            assert found["resume"]["status"] == "completed"
            assert found["resume"]["output"] == {"only": output}
        # What weighs much is had one by one.
        rows = [[str(row["tenant_id"]), str(row["execution_id"]), row["queue_id"], row["token"]] for row in resumed]
        answers = runner.db.all("select * from flowgres.get_contexts(%s, %s, %s)", runner.id, rows, 100 * KIB)
        assert [row["resume"] is not None for row in answers] == [True] + [comes_along] * (len(rows) - 1)
