"""The order of requests, the same in every run: by virtual time, and within one moment by the graph.

Steps that hang on nothing of each other are run at the same time, so which of them asks first is chance. The graph has
every step after those that it waits for, and a child within the step that started it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_cli.testing.cases import Case, Outcome
from flowgres_cli.testing.checking import COMPENSATION
from flowgres_cli.testing.world import Sent
from flowgres_definitions.form import form_definition
from flowgres_definitions.graph import build_graph
from flowgres_definitions.sections import late_numbers

_STEPS, _COMPENSATIONS, _LATE = range(3)
Rank = tuple[int, int]


def in_order(case: Case, outcome: Outcome) -> list[Sent]:
    """All requests of a case."""
    ranks = {definition.name: _ranks(definition.document) for definition in case.source.definitions}

    def rank(workflow: str, step: str, number: int) -> Rank:
        # Compensations go one by one, the last first: as they came is their order.
        return (_COMPENSATIONS, number) if step.endswith(COMPENSATION) else ranks[workflow].get(step, (_LATE, number))

    def way(execution_id: str, number: int) -> list[Rank]:
        """The steps that lead to an execution, from the outermost one on."""
        found: list[Rank] = []
        execution = outcome.executions.get(execution_id)
        while execution is not None and execution.parent is not None:
            parent_id, step = execution.parent
            execution = outcome.executions.get(parent_id)
            if execution is not None:
                found.insert(0, rank(execution.workflow, step, number))
        return found

    def key(numbered: tuple[int, Sent]) -> tuple[Any, ...]:
        number, sent = numbered
        asked = sent.asked
        steps = [*way(asked.execution_id, number), rank(asked.workflow, asked.step, number)]
        iteration = -1 if asked.iteration is None else asked.iteration
        return sent.at, steps, iteration, number

    return [sent for _, sent in sorted(enumerate(outcome.sent), key=key)]


def _ranks(document: Mapping[str, Any]) -> dict[str, Rank]:
    formed = form_definition(dict(document), {})
    graph = build_graph(formed["steps"])
    ranks: dict[str, Rank] = {}
    for rank, number in enumerate(graph.order):
        name = graph.ids[number]
        if name is not None:
            ranks[name] = (_STEPS, rank)
    ranks.update({name: (_LATE, number) for name, number in late_numbers(formed).items()})
    return ranks
