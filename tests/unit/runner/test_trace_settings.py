"""Which variables ask for traces, and what is said where they cannot be had."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flowgres_process.errors import SettingsError
from flowgres_runner.settings import RunnerSettings
from flowgres_runner.upkeep.tracing import PACKAGES

URL = "postgresql://nobody@127.0.0.1:1/nothing"
ASKED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


def seconds(**variables: str) -> float | None:
    return RunnerSettings.from_environment({"DATABASE_URL": URL, **variables}).trace_seconds


def test_the_address_of_a_collector_asks_for_traces() -> None:
    assert seconds() is None
    assert seconds(**ASKED) == 10
    assert seconds(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:4318/v1/traces") == 10
    assert seconds(**ASKED, OTEL_EXPORTER_OTLP_TIMEOUT="3", OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="2.5") == 2.5
    for none in ({"OTEL_SDK_DISABLED": "True"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}):
        assert seconds(**{**ASKED, **none}) is None


@pytest.mark.parametrize(
    "variable",
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ],
)
def test_what_this_runner_cannot_do_is_refused_by_its_name(variable: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match=variable[0]):
        seconds(**ASKED, **dict([variable]))


def start_without_the_extra(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The runner where OpenTelemetry cannot be imported, as where it is not installed."""
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'opentelemetry':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from flowgres_runner.main import main\n"
        "main([])\n"
    )
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=kept | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_asked_for_and_not_installed_is_told_at_the_start() -> None:
    answer = start_without_the_extra(ASKED)
    assert answer.returncode == 1
    assert "[extra_missing]" in answer.stderr
    assert f"-m pip install {PACKAGES}" in answer.stderr
    declared = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert shlex.split(PACKAGES) == declared["optional-dependencies"]["otel"]
    assert "Traceback" not in answer.stderr


def test_nothing_of_it_is_imported_where_nobody_asks() -> None:
    program = "import sys, flowgres_runner.runner; sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
