"""The evaluator's processes: order, limits, kills, isolation."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from flowgres_definitions.language import FILTERS, TESTS
from flowgres_runner.evaluator import (
    EvaluatorPool,
    NotTaken,
    Rendered,
    RenderFailed,
    RenderJob,
    RenderResult,
)
from flowgres_runner.evaluator import (
    pool as pool_module,
)
from flowgres_runner.evaluator.process import EvaluatorProcess

# Neither can be interrupted by a signal: one long call in C. Only the parent ends them.
UNSTOPPABLE = "{{ [[1] * 1000000] * 1000000 == [[1] * 1000000] * 1000000 }}"
SLOW = "{{ [1] | slice(10**9) | length }}"
HUNGRY = "{{ ('a' * 100000).replace('a', 'b' * 100000) }}"


def job(template: Any, number: int = 0, when: str | None = None) -> RenderJob:
    return RenderJob(key=str(template), template=template, context={"input": {"n": number}}, when=when)


def code_of(result: RenderResult) -> str:
    assert isinstance(result, RenderFailed)
    return result.code


def cpu_seconds(pid: int) -> float:
    """CPU time of another process, by the kernel's clock of it."""
    return time.clock_gettime((~pid << 3) | 2)


async def test_results_come_in_the_order_of_the_jobs(pool: EvaluatorPool) -> None:
    jobs = [job("{{ input.n }}", number) for number in range(500)]

    assert await pool.render(jobs) == [Rendered(number) for number in range(500)]


async def test_template_without_expressions_is_answered_at_once(pool: EvaluatorPool) -> None:
    os.kill(pool.pids[0], signal.SIGSTOP)

    async with asyncio.timeout(1):
        assert await pool.render([job({"a": [1, "x"]})]) == [Rendered({"a": [1, "x"]})]


async def test_when_and_failures_are_answers(pool: EvaluatorPool) -> None:
    answers = await pool.render([job("x", 1, "{{ input.n == 2 }}"), job("{{ input.x }}"), job("{{ input.n }}", 3)])

    assert answers[0] == NotTaken()
    assert code_of(answers[1]) == "expression_undefined"
    assert answers[2] == Rendered(3)


async def test_key_with_another_template_is_compiled_anew(pool: EvaluatorPool) -> None:
    first = RenderJob(key="k", template="{{ input.n }}", context={"input": {"n": 1}})
    second = RenderJob(key="k", template="{{ input.n + 1 }}", context={"input": {"n": 1}})

    assert await pool.render([first, second, first]) == [Rendered(1), Rendered(2), Rendered(1)]


async def test_more_templates_than_the_child_remembers(pool: EvaluatorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool._workers[0].templates, "_size", 3)

    for _ in range(2):
        for number in range(10):
            assert await pool.render([job(f"{{{{ input.n + {number} }}}}", 1)]) == [Rendered(number + 1)]
    together = [job(f"{{{{ input.n + {number} }}}}", 1) for number in range(10)]
    assert await pool.render(together) == [Rendered(number + 1) for number in range(10)]


@pytest.mark.parametrize("guilty", [SLOW, HUNGRY])
async def test_limits_in_the_child_fail_the_guilty_job_without_a_kill(pool: EvaluatorPool, guilty: str) -> None:
    pids = pool.pids

    answers = await pool.render([job("{{ input.n }}", 1), job(guilty), job("{{ input.n }}", 2)])

    assert code_of(answers[1]) == "expression_limit"
    assert (answers[0], answers[2]) == (Rendered(1), Rendered(2))
    assert pool.pids[:1] == pids
    assert pool.died_count == 0


