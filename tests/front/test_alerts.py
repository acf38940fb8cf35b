"""The files for Prometheus, judged by its own promtool: valid, and each alert fires when it should, and only then."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promtool import find_promtool

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
MINUTES = 60
_VALUE = re.compile(r"\{\{ \$value.*?\}\}")


@dataclass(frozen=True)
class Series:
    """What an alert looks at, a value a minute as promtool writes it, and `told`, how its text gives the value."""

    bad: dict[str, str]
    good: dict[str, str]
    told: str = ""


def _always(name: str, bad: float, good: float, told: str = "") -> Series:
    return Series({name: f"{bad}x{MINUTES}"}, {name: f"{good}x{MINUTES}"}, told)


def _counted(bad: dict[str, int], good: dict[str, int], told: str = "") -> Series:
    """Counters that grow by so much a minute."""
    grown = [{name: f"0+{count}x{MINUTES}" for name, count in part.items()} for part in (bad, good)]
    return Series(grown[0], grown[1], told)


def _webhooks(outcome: str) -> str:
    return f'flowgres_webhook_deliveries_total{{outcome="{outcome}",reason=""}}'


def _by_status(name: str, status: str) -> str:
    return f'flowgres_{name}_total{{status="{status}"}}'


COMPLETED, FAILED = (_by_status("executions_ended", status) for status in ("completed", "failed"))
TOLD, GIVEN_UP = (_by_status("notification_deliveries", status) for status in ("completed", "failed"))
ACCEPTED, REFUSED, REJECTED = (_webhooks(outcome) for outcome in ("accepted", "failed", "rejected"))
SERIES = {
    "FlowgresUnreachable": _always("flowgres_database_up", 0, 1),
    "FlowgresNoRunner": _always("flowgres_runners_live", 0, 1),
    "FlowgresQueueOld": _always("flowgres_queue_age_seconds", 61, 60, "1m 1s"),
    "FlowgresStepTypeUnserved": _always("flowgres_step_types_unserved", 2, 0, "2"),
    "FlowgresExecutionsFail": _counted({FAILED: 2, COMPLETED: 8}, {FAILED: 1, COMPLETED: 9}, "20%"),
    "FlowgresLeasesRescued": _counted({"flowgres_leases_rescued_total": 1}, {"flowgres_leases_rescued_total": 0}, "15"),
    "FlowgresEvaluatorsKilled": _counted({"flowgres_evaluator_kills_total": 7}, {"flowgres_evaluator_kills_total": 5}),
    "FlowgresRunnersWithoutEvaluators": _always("flowgres_runners_without_evaluators", 1, 0, "1"),
    "FlowgresRunnersDeaf": _always("flowgres_runners_deaf", 2, 0, "2"),
    "FlowgresSchedulesLate": _always("flowgres_schedule_lag_seconds", 120, 60, "2m 0s"),
    "FlowgresSlasLate": _always("flowgres_sla_lag_seconds", 120, 60, "2m 0s"),
    "FlowgresTableChangesLate": _always("flowgres_table_changes_lag_seconds", 120, 60, "2m 0s"),
    "FlowgresTableChangesFail": _always('flowgres_table_changes{state="failing"}', 3, 0, "3"),
    "FlowgresHistoryEnds": _always("flowgres_history_ahead_seconds", 43199, 43200),
    "FlowgresCountersStandStill": _always("flowgres_metrics_age_seconds", 700, 600, "11m 40s"),
    "FlowgresIsCopy": _always("flowgres_is_copy", 1, 0),
    # Of a few deliveries a large share says nothing.
    "FlowgresWebhooksRejected": _counted({REJECTED: 60, ACCEPTED: 20}, {REJECTED: 1, ACCEPTED: 0}, "75%"),
    "FlowgresWebhooksFail": _counted({REFUSED: 2, ACCEPTED: 8}, {REFUSED: 1, ACCEPTED: 9, REJECTED: 90}, "20%"),
    "FlowgresNotificationsFail": _counted({GIVEN_UP: 3, TOLD: 1}, {GIVEN_UP: 1, TOLD: 1}, "75%"),
}


def _promtool(*arguments: str) -> str:
    done = subprocess.run([find_promtool(), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _test_of(name: str, series: dict[str, str], *, told: str | None) -> dict[str, Any]:
    """One test of promtool: the alert fires and says `told`, or (None) does not."""
    rule, fired = RULES[name], []
    if told is not None:
        said = {key: _VALUE.sub(told, text) for key, text in rule["annotations"].items()}
        fired = [{"exp_labels": rule["labels"], "exp_annotations": said}]
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{MINUTES}m", "alertname": name, "exp_alerts": fired}],
    }


def test_every_alert_is_tried() -> None:
    assert set(SERIES) == set(RULES)


@pytest.mark.slow
def test_files_of_prometheus_are_valid() -> None:
    assert f"{len(RULES)} rules found" in _promtool("check", "rules", str(FOLDER / "alerts.yaml"))
    _promtool("check", "config", str(FOLDER / "prometheus.yaml"))


@pytest.mark.slow
def test_each_alert_fires_on_what_is_bad_and_not_on_what_is_good(tmp_path: Path) -> None:
    tests = [_test_of(name, series.bad, told=series.told) for name, series in SERIES.items()]
    tests += [_test_of(name, series.good, told=None) for name, series in SERIES.items()]
    tests.append(_test_of("FlowgresUnreachable", {}, told=""))
    document = {"rule_files": [str(FOLDER / "alerts.yaml")], "evaluation_interval": "15s", "tests": tests}
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(document))
    _promtool("test", "rules", str(path))
