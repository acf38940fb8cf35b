"""What takes long keeps nothing else waiting: of another tenant, of the same batch, in other processes."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from flowgres_runner.evaluator import EvaluatorPool, Rendered, RenderFailed, RenderJob, Unfinished
from flowgres_runner.evaluator.pool import NICENESS, QUICK_SECONDS
from tests.unit.evaluator.test_chains import chain, counting, values
from tests.unit.evaluator.test_pool import SLOW, UNSTOPPABLE, cpu_seconds

HEAVY = "{{ ([1] * 60000) | map('string') | join | length + input.n }}"
"""Takes several times as long as what is quick, and not as long as an expression may."""
MEDIUM = "{{ ([1] * 20000) | map('string') | join | length + input.n }}"


def job(tenant_id: str, template: Any, n: int = 1) -> RenderJob:
    return RenderJob(key=str(template)[:200], template=template, context={"input": {"n": n}}, tenant_id=tenant_id)


async def test_batch_is_not_held_up_by_one_tenant_of_it(pool: EvaluatorPool) -> None:
    jobs = [job("loud", SLOW, n) for n in range(40)] + [job("quiet", "{{ input.n }}", n) for n in range(40)]
    before = cpu_seconds(pool.pids[0])

    answers = await pool.render_together(jobs)

    assert answers[40:] == [Rendered(n) for n in range(40)]
    # It was compiled as well, so it has a second chance; the others are not even tried after the first one.
    assert answers[:40] == [Unfinished(is_slow=False)] * 40
    answers = await pool.render_together(jobs)
    assert answers[:40] == [Unfinished(is_slow=True), *[Unfinished(is_slow=False)] * 39]
    assert cpu_seconds(pool.pids[0]) - before < 10 * QUICK_SECONDS


async def test_what_took_long_is_known_and_not_tried_again_among_others(pool: EvaluatorPool) -> None:
    assert await pool.render_together([job("loud", SLOW)]) == [Unfinished(is_slow=True)]
    before = cpu_seconds(pool.pids[0])

    answers = await pool.render_together([job("loud", SLOW), job("other", "{{ 1 }}"), job("loud", "{{ 2 }}")])

    assert answers == [Unfinished(is_slow=True), Rendered(1), Rendered(2)]
    assert cpu_seconds(pool.pids[0]) - before < QUICK_SECONDS


async def test_jobs_of_one_tenant_go_on_until_all_are_done_or_known_to_be_slow(pool: EvaluatorPool) -> None:
    jobs = [job("a", MEDIUM, n) for n in range(60)]

    answers = await pool.render_together(jobs)

    finished = [answer for answer in answers if answer != Unfinished(is_slow=True)]
    assert all(isinstance(answer, Rendered) for answer in finished)


async def test_expression_that_takes_long_has_all_its_time(pool: EvaluatorPool) -> None:
    answers = await pool.render([job("a", HEAVY, n) for n in range(3)])

    assert answers == [Rendered(60_000 + n) for n in range(3)]


async def test_others_go_on_while_slow_ones_are_rendered(pool: EvaluatorPool) -> None:
    slow = asyncio.create_task(pool.render([job("loud", SLOW), job("loud", UNSTOPPABLE), job("loud", HEAVY)] * 3))
    for n in range(50):
        assert await pool.render([job("quiet", "{{ input.n }}", n)]) == [Rendered(n)]
    assert not slow.done()

    answers = await slow

    codes = [answer.code if isinstance(answer, RenderFailed) else "done" for answer in answers]
    assert codes == ["expression_limit", "expression_limit", "done"] * 3


async def test_slow_ones_take_turns_with_those_of_another_tenant(pool: EvaluatorPool) -> None:
    ended: list[str] = []

    async def render(tenant_id: str) -> None:
        await pool.render_alone(job(tenant_id, SLOW))
        ended.append(tenant_id)

    async with asyncio.TaskGroup() as group:
        for tenant_id in ("loud", "loud", "loud", "loud", "other"):
            group.create_task(render(tenant_id))

    assert ended.index("other") <= 2


async def test_large_template_is_compiled_bit_by_bit_and_then_quick(pool: EvaluatorPool) -> None:
    template = [f"{{{{ input.n + {number} + (input.n * 2 if input.n > 5 else 3) }}}}" for number in range(150)]

    (first,) = await pool.render_together([job("a", template)])
    (second,) = await pool.render_together([job("a", template)])

    assert first == second == Rendered([1 + number + 3 for number in range(150)])
    assert pool._slow_workers[0].pid is None


async def test_slow_member_of_a_chain_takes_no_others_time_twice(pool: EvaluatorPool) -> None:
    bomb = chain([*counting(2), SLOW])
    (first,) = await pool.render_together([bomb])
    assert values(first) == [1, 2]
    # As the runner does with what was left out.
    follower = bomb.then[-1]
    assert await pool.render_together([RenderJob(follower.key, SLOW, {"input": {}, "steps": {}})]) == [
        Unfinished(is_slow=True)
    ]
    before = cpu_seconds(pool.pids[0])
    (again,) = await pool.render_together([bomb])

    assert values(again) == [1], "the chain is not begun"
    assert cpu_seconds(pool.pids[0]) - before < QUICK_SECONDS


async def test_children_for_what_takes_long_give_way_to_others(pool: EvaluatorPool) -> None:
    await pool.render_alone(job("a", "{{ 1 }}"))
    quick, slow = pool.pids

    assert os.getpriority(os.PRIO_PROCESS, slow) - os.getpriority(os.PRIO_PROCESS, quick) == NICENESS


async def test_job_alone_whose_child_was_killed_by_somebody_is_tried_again(pool: EvaluatorPool) -> None:
    await pool.render_alone(job("a", "{{ 1 }}"))
    rendering = asyncio.create_task(pool.render_alone(job("a", HEAVY)))
    started = time.monotonic()
    while pool._slow_idle and time.monotonic() - started < 5:
        await asyncio.sleep(0)
    os.kill(pool.pids[1], 9)

    assert await rendering == Rendered(60_001)


async def test_time_that_a_large_value_takes_to_be_opened_is_not_the_expressions(pool: EvaluatorPool) -> None:
    text = json.dumps([str(number) for number in range(700_000)]).encode()
    context: dict[str, Any] = {"input": text, "steps": {"a": {"output": text, "status": "completed"}}}
    large = RenderJob(key="k", template="{{ input | length }}", context=context, tenant_id="a")
    seconds = time.process_time()
    json.loads(text)
    assert time.process_time() - seconds > QUICK_SECONDS

    answers = await pool.render_together([large, job("a", "{{ input.n }}", 2)])

    assert answers == [Rendered(700_000), Rendered(2)]
