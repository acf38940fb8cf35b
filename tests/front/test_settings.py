"""What the front takes from the environment, and how it names what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from flowgres_definitions.dialects import secret_name
from flowgres_definitions.problems import parse_path
from flowgres_front.settings import FrontSettings
from flowgres_process.errors import SettingsError
from tests.support.database import Database
from tests.support.front import Front

SOUND = {
    "DATABASE_URL": "postgresql://flowgres_runner:pw@db:5433/flowgres?sslmode=require",
    "PGRST_JWT_SECRET": "x" * 32,
}


def test_the_front_logs_in_as_itself_where_the_runner_does() -> None:
    settings = FrontSettings.from_environment(SOUND)

    parts = conninfo_to_dict(settings.dsn)
    assert (parts["user"], parts["host"], parts["port"], parts["sslmode"]) == (
        "flowgres_front",
        "db",
        "5433",
        "require",
    )


def test_a_database_of_its_own_comes_first() -> None:
    settings = FrontSettings.from_environment({**SOUND, "FRONT_DATABASE_URL": "postgresql://me@other/flowgres"})

    assert conninfo_to_dict(settings.dsn)["user"] == "me"


def test_empty_variables_are_not_set() -> None:
    settings = FrontSettings.from_environment(
        {**SOUND, "HOST": "", "PORT": "", "MAX_PAYLOAD_BYTES": "", "LOG_LEVEL": ""}
    )

    assert (settings.host, settings.port, settings.max_body_bytes) == ("127.0.0.1", 8000, 1 << 20)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGRST_JWT_SECRET", "short"),
        ("PGRST_JWT_SECRET", ""),
        ("PGRST_JWT_SECRET", '{"kty": "RSA", "n": "0000000000000000"}'),
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "not a dsn"),
        ("FRONT_DATABASE_URL", "not a dsn"),
        ("PORT", "http"),
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("MAX_PAYLOAD_BYTES", "1e6"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        FrontSettings.from_environment({**SOUND, name: value})

    assert name in str(caught.value)


def run_once(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowgres_front"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_program_ends_with_2_and_one_line() -> None:
    done = run_once()

    assert done.returncode == 2
    assert done.stderr.startswith("flowgres-front: PGRST_JWT_SECRET")
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken_ends_with_1_and_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_once(**SOUND, PORT=port)

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: address already in use [front_unavailable]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signal_ends_the_program(module_database: Database, tmp_path: Path) -> None:
    with Front(module_database.url("front"), log_path=tmp_path / "front.log") as front:
        front.process.send_signal(signal.SIGTERM)
        assert front.process.wait(timeout_seconds=15) == 0


@pytest.mark.parametrize(
    ("workflow", "name"),
    [
        ("Order Pipeline", "ORDER_PIPELINE_WEBHOOK_SECRET"),
        ("order-pipeline", "ORDER_PIPELINE_WEBHOOK_SECRET"),
        ("Über Aufträge", "UBER_AUFTRAGE_WEBHOOK_SECRET"),
        ("2024 report", "W_2024_REPORT_WEBHOOK_SECRET"),
        ("注文", "W_WEBHOOK_SECRET"),
        ("x" * 200, "X" * 46 + "_WEBHOOK_SECRET"),
    ],
)
def test_an_inline_secret_gets_a_name_that_expressions_can_use(workflow: str, name: str) -> None:
    assert secret_name(workflow) == name
    assert len(name) <= 63


def test_paths_of_problems_lead_back_into_the_document() -> None:
    assert parse_path('steps[2].config.headers["x y"]') == ("steps", 2, "config", "headers", "x y")
    assert parse_path("") == ()
