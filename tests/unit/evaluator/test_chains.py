"""Templates that are rendered right after one another, each of which sees what the ones before it gave."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgres_runner.evaluator import EvaluatorPool, Follower, NotTaken, Rendered, RenderFailed, RenderJob
from flowgres_runner.json_values import canonical_json
from tests.unit.evaluator.test_pool import HUNGRY, SLOW, UNSTOPPABLE, code_of
from tests.unit.evaluator.test_round_trip import _JSON, identical, loop_and_pool

__all__ = ["loop_and_pool"]

Loop = tuple[asyncio.AbstractEventLoop, EvaluatorPool]


def state(output: Any) -> dict[str, Any]:
    return {"output": output, "status": "completed", "error": None, "attempts": 1}


def chain(
    templates: Sequence[Any], value: Any = 1, *, whens: Mapping[int, str] | None = None, key: str = ""
) -> RenderJob:
    """s0, s1, ...: each template is the member `v` of a configuration, and sees the steps before it."""
    whens = whens or {}
    then = tuple(
        Follower(
            key=f"{template}{whens.get(place)}",
            template={"v": template},
            when=whens.get(place),
            references=tuple(f"s{before}" for before in range(place)),
            after=f"s{place - 1}",
            path=("v",),
        )
        for place, template in enumerate(templates[1:], 1)
    )
    return RenderJob(
        key=key or str(templates),
        template={"v": templates[0]},
        context={"input": {"n": value}, "steps": {}},
        when=whens.get(0),
        then=then,
    )


def passing(places: int) -> list[str]:
    return ["{{ input.n }}", *(f"{{{{ steps.s{place - 1}.output }}}}" for place in range(1, places))]


def counting(places: int) -> list[str]:
    return ["{{ input.n }}", *(f"{{{{ steps.s{place - 1}.output + 1 }}}}" for place in range(1, places))]


def values(answer: Any) -> list[Any]:
    assert isinstance(answer, Rendered)
    return [answer.value["v"], *(value["v"] for value in answer.then)]


async def one_by_one(pool: EvaluatorPool, job: RenderJob) -> list[Any]:
    """What the same templates give when each is rendered by itself, its context made from what came before."""
    steps: dict[str, Any] = {}
    given = []
    template, when = job.template, job.when
    for follower in (*job.then, None):
        context = {**job.context, "steps": dict(steps)}
        (answer,) = await pool.render([RenderJob(key=str(template), template=template, context=context, when=when)])
        if not isinstance(answer, Rendered):
            break
        given.append(answer.value["v"])
        if follower is not None:
            steps[follower.after] = state(canonical_json(answer.value["v"]))
            template, when = follower.template, follower.when
    return given


async def test_each_member_sees_what_the_ones_before_it_gave(pool: EvaluatorPool) -> None:
    jobs = [chain(counting(6), number) for number in range(200)]

    assert [values(answer) for answer in await pool.render(jobs)] == [list(range(n, n + 6)) for n in range(200)]


@settings(max_examples=200, deadline=None)
@given(value=_JSON)
def test_any_value_is_passed_on_as_if_rendered_one_by_one(loop_and_pool: Loop, value: Any) -> None:
    loop, pool = loop_and_pool
    job = chain(passing(3), value)

    (answer,) = loop.run_until_complete(pool.render([job]))

    assert identical(values(answer), loop.run_until_complete(one_by_one(pool, job)))


@given(
    value=st.sampled_from([-0.0, 1e16, 1e300, 1.0, True, 1, {"bb": 1, "a": 2, "é": 3}, [], {}, None, "\u2028", 2**70])
)
@settings(deadline=None)
def test_forms_of_a_value_that_jsonb_would_change_are_passed_on_changed(loop_and_pool: Loop, value: Any) -> None:
    loop, pool = loop_and_pool
    job = chain(["{{ input.n }}", "{{ steps.s0.output | string }} {{ steps.s0.output }}"], value)

    (answer,) = loop.run_until_complete(pool.render([job]))

    assert values(answer) == loop.run_until_complete(one_by_one(pool, job))
    assert len(values(answer)) == 2


@pytest.mark.parametrize(
    "template",
    [
        "{{ steps }}",
        "{{ steps | length }}",
        "{{ (1, [2, (3,)]) }}",
        "{{ [steps.s0] }}",
        "{{ steps.s0.status ~ steps.s0.attempts ~ steps.s0.error }}",
        "{{ steps.s0.output | items | list }}",
        "{{ steps.nobody is defined }}",
        "{{ execution is defined }}",
    ],
)
async def test_kinds_of_values_and_contexts_are_those_of_one_by_one(pool: EvaluatorPool, template: str) -> None:
    job = chain(["{{ {'b': input.n, 'a': [true, none]} }}", template, "{{ steps }}"])

    (answer,) = await pool.render([job])

    assert identical(values(answer), await one_by_one(pool, job))
    assert len(values(answer)) == 3


async def test_member_sees_only_the_steps_that_it_refers_to(pool: EvaluatorPool) -> None:
    last = Follower("last", "{{ steps }}", None, ("far", "s0"), "s0", ())
    job = RenderJob("k", "{{ input }}", {"input": 1, "steps": {"own": state(3)}}, then=(last,), known={"far": state(2)})

    assert await pool.render([job]) == [Rendered(1, [{"far": state(2), "s0": state(1)}])]


@pytest.mark.parametrize(
    "template",
    [
        "{{ steps.s1.output.nothing }}",
        "{{ 1 / 0 }}",
        "{{ syntax error }}",
        "{{ 0.1 ** -400 }}",
        "{{ {1: 2} }}",
        "{{ 'a' * 300000 }}",
        SLOW,
        HUNGRY,
    ],
)
async def test_member_that_fails_is_left_out_with_those_after_it(pool: EvaluatorPool, template: str) -> None:
    pids = pool.pids
    jobs = [chain(counting(3)), chain([*counting(2), template, "{{ 1 }}"]), chain(counting(3), 5)]

    answers = [values(answer) for answer in await pool.render(jobs)]

    assert answers == [[1, 2, 3], [1, 2], [5, 6, 7]]
    assert pool.pids == pids


async def test_member_that_is_not_taken_is_left_out(pool: EvaluatorPool) -> None:
    job = chain(counting(4), whens={1: "{{ input.n == 1 }}", 2: "{{ steps.s1.output > 5 }}"})

    assert values((await pool.render([job]))[0]) == [1, 2]


async def test_member_that_refers_to_a_step_unknown_here_is_left_out(pool: EvaluatorPool) -> None:
    far = Follower("far", "{{ steps.far.output }}", None, ("far",), "s0", ())

    assert await pool.render([RenderJob("k", "{{ 1 }}", {"steps": {}}, then=(far,))]) == [Rendered(1, ())]


async def test_first_member_fails_and_is_not_taken_in_its_own_name(pool: EvaluatorPool) -> None:
    jobs = [chain(["{{ input.x }}", "{{ 1 }}"]), chain(["{{ 1 }}", "{{ 2 }}"], whens={0: "{{ input.n > 1 }}"})]

    failed, not_taken = await pool.render(jobs)

    assert code_of(failed) == "expression_undefined"
    assert not_taken == NotTaken()


async def test_bomb_in_the_middle_costs_only_the_members_after_the_first(pool: EvaluatorPool) -> None:
    """The child dies with the answers of the whole chain, unless it is interrupted before."""
    jobs = [chain(counting(3)), chain([*counting(2), UNSTOPPABLE, "{{ 1 }}"]), chain(counting(3), 5)]

    answers = await pool.render(jobs)

    assert values(answers[1]) in ([1], [1, 2])
    assert [values(answer)[0] for answer in answers] == [1, 1, 5]


async def test_slow_members_leave_the_rest_to_another_job(pool: EvaluatorPool) -> None:
    slow = "{{ ([1] * 20000) | map('string') | join | length }}"

    given = values((await pool.render([chain([slow] * 16)]))[0])

    assert given == [20000] * len(given)
    assert len(given) < 16


async def test_child_killed_in_the_middle_of_chains_loses_no_first_member(pool: EvaluatorPool) -> None:
    slow = "{{ ([1] * 5000) | map('string') | join | length }}"
    rendering = asyncio.create_task(pool.render([chain([slow, *counting(3)[1:]])] * 100))
    await asyncio.sleep(0.1)
    os.kill(pool.pids[0], signal.SIGKILL)

    for answer in await rendering:
        given = values(answer)
        assert given
        assert given == [5000, 5001, 5002][: len(given)]


async def test_template_that_was_not_reached_is_there_when_it_is(pool: EvaluatorPool) -> None:
    templates = counting(3)

    assert values((await pool.render([chain(templates, 1, whens={1: "{{ input.n > 1 }}"})]))[0]) == [1]
    assert values((await pool.render([chain(templates, 2, whens={1: "{{ input.n > 1 }}"})]))[0]) == [2, 3, 4]


async def test_more_chains_than_the_child_remembers(pool: EvaluatorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool._workers[0].templates, "_size", 3)

    for _ in range(2):
        for number in range(8):
            job = chain(["{{ input.n }}", f"{{{{ steps.s0.output + {number} }}}}"])
            assert values((await pool.render([job]))[0]) == [1, 1 + number]
            assert await pool.render([RenderJob("k", "{{ input }}", {"input": 1})]) == [Rendered(1)]


async def test_key_that_comes_back_with_other_followers_is_another_chain(pool: EvaluatorPool) -> None:
    for number in range(3):
        job = chain(["{{ input.n }}", f"{{{{ steps.s0.output + {number} }}}}"], key="same")
        assert values((await pool.render([job]))[0]) == [1, 1 + number]


async def test_chain_that_begins_without_an_expression_is_answered_at_once(pool: EvaluatorPool) -> None:
    assert await pool.render([chain([1, "{{ input.n }}"])]) == [Rendered({"v": 1})]


async def test_context_that_is_no_json_fails_its_chain_alone(pool: EvaluatorPool) -> None:
    odd, good = await pool.render([chain(passing(2), object()), chain(passing(2), 2)])

    assert isinstance(odd, RenderFailed)
    assert values(good) == [2, 2]
