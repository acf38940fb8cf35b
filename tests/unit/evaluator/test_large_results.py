"""What is large leaves the evaluators in pieces, by itself, and hundreds of it are never in memory together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowgres_runner.evaluator import EvaluatorPool, Rendered, RenderedLarge, RenderedWhole, RenderFailed, RenderJob
from flowgres_runner.evaluator.jobs import Unfinished
from flowgres_runner.evaluator.process import ChildDiedError, _read_results
from flowgres_runner.evaluator.templates import MAX_BYTES, TemplateCache
from flowgres_runner.execution.opening import config_of, whole_text
from flowgres_runner.json_values import LARGE_BYTES
from tests.unit.evaluator.test_chains import chain
from tests.unit.evaluator.test_slow import job
from tests.unit.evaluator.test_whole_chains import frame, whole

LONG = "{{ 'x' * 100000 }}"
LISTS = "{{ [[]] * 40000 }}"


@pytest.mark.parametrize(
    ("template", "names"),
    [
        (LONG, [None]),
        (LISTS, [None]),
        ({"expression": LISTS}, ["expression"]),
        ({"url": "http://x", "json": {"deep": LISTS}, "body": LONG, "n": 1}, ["json", "body"]),
        ({f"k{number}": "{{ 'é' * 900 }}" for number in range(100)}, [None]),
    ],
    ids=["text", "list", "member", "members", "many small members"],
)
async def test_pieces_are_the_value(pool: EvaluatorPool, template: Any, names: list[str | None]) -> None:
    (answer,) = await pool.render([job("a", template)])

    assert isinstance(answer, RenderedLarge)
    assert [name for name, _ in answer.pieces] == names
    if isinstance(template, str):
        value: Any = "x" * 100_000 if template is LONG else [[]] * 40_000
    else:
        shown = {LONG: "x" * 100_000, LISTS: [[]] * 40_000, "{{ 'é' * 900 }}": "é" * 900}
        value = {name: shown[member] if isinstance(member, str) and member in shown else member
                 for name, member in template.items()}  # fmt: skip
        if "json" in value:
            value["json"] = {"deep": [[]] * 40_000}
    assert json.loads(whole_text(answer)) == value
    assert config_of(None, answer) == value


async def test_what_is_large_comes_alone_and_is_slow_from_then_on(pool: EvaluatorPool) -> None:
    jobs = [job("a", LONG, n) for n in range(40)] + [job("b", "{{ input.n }}", n) for n in range(5)]

    answers = await pool.render_together(jobs)

    assert isinstance(answers[0], RenderedLarge)
    assert answers[1:40] == [Unfinished(is_slow=False)] * 39
    assert answers[40:] == [Rendered(n) for n in range(5)]
    assert await pool.render_together(jobs[:2]) == [Unfinished(is_slow=True)] * 2
    assert isinstance(await pool.render_alone(jobs[0]), RenderedLarge)


async def test_one_answer_is_small_or_one_large_value(pool: EvaluatorPool) -> None:
    part = "{{ 'x' * 30000 }}"

    for made in (chain, whole):
        (few,) = await pool.render([made([part, part])])
        (many,) = await pool.render([made([part] * 5)])
        (first,) = await pool.render([made([LONG, part])])
        (second,) = await pool.render([made([part, LONG, part])])

        assert isinstance(few, Rendered if made is chain else RenderedWhole)
        assert isinstance(many, Rendered)
        assert len(many.then) == 1
        assert isinstance(first, RenderedLarge)
        assert isinstance(second, Rendered)
        assert not second.then


async def test_limit_of_a_result_stands(pool: EvaluatorPool) -> None:
    (answer,) = await pool.render([job("a", "{{ 'x' * 300000 }}")])

    assert isinstance(answer, RenderFailed)
    assert answer.code == "expression_limit"


async def test_what_is_written_out_is_as_large(pool: EvaluatorPool) -> None:
    (answer,) = await pool.render([job("a", {"expression": [{}] * 200_000})])

    assert isinstance(answer, RenderedLarge)
    assert json.loads(whole_text(answer)) == {"expression": [{}] * 200_000}


@pytest.mark.parametrize(
    "array",
    [
        '[[6,null,[[null,3]]]]', '[[6,null,[["a",2]]]]', '[[6,{},[["a",0]]]]', '[[6,{},[["a",true]]]]',
        '[[6,{},[["a"]]]]', '[[6,{},[[1,2]]]]', '[[6,{},[["a",1],["b",2]]]]', '[[6,{},[["a",1]]]]',
    ],
)  # fmt: skip
def test_nonsense_of_a_hostile_child_is_refused(array: str) -> None:
    with pytest.raises(ChildDiedError):
        _read_results(frame(array.encode(), b"xx"))


def test_templates_that_are_known_are_bounded_by_what_they_take() -> None:
    cache = TemplateCache(1_000)
    large = [RenderJob(key=str(n), template={"a": [{}] * 50_000, "b": "{{ 1 }}"}, context={}) for n in range(20)]
    first = cache.find(large[0])
    assert cache.find(large[0]) is first

    found = [cache.find(one) for one in large]

    assert sum(known.weight for known in found) > MAX_BYTES
    assert cache.find(large[-1]) is found[-1]
    assert cache.find(large[0]) is not first
    assert first.weight > 50_000 * 64 > LARGE_BYTES
