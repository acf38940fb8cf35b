"""The environment of a runner."""

from __future__ import annotations

import pytest

from flowgres_front.settings import FrontSettings
from flowgres_process.errors import SettingsError
from flowgres_runner.settings import RunnerSettings

URL = "postgresql://runner@localhost/x"


def test_defaults_are_those_of_the_documentation() -> None:
    settings = RunnerSettings.from_environment({"DATABASE_URL": URL})
    assert (settings.concurrency, settings.grace_seconds, settings.http_step_seconds) == (100, 30.0, None)
    assert settings.environment == "development"
    assert settings.direct_url == URL
    assert not settings.through_pooler


def test_direct_url_means_a_pooler() -> None:
    settings = RunnerSettings.from_environment({"DATABASE_URL": URL, "DATABASE_DIRECT_URL": URL + "y"})
    assert settings.through_pooler


def test_names_of_replaced_systems_are_read_with_a_notice() -> None:
    settings = RunnerSettings.from_environment({"DATABASE_URL": URL, "ARQ_CONCURRENCY": "7", "REDIS_URL": "redis://x"})
    assert settings.concurrency == 7
    assert len(settings.notices) == 2
    replays = RunnerSettings.from_environment({"DATABASE_URL": URL, "WEBHOOK_REPLAY_ENABLED": "true"})
    assert len(replays.notices) == 1
    both = RunnerSettings.from_environment({"DATABASE_URL": URL, "ARQ_CONCURRENCY": "7", "RUNNER_CONCURRENCY": "8"})
    assert both.concurrency == 8


@pytest.mark.parametrize(
    ("text", "level"),
    [("warn", "warning"), ("WARN", "warning"), ("Warning", "warning"), ("INFO", "info"), (" error ", "error"),
     ("critical", "error"), ("fatal", "error"), ("trace", "debug"), ("", "info")],
)  # fmt: skip
def test_level_of_the_log_is_taken_as_people_write_it(text: str, level: str) -> None:
    assert RunnerSettings.from_environment({"DATABASE_URL": URL, "LOG_LEVEL": text}).log_level == level
    front = {"DATABASE_URL": URL, "PGRST_JWT_SECRET": "s" * 32, "LOG_LEVEL": text}
    assert FrontSettings.from_environment(front).log_level == level


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNNER_CONCURRENCY", "0"),
        ("RUNNER_POLL_INTERVAL", "nan"),
        ("SHUTDOWN_GRACE_SECONDS", "-1"),
        ("LOG_LEVEL", "loud"),
        ("DATABASE_URL", "postgresql://a b"),
        ("DATABASE_DIRECT_URL", "host=x bogus=y"),
    ],
)
def test_wrong_values_are_named_without_being_quoted_in_full(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        RunnerSettings.from_environment({"DATABASE_URL": URL, name: value})
