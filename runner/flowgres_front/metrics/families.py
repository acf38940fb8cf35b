"""The metrics, by name: what flowgres.installation_metrics() says, as families of the Prometheus client.

Labels are types of steps, statuses and names of ours: never a tenant, a workflow or a text of a user. What is counted
is kept in the database, so any number of fronts say the same, and none of them counts anything itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

PLACES_PER_BOUND = 12
"""Of the 24 that a power of ten has in the database: bounds are 1, 3.16, 10, 31.6 and so on."""
LEAST_BOUND, GREATEST_BOUND = -36, 96
"""From a millisecond to 10,000 seconds."""

_GAUGES = {
    "live_runners": ("flowgres_runners_live", "Runners that are alive and may work."),
    "deaf_runners": ("flowgres_runners_deaf", "Runners whose LISTEN connection has been lost for 15 seconds or more."),
    "runners_without_evaluators": (
        "flowgres_runners_without_evaluators",
        "Runners that cannot start a process for expressions.",
    ),
    "lag_seconds": ("flowgres_queue_age_seconds", "Age of the ready step that has waited longest."),
    "schedule_lag_seconds": ("flowgres_schedule_lag_seconds", "By how much the schedule that is due longest is late."),
    "sla_lag_seconds": ("flowgres_sla_lag_seconds", "By how much the sla of a state that is due longest is late."),
    "changes_lag_seconds": (
        "flowgres_table_changes_lag_seconds",
        "By how much the change of a table that is due longest is late.",
    ),
    "history_ahead_seconds": (
        "flowgres_history_ahead_seconds",
        "Time until there is no partition for new executions; they would go to the default one.",
    ),
    "measured_age_seconds": (
        "flowgres_metrics_age_seconds",
        "Age of the youngest executions that the counters know of.",
    ),
}
_RUNNER_COUNTERS = {
    "leases_rescued": ("flowgres_leases_rescued", "Steps taken from runners that had died or fallen silent."),
    "executions_forgotten": ("flowgres_executions_forgotten", "Executions deleted by a retention of their own."),
    "evaluator_kills": ("flowgres_evaluator_kills", "Expression processes that were ended for taking too much."),
    "steps_reported": ("flowgres_runner_steps_reported", "Steps that runners have brought to an outcome."),
    "round_trips": ("flowgres_runner_round_trips", "Calls of runners that report and claim."),
}


class Installation(Collector):
    """One scrape: the answer of flowgres.installation_metrics(), None when the database did not give one."""

    def __init__(self, answer: Mapping[str, Any] | None) -> None:
        self._answer = answer

    def collect(self) -> Iterator[Metric]:
        """The families; without a database the one that says so."""
        answer = self._answer
        yield GaugeMetricFamily(
            "flowgres_database_up", "Whether the database answered this scrape.", value=answer is not None
        )
        if answer is None:
            return
        version = GaugeMetricFamily("flowgres_info", "The version of the schema.", labels=["version"])
        version.add_metric([str(answer["version"])], 1)
        yield version
        for key, (name, text) in _GAUGES.items():
            if answer[key] is not None:
                yield GaugeMetricFamily(name, text, value=float(answer[key]))
        yield GaugeMetricFamily(
            "flowgres_is_copy", "Whether runners refuse it as a copy.", value=bool(answer["is_copy"])
        )
        yield GaugeMetricFamily(
            "flowgres_step_types_unserved",
            "Types of steps that wait and that no live runner serves.",
            value=len(answer["unserved_types"]),
        )
        queue = GaugeMetricFamily("flowgres_queue_steps", "Steps in the queue, counted up to 10,000.", labels=["state"])
        for state, count in sorted(answer["queue"].items()):
            queue.add_metric([state], count)
        yield queue
        changes = GaugeMetricFamily(
            "flowgres_table_changes",
            "Changes of tables that have started nothing yet, counted up to 10,000.",
            labels=["state"],
        )
        for state, count in sorted(answer["changes"].items()):
            changes.add_metric([state], count)
        yield changes
        counters = answer["counters"]
        yield from _ended(counters, "execution", "flowgres_executions", "Executions that ended", ["status"])
        yield from _ended(counters, "step", "flowgres_steps", "Steps that ended", ["type", "status"])
        yield _durations(
            counters, "execution", "flowgres_execution_duration_seconds", "From the first step to the end.", []
        )
        yield _durations(counters, "wait", "flowgres_execution_wait_seconds", "From the start to the first step.", [])
        yield _durations(
            counters, "step", "flowgres_step_duration_seconds", "From the begin of a step to its end.", ["type"]
        )
        yield _counted(
            counters,
            "webhook",
            "flowgres_webhook_deliveries",
            "Deliveries that came to webhooks.",
            ("outcome", "reason"),
        )
        yield _counted(
            counters, "notification", "flowgres_notification_deliveries", "Deliveries that ended.", ("status",)
        )
        for key, (name, text) in _RUNNER_COUNTERS.items():
            yield CounterMetricFamily(name, text, value=float(answer["runner_counters"].get(key, 0)))


def _ended(
    counters: Sequence[Mapping[str, Any]], measure: str, name: str, text: str, labels: list[str]
) -> Iterator[Metric]:
    ended = CounterMetricFamily(f"{name}_ended", f"{text}.", labels=labels)
    retried = CounterMetricFamily(f"{name}_retries", f"{text}: their attempts beyond the first.", labels=labels)
    for row in counters:
        if row["measure"] == measure:
            values = [row[label] for label in labels]
            ended.add_metric(values, row["total"])
            retried.add_metric(values, row["retried"])
    yield ended
    if measure == "step":
        yield retried


def _counted(
    counters: Sequence[Mapping[str, Any]], measure: str, name: str, text: str, labels: tuple[str, ...]
) -> Metric:
    """What is counted by its status and, with a second label, by its reason."""
    family = CounterMetricFamily(name, text, labels=labels)
    for row in counters:
        if row["measure"] == measure:
            family.add_metric([row["status"], row["type"]][: len(labels)], row["total"])
    return family


def _durations(counters: Sequence[Mapping[str, Any]], measure: str, name: str, text: str, labels: list[str]) -> Metric:
    """Of those that completed: what failed says little about how long it takes."""
    family = HistogramMetricFamily(name, f"{text} Of those that completed.", labels=labels)
    found: dict[tuple[str, ...], tuple[dict[int, int], float]] = {}
    for row in counters:
        if row["measure"] != measure or row["status"] not in ("completed", ""):
            continue
        places, seconds = found.setdefault(tuple(row[label] for label in labels), ({}, 0.0))
        for place, count in zip(row["places"], row["counts"], strict=True):
            places[place] = places.get(place, 0) + count
        found[tuple(row[label] for label in labels)] = (places, seconds + row["seconds"])
    if not labels and not found:
        found[()] = ({}, 0.0)
    for values, (places, seconds) in found.items():
        family.add_metric(list(values), _buckets(places), seconds)
    return family


def _buckets(places: Mapping[int, int]) -> list[tuple[str, float]]:
    """Cumulative counts: a place is the upper bound of what it holds, as a bucket of Prometheus is."""
    bounds = range(LEAST_BOUND, GREATEST_BOUND + 1, PLACES_PER_BOUND)
    buckets = [
        (f"{10 ** (bound / 24):.3g}", float(sum(count for place, count in places.items() if place <= bound)))
        for bound in bounds
    ]
    return [*buckets, ("+Inf", float(sum(places.values())))]