async def test_parent_kills_what_no_signal_can_stop(pool: EvaluatorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[EvaluatorProcess] = []
    kill = EvaluatorProcess.kill

    async def noted(process: EvaluatorProcess) -> None:
        killed.append(process)
        await kill(process)

    monkeypatch.setattr(EvaluatorProcess, "kill", noted)
    answers = await pool.render([job("{{ input.n }}", 1), job(UNSTOPPABLE), job("{{ input.n }}", 2)])

    assert code_of(answers[1]) == "expression_limit"
    assert (answers[0], answers[2]) == (Rendered(1), Rendered(2))
    assert pool._slow_workers[0] in killed, "wherever else it was interrupted before"
    assert pool.died_count >= 1
    assert pool.died_lately_count == pool.died_count
    assert not pool.is_failing
    assert await pool.render([job("{{ input.n }}", 3)]) == [Rendered(3)]


async def test_event_loop_goes_on_while_a_bomb_burns(pool: EvaluatorPool) -> None:
    rendering = asyncio.create_task(pool.render([job(UNSTOPPABLE)]))
    ticks = 0
    while not rendering.done():
        await asyncio.sleep(0.005)
        ticks += 1

    assert ticks > 20


async def test_others_go_on_while_suspects_are_tried(pool: EvaluatorPool) -> None:
    """The batch that died is tried in another process, so the next caller waits for one kill at most."""
    bombs = asyncio.create_task(pool.render([job(UNSTOPPABLE, number) for number in range(3)]))
    await asyncio.sleep(0)
    started = time.process_time()
    answer = await pool.render([job("{{ input.n }}", 5)])

    assert answer == [Rendered(5)]
    assert not bombs.done()
    assert time.process_time() - started < 0.5
    assert [code_of(result) for result in await bombs] == ["expression_limit"] * 3


async def test_killed_child_is_replaced(pool: EvaluatorPool) -> None:
    for number in range(3):
        os.kill(pool.pids[0], signal.SIGKILL)
        assert await pool.render([job("{{ input.n }}", number)]) == [Rendered(number)]


async def test_child_killed_in_the_middle_of_a_batch_loses_nothing(pool: EvaluatorPool) -> None:
    jobs = [job("{{ ([1] * 5000) | map('string') | join | length + input.n }}", number) for number in range(100)]
    rendering = asyncio.create_task(pool.render(jobs))
    await asyncio.sleep(0.1)
    os.kill(pool.pids[0], signal.SIGKILL)

    assert await rendering == [Rendered(5000 + number) for number in range(100)]


async def test_stopped_child_is_replaced() -> None:
    pool = EvaluatorPool(cpu_seconds=0.02)
    await pool.start()
    os.kill(pool.pids[0], signal.SIGSTOP)

    assert await pool.render([job("{{ input.n }}", 1)]) == [Rendered(1)]
    await pool.close()


async def test_cancelled_render_does_not_confuse_the_next(pool: EvaluatorPool) -> None:
    rendering = asyncio.create_task(pool.render([job(SLOW)]))
    await asyncio.sleep(0.05)
    rendering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rendering

    assert await pool.render([job("{{ input.n }}", 4)]) == [Rendered(4)]


async def test_batch_is_split_among_processes() -> None:
    pool = EvaluatorPool(processes=2)
    await pool.start()
    before = [cpu_seconds(pid) for pid in pool.pids]

    answers = await pool.render([job("{{ input.n }}", number) for number in range(100)])

    assert answers == [Rendered(number) for number in range(100)]
    assert all(cpu_seconds(pid) > used for pid, used in zip(pool.pids, before, strict=True))
    await pool.close()


async def test_large_contexts_are_packed_and_sent_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_BATCH_BYTES", 50_000)
    pool = EvaluatorPool(processes=2)
    await pool.start()
    frames: list[int] = []
    for worker in pool._workers:
        run = worker.run

        async def watched(frame: bytes, count: int, run: Any = run) -> list[Any]:
            frames.append(len(frame))
            return list(await run(frame, count))

        monkeypatch.setattr(worker, "run", watched)
    jobs = [RenderJob("k", "{{ input.n }}", {"input": {"n": n, "text": "x" * 20_000}}) for n in range(23)]

    assert await pool.render(jobs) == [Rendered(n) for n in range(23)]
    assert len(frames) >= 8
    assert max(frames) < 80_000
    await pool.close()


async def test_many_callers_at_once_get_their_own_answers(pool: EvaluatorPool) -> None:
    calls = [pool.render([job("{{ input.n }}", number * 10 + i) for i in range(7)]) for number in range(40)]

    for number, answers in enumerate(await asyncio.gather(*calls)):
        assert answers == [Rendered(number * 10 + i) for i in range(7)]


async def test_memory_of_one_job_does_not_starve_the_next(pool: EvaluatorPool) -> None:
    big = "{{ ([('a' * 1000000) | list] | map('string') | list | length) + input.n }}"
    for number in range(5):
        (answer,) = await pool.render([job(big, number)])
        assert answer == Rendered(1 + number) or code_of(answer) == "expression_limit"
        assert await pool.render([job("{{ input.n }}", number)]) == [Rendered(number)]


async def test_output_limit_counts_bytes() -> None:
    pool = EvaluatorPool(output_bytes=100)
    await pool.start()

    answers = await pool.render([job("{{ 'é' * 49 }}"), job("{{ 'é' * 50 }}")])

    assert answers[0] == Rendered("é" * 49)
    assert code_of(answers[1]) == "expression_limit"
    await pool.close()


async def test_context_that_is_no_json_fails_its_job_alone(pool: EvaluatorPool) -> None:
    odd = RenderJob(key="k", template="{{ input }}", context={"input": object()})

    answers = await pool.render([odd, job("{{ input.n }}", 1)])

    assert code_of(answers[0]) == "expression_error"
    assert answers[1] == Rendered(1)


async def test_child_has_nothing_of_the_environment_and_one_descriptor_to_the_parent(
    pool: EvaluatorPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = pool.pids[0]
    with open(f"/proc/{pid}/environ", "rb") as environment:
        names = {line.partition(b"=")[0] for line in environment.read().split(b"\0") if line}
    assert names <= {b"MALLOC_MMAP_THRESHOLD_", b"MALLOC_TRIM_THRESHOLD_"}, "nothing of the parent's, and no secret"
    targets = sorted(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd"))
    assert targets == ["/dev/null", "/dev/null", f"/proc/{pid}/statm", "socket"]
    with open(f"/proc/{pid}/limits") as limits:
        lines = {line[:26].strip(): line[26:].split()[0] for line in limits}
    assert lines["Max open files"] == lines["Max file size"] == lines["Max processes"] == "0"
    assert lines["Max address space"] != "unlimited"


async def test_children_end_with_the_parent(pool: EvaluatorPool) -> None:
    process = pool._workers[0]._process
    assert process is not None

    await pool.close()

    assert process.returncode is not None
    assert pool.pids == []


_ARGUMENTS = {"batch": "(2)", "slice": "(2)", "groupby": "('a')", "map": "('string')", "reject": "('none')"}
_ARGUMENTS |= {"select": "('string')", "rejectattr": "('a')", "selectattr": "('a')", "replace": "('a', 'b')"}
_TEST_ARGUMENTS = {"divisibleby": "(2)", "in": "([1])"}
_COMPARING = {"eq", "equalto", "ge", "greaterthan", "gt", "le", "lessthan", "lt", "ne"}


async def test_every_filter_and_test_works_without_opening_files(pool: EvaluatorPool) -> None:
    """Jinja imports some modules on first use, and the child can open nothing by then."""
    values = ["'a b'", "[{'a': 1}]", "{'a': 1}", "1.5", "[1, 2]"]
    names = sorted(FILTERS)
    answers = await pool.render(
        [job(f"{{{{ {value} | {name}{_ARGUMENTS.get(name, '')} }}}}") for name in names for value in values]
    )
    for at, name in enumerate(names):
        assert any(isinstance(answer, Rendered) for answer in answers[at * 5 : at * 5 + 5]), name
    words = sorted(name for name in TESTS if name.isalpha())
    arguments = {**_TEST_ARGUMENTS, **dict.fromkeys(_COMPARING, "(1)")}
    checks = [job(f"{{{{ (input.n is {name}{arguments.get(name, '')}) or true }}}}") for name in words if name != "in"]
    for answer, check in zip(await pool.render(checks), checks, strict=True):
        assert answer == Rendered(True) or code_of(answer) == "expression_error", check
