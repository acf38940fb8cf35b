"""Expressions that take long."""

from __future__ import annotations

from typing import Any

import pytest

from tests.noisy.conftest import Neighbourhood
from tests.support.engine import dag, import_workflow

pytestmark = [pytest.mark.slow, pytest.mark.alone]

BOMB = "{{ [1] | slice(10**9) | length }}"
SLOW = "{{ ([1] * 400000) | map('string') | join | length + input.n }}"
UNSTOPPABLE = "{{ [[1] * 1000000] * 1000000 == [[1] * 1000000] * 1000000 }}"
WHEN = "{{ ([1] * 100000) | map('string') | join | length > 5 }}"


def one_step(neighbourhood: Neighbourhood, name: str, expression: str, **more: object) -> str:
    steps = [{"id": "a", "config": {"expression": expression}, **more}]
    return import_workflow(neighbourhood.db, neighbourhood.loud, dag(name, steps))


def test_bombs_and_slow_expressions(neighbourhood: Neighbourhood) -> None:
    bomb, slow = one_step(neighbourhood, "bomb", BOMB), one_step(neighbourhood, "slow", SLOW)
    neighbourhood.start_many(bomb, 34)
    neighbourhood.start_many(slow, 100)

    neighbourhood.assert_undisturbed()


def test_fan_outs_with_conditions_that_take_long(neighbourhood: Neighbourhood) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "root"},
        *({"id": f"s{i}", "depends_on": ["root"], "when": WHEN} for i in range(45)),
    ]
    name = import_workflow(neighbourhood.db, neighbourhood.loud, dag("fan", steps))
    neighbourhood.start_many(name, 20)

    neighbourhood.assert_undisturbed()


def test_expressions_that_end_their_process(neighbourhood: Neighbourhood) -> None:
    neighbourhood.start_many(one_step(neighbourhood, "killer", UNSTOPPABLE), 60)

    neighbourhood.assert_undisturbed()


def test_many_slow_workflows_that_nobody_has_seen_before(neighbourhood: Neighbourhood) -> None:
    for number in range(60):
        name = one_step(neighbourhood, f"bomb{number}", BOMB.replace("[1]", f"[{number}]"))
        neighbourhood.start_many(name, 2)

    neighbourhood.assert_undisturbed()
