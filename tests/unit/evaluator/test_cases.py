"""The template cases: what checking refuses and what rendering gives, in a real evaluator process."""

from __future__ import annotations

import time

import pytest

from flowgres_definitions.expressions import find_references
from flowgres_runner.evaluator import EvaluatorPool, Rendered, RenderFailed, RenderJob
from tests.cases import TEMPLATE_CONTEXT, TEMPLATE_SECRETS, Case, load_cases

PLACEHOLDER = "flowgres-secret-5c1f0b7a"


@pytest.mark.parametrize(
    "case",
    load_cases("template_escape", "template_bomb", "template_value", "template_undefined", "template_secret"),
    ids=str,
)
async def test_template(case: Case, pool: EvaluatorPool) -> None:
    template = case.input["template"]
    # The strictest place for secrets, and the laxest: where they may be used they are placeholders.
    for secrets in ({}, {"secrets": dict.fromkeys(TEMPLATE_SECRETS, PLACEHOLDER)}):
        problems = find_references(template, names=frozenset({"vars"}), secrets_allowed=bool(secrets)).problems
        started = time.monotonic()
        job = RenderJob(key="case", template=template, context={**TEMPLATE_CONTEXT, **secrets})
        (answer,) = await pool.render([job])
        elapsed_ms = (time.monotonic() - started) * 1000

        outcomes = set()
        if problems:
            outcomes.add("reject_import")
        if isinstance(answer, RenderFailed):
            outcomes.add("step_failed_permanent")
        elif isinstance(answer, Rendered):
            outcomes.add("value")
            if secrets and case.kind == "template_secret":
                outcomes.add("masked")
        assert outcomes & case.outcomes, answer
        assert elapsed_ms < case.expectation.get("max_ms", 5000)
        if "value" in case.expectation:
            assert answer == Rendered(case.expectation["value"])
            assert type(answer.value) is type(case.expectation["value"])
        for word in case.expectation.get("must_not_contain", ()):
            assert word not in str(answer)
    assert await pool.render([RenderJob(key="after", template="{{ 1 + 1 }}", context={})]) == [Rendered(2)]


@pytest.mark.parametrize("case", load_cases("template_undefined"), ids=str)
async def test_undefined_tells_no_values(case: Case, pool: EvaluatorPool) -> None:
    (answer,) = await pool.render([RenderJob(key="case", template=case.input["template"], context=TEMPLATE_CONTEXT)])

    assert isinstance(answer, RenderFailed)
    assert "Ann" not in answer.message
    assert "Bob" not in answer.message


async def test_all_bombs_at_once_spare_the_others(pool: EvaluatorPool) -> None:
    bombs = [
        RenderJob(key=case.id, template=case.input["template"], context=TEMPLATE_CONTEXT)
        for case in load_cases("template_bomb")
    ]
    good = [RenderJob(key="good", template="{{ trigger.payload.total + 1 }}", context=TEMPLATE_CONTEXT)] * len(bombs)
    mixed = [job for pair in zip(bombs, good, strict=True) for job in pair]

    answers = await pool.render(mixed)

    assert all(isinstance(answer, RenderFailed) for answer in answers[::2])
    assert answers[1::2] == [Rendered(13.5)] * len(good)
