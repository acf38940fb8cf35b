"""Results that SQL itself refuses, against the real functions."""

from __future__ import annotations

import pytest

from flowgres_runner.execution.chains import AnyResult, ChainResult
from flowgres_runner.execution.compiled import PlainChain
from flowgres_runner.execution.results import Member, Result
from flowgres_runner.steps.base import Completed
from tests.runner.lanes import result, running
from tests.support.database import Database, Db
from tests.support.engine import dag, import_workflow

POISONS = {
    "nul": r'[[1.0,"\u0000"]]',
    "nothing": "",
    "no json": "[[1.0,",
    "no array": "{}",
    "one too many": "[[1.0,1],[1.0,2]]",
    "one too few": "[]",
    "no pair": "[1]",
    "no pair but three": "[[1.0,1,2]]",
    "no time": '[["x",1]]',
    "out of the quotes": '[[1.0,1]]","[[1.0,1]]',
    "out of the array": '[[1.0,1]]"}\\\\"',
    "not a number": "[[1.0,NaN]]",
    "not to be sent": '[[1.0,"\0"]]',
    "endless": "[[1e300,1]]",
}


@pytest.mark.parametrize("follower_count", [0, 2])
@pytest.mark.parametrize("poison", [None, *POISONS])
async def test_result_that_sql_refuses_fails_alone(
    database: Database, db: Db, poison: str | None, follower_count: int
) -> None:
    tenant = database.make_tenant()
    followers = [{"id": f"f{n}", "depends_on": ["a"]} for n in range(follower_count)]
    import_workflow(db, tenant, dag("one", [{"id": "a"}, *followers]))
    plain = PlainChain((0,), is_whole=not followers, opened_count=follower_count, wanted=())
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow="one", inputs=[{"n": n} for n in range(20)])
    async with running(database) as lane:
        rows = [await lane.take() for _ in range(20)]
        results: list[AnyResult] = [result(row, Completed(1)) for row in rows[:10]]
        results += [ChainResult(row, plain, "[[1.0,1]]") for row in rows[10:]]
        if poison is None:
            # Past every check of ours: text that PostgreSQL parses as JSON and cannot store.
            results[3] = Result(rows[3], [Member(0, "completed", 1.0, r'"\u0000"')])
        else:
            results[13] = ChainResult(rows[13], plain, POISONS[poison])
        lane.put(results)
        for _ in range(19 * follower_count):
            lane.report(await lane.take())
        await lane.holds_nothing()
    ends = db.all("select status, count(*) as n from flowgres.executions group by 1 order by 1")
    assert ends == [{"status": "completed", "n": 19}, {"status": "failed", "n": 1}]
    error = db.value("select error from flowgres.step_executions where status = 'failed'")
    assert error["code"] == "result_refused"
    assert db.value("select attempts from flowgres.step_executions where status = 'failed'") == 1
