"""Chains whose outputs are wanted as one text, and what a hostile child makes of that."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.evaluator import EvaluatorPool, Rendered, RenderedWhole, RenderFailed, RenderJob
from flowgres_runner.evaluator.process import ChildDiedError, _read_results
from flowgres_runner.execution.chains import ChainResult, chain_arrays
from flowgres_runner.execution.compiled import PlainChain
from flowgres_runner.json_values import MAX_DEPTH, encode_output
from tests.unit.evaluator.test_chains import Loop, chain, counting, passing, values
from tests.unit.evaluator.test_pool import HUNGRY, SLOW
from tests.unit.evaluator.test_round_trip import _JSON, loop_and_pool

__all__ = ["loop_and_pool"]

ODD = 'é\u2028"\\},{'


def whole(
    templates: Sequence[Any],
    value: Any = 1,
    *,
    whens: Mapping[int, str] | None = None,
    max_bytes: int = 1 << 20,
    max_depth: int = MAX_DEPTH,
) -> RenderJob:
    job = chain(templates, value, whens=whens)
    return replace(job, last_path=("v",), whole_bytes=max_bytes, max_depth=max_depth)


def outputs(answer: Any) -> list[Any]:
    assert isinstance(answer, RenderedWhole), answer
    pieces = json.loads(answer.text)
    assert all(isinstance(milliseconds, float) and milliseconds >= 0 for milliseconds, _ in pieces)
    return [output for _, output in pieces]


async def test_outputs_of_all_members_are_one_text(pool: EvaluatorPool) -> None:
    jobs = [whole(counting(16), number) for number in range(100)]

    await pool.render(jobs[:1])  # compiling so many takes longer than a chain may
    assert [outputs(answer) for answer in await pool.render(jobs)] == [list(range(n, n + 16)) for n in range(100)]


async def test_one_step_is_a_chain_as_well(pool: EvaluatorPool) -> None:
    (answer,) = await pool.render([whole(["{{ input.n + 1 }}"])])

    assert outputs(answer) == [2]


async def test_kinds_of_jobs_share_a_batch(pool: EvaluatorPool) -> None:
    jobs = [whole(counting(3), 1), chain(counting(3), 2), whole(["{{ input.n }}", "{{ steps.s0.output }}"], ODD)]
    jobs += [RenderJob("k", "{{ input }}", {"input": 1}), whole(counting(2), 9)]

    first, second, third, fourth, fifth = await pool.render(jobs)

    assert outputs(first) == [1, 2, 3]
    assert values(second) == [2, 3, 4]
    assert outputs(third) == [ODD, ODD]
    assert fourth == Rendered(1)
    assert outputs(fifth) == [9, 10]


@settings(max_examples=200, deadline=None)
@given(value=_JSON)
def test_text_has_what_the_parent_would_have_made_of_each_value(loop_and_pool: Loop, value: Any) -> None:
    loop, pool = loop_and_pool

    one, other = loop.run_until_complete(pool.render([whole(passing(3), value), chain(passing(3), value)]))

    assert isinstance(one, RenderedWhole)
    texts = [encode_output(given, max_bytes=1 << 20)[1] for given in values(other)]
    milliseconds = [piece[0] for piece in json.loads(one.text)]
    assert one.text == "[" + ",".join(f"[{ms:.3f},{text}]" for ms, text in zip(milliseconds, texts, strict=True)) + "]"


@pytest.mark.parametrize(
    "template",
    [
        "{{ steps.s1.output.nothing }}",
        "{{ 1 / 0 }}",
        "{{ syntax error }}",
        "{{ 'a' * 300000 }}",
        "{{ [[[1]]] }}",
        SLOW,
        HUNGRY,
    ],
)
async def test_chain_that_is_not_plain_is_answered_as_ever(pool: EvaluatorPool, template: str) -> None:
    templates = [*counting(2), template, "{{ 1 }}"]
    jobs = [whole(counting(3)), whole(templates, max_depth=2), whole(counting(3), 5)]

    first, odd, last = await pool.render(jobs)

    assert (outputs(first), outputs(last)) == ([1, 2, 3], [5, 6, 7])
    # What is nested too deep is the parent's to judge.
    assert values(odd) == [1, 2, *([[[[1]]]] if template == "{{ [[[1]]] }}" else [])]


async def test_false_when_is_answered_as_ever(pool: EvaluatorPool) -> None:
    (answer,) = await pool.render([whole(counting(4), whens={2: "{{ false }}"})])

    assert values(answer) == [1, 2]


async def test_first_member_that_fails_fails_in_its_own_name(pool: EvaluatorPool) -> None:
    (answer,) = await pool.render([whole(["{{ input.x }}", "{{ 1 }}"])])

    assert isinstance(answer, RenderFailed)
    assert answer.code == "expression_undefined"


async def test_text_over_its_limit_is_answered_as_ever(pool: EvaluatorPool) -> None:
    small, large = await pool.render(
        [whole(["{{ 'é' * 40 }}"] * 3, max_bytes=400), whole(["{{ 'é' * 40 }}"] * 3, max_bytes=300)]
    )

    assert outputs(small) == ["é" * 40] * 3
    assert values(large) == ["é" * 40] * 3


async def test_configuration_with_other_members_has_its_own_size(pool: EvaluatorPool) -> None:
    template = {"v": "{{ input.n }}", "other": "{{ 'x' * 262144 }}"}
    job = RenderJob("k", template, {"input": {"n": 1}, "steps": {}}, last_path=("v",), whole_bytes=1 << 20)

    (answer,) = await pool.render([job])

    assert isinstance(answer, RenderFailed)
    assert answer.code == "expression_limit"


def frame(results: Any, texts: bytes = b"") -> bytes:
    array = results if isinstance(results, bytes) else json.dumps(results).encode()
    return struct.pack(">I", len(array)) + array + texts


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0",
        frame(b"[1"),
        frame({}),
        frame([[3, 2]], b"a"),
        frame([[3, 1]], b"ab"),
        frame([[3, -1], [3, 3]], b"ab"),
        frame([[3, 0]], b""),
        frame([[3, True]], b"a"),
        frame([[3, 1.0]], b"a"),
        frame([[3, "1"]], b"a"),
        frame([[3, 1]], b"\xff"),
        frame([[3, 3]], b"\xed\xa0\x80"),
        frame([[3, 2]], b"a\0"),
        frame([[0, 1]], b"a"),
        struct.pack(">I", 1 << 31) + b"[[1]]",
        frame(b"[" * 100_000),
    ],
)
def test_frame_of_a_hostile_child_is_nonsense(body: bytes) -> None:
    with pytest.raises((ChildDiedError, ValueError, RecursionError)):
        _read_results(body)


def test_texts_are_taken_as_they_are_and_in_order() -> None:
    body = frame([[3, 2], [0, 5], [1], [3, 3]], 'é"}\\,'.encode())

    assert _read_results(body) == [RenderedWhole('é"'), [0, 5], [1], RenderedWhole("}\\,")]


async def test_text_that_nobody_asked_for_or_that_is_too_long_is_no_answer(pool: EvaluatorPool) -> None:
    """The limit is the parent's: a child that gives more than it was asked for is not believed."""
    worker = pool._workers[0]
    run = worker.run

    async def hostile(frame: bytes, count: int) -> list[Any]:
        await run(frame, count)
        return [RenderedWhole("é" * 40)] * count

    worker.run = hostile  # type: ignore[method-assign]
    allowed, long, unasked = await pool.render(
        [whole(counting(2), max_bytes=80), whole(counting(2), max_bytes=79), chain(counting(2))]
    )

    assert allowed == RenderedWhole("é" * 40)
    assert isinstance(long, RenderFailed)
    assert isinstance(unasked, RenderFailed)


async def test_answers_are_sent_before_they_become_many(pool: EvaluatorPool) -> None:
    """Each frame is bounded, however much a batch gives: the parent refuses larger ones."""
    jobs = [whole(["{{ 'x' * 30000 }}", "{{ steps.s0.output }}"]) for _ in range(100)]

    answers = await pool.render(jobs)

    assert {len(outputs(answer)[1]) for answer in answers} == {30_000}


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=200))
def test_whatever_a_text_is_it_stays_one_member_of_an_array(text: str) -> None:
    claimed = ClaimedStep(7, 3, "t", "x", "v", 2, -1, 1, 1, False, None, None)
    one, two = PlainChain((2,), True, 0, ()), PlainChain((2, 3), True, 0, ())
    *_, steps = chain_arrays([ChainResult(claimed, one, text), ChainResult(claimed, two, "[]")])

    assert steps.startswith('{"')
    assert steps.endswith('","[]"}')
    inner = steps[2 : -len('","[]"}')]
    unescaped, at = "", 0
    while at < len(inner):
        assert inner[at] != '"', "the quote would end the member"
        at += inner[at] == "\\"
        unescaped += inner[at]
        at += 1
    assert unescaped == text
