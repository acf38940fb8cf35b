"""W12: what an application pays for a table whose changes start workflows, and how soon what they start is there."""

from __future__ import annotations

import time
from statistics import median

from tests.benchmarks.definitions import single
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context
from tests.support.tables import SHOP, table

ROUNDS = 7
SINGLES = 200
INSERT = (
    "insert into shop.orders (id, customer, status, total)"
    " select %s + i, 'c' || i %% 100, 'new', i from generate_series(1, %s) as i"
)


def measure(context: Context) -> None:
    """Milliseconds of one insert of many rows, and of one row, without and with the triggers; then the runner's part.

    Both kinds of insert take turns, so that the same disturbance meets both.
    """
    rows = context.scale.changed_rows
    with context.site() as site:
        site.admin.run(SHOP)
        site.import_workflow({**single(), "name": "watches", "triggers": [table()]})
        for row in site.admin.value("select flowgres.list_table_triggers()"):
            site.admin.run(row["install"])
        many: dict[str, list[float]] = {"disable": [], "enable": []}
        one: dict[str, list[float]] = {"disable": [], "enable": []}
        first = 0
        for _ in range(ROUNDS):
            for act in many:
                site.admin.run(f"alter table shop.orders {act} trigger user")
                many[act].append(_insert(site, first, rows))
                first += rows
                singles = [_insert(site, first + number, 1) for number in range(SINGLES)]
                one[act].append(median(singles))
                first += SINGLES
        context.record("w12.many.plain", median(many["disable"]))
        context.record("w12.many.watched", median(many["enable"]))
        context.record("w12.one.plain", median(one["disable"]))
        context.record("w12.one.watched", median(one["enable"]))
        began = time.perf_counter()
        while site.admin.value("select p_picked from flowgres.start_changes(5)"):
            pass
        started = site.admin.value("select count(*) from flowgres.executions where trigger_type = 'table'")
        context.record("w12.started", started / (time.perf_counter() - began))


def _insert(site: Site, first: int, count: int) -> float:
    began = time.perf_counter()
    site.admin.run(INSERT, first, count)
    return (time.perf_counter() - began) * 1000
