"""What an installation takes from the environment: passwords of login roles, and limits for the table of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_cli.errors import UsageProblemError
from flowgres_definitions.cron import is_timezone

Json = Any

_PASSWORDS = {
    "flowgres_authenticator": "FLOWGRES_AUTHENTICATOR_PASSWORD",
    "flowgres_runner": "FLOWGRES_RUNNER_PASSWORD",
    "flowgres_front": "FLOWGRES_FRONT_PASSWORD",
    "flowgres_operator": "FLOWGRES_OPERATOR_PASSWORD",
    "flowgres_sql": "FLOWGRES_SQL_PASSWORD",
}
# Variable -> setting, and the smallest value that makes sense.
_NUMBERS = {
    "MAX_STEPS_PER_WORKFLOW": ("max_steps_per_workflow", 1),
    "EXECUTION_TIMEOUT_SECONDS": ("execution_timeout_seconds", 1),
    "HTTP_STEP_TIMEOUT": ("http_step_timeout_seconds", 1),
    "MAX_SUB_WORKFLOW_DEPTH": ("max_sub_workflow_depth", 0),
    "RUNNER_LEASE_SECONDS": ("lease_seconds", 5),
    "RATE_LIMIT_PER_MINUTE": ("rate_limit_per_minute", 0),
    "MAX_PAYLOAD_BYTES": ("max_payload_bytes", 1024),
    "MAX_OUTPUT_BYTES": ("max_output_bytes", 1024),
    "LOG_RETENTION_DAYS": ("log_retention_days", 1),
    "DELIVERY_RETENTION_DAYS": ("delivery_retention_days", 1),
}
_WORDS = {"NOTIFY_MODE": ("notify_mode", ("send", "log")), "LLM_MODE": ("llm_mode", ("call", "stub"))}
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def login_passwords(environment: Mapping[str, str]) -> dict[str, str]:
    """Role -> password, for the variables that are set."""
    return {role: environment[name] for role, name in _PASSWORDS.items() if environment.get(name)}


def seeded_settings(environment: Mapping[str, str], *, is_change: bool = False) -> dict[str, Json]:
    """The settings that the environment names; `is_change`: ENV is to become that of an installation of another.

    Raises UsageProblemError for a value that makes no sense.
    """
    seeds: dict[str, Json] = {}
    for variable, (name, least) in _NUMBERS.items():
        text = environment.get(variable, "").strip()
        if text:
            seeds[name] = _number(variable, text, least)
    zone = environment.get("CRON_TIMEZONE", "").strip()
    if zone:
        if not is_timezone(zone):
            raise UsageProblemError(
                f"{zone!r} is no time zone", where="CRON_TIMEZONE", hint="A name such as Europe/Berlin."
            )
        seeds["cron_timezone"] = zone
    for variable, (name, words) in _WORDS.items():
        word = environment.get(variable, "").strip().lower()
        if word and word not in words:
            raise UsageProblemError(f"{word[:40]!r} is not {' or '.join(words)}", where=variable)
        if word:
            seeds[name] = word
    mode = environment.get("ENV", "").strip()
    if mode:
        seeds["environment"] = mode
    text = environment.get("SELF_REGISTRATION_ENABLED", "").strip().lower()
    if text:
        if text not in _TRUE | _FALSE:
            raise UsageProblemError(f"{text!r} is neither true nor false", where="SELF_REGISTRATION_ENABLED")
        seeds["self_registration_enabled"] = text in _TRUE
    elif mode == "development" or (mode and is_change):
        # What was open to everybody in development does not stay so elsewhere.
        seeds["self_registration_enabled"] = mode == "development"
    return seeds


def _number(variable: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
        raise UsageProblemError(f"{text[:40]!r} is no whole number of {least} or more", where=variable)
    return int(text)
