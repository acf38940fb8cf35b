"""What `flowgres doctor` looks at: this machine, the server, the database. Every check ends in one Finding."""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from flowgres_cli import __version__
from flowgres_cli.client import Client
from flowgres_cli.config import Config, environment_dsn
from flowgres_cli.errors import CliError
from flowgres_cli.identity import installation_of
from flowgres_cli.table_triggers import MOST_TOLD, TableTriggers, amiss

Json = Any
MOST_CLOCK_SECONDS = 5.0
_LATE_SECONDS = 60.0
OK, PROBLEM, NOTE = "ok", "problem", "note"
_PROVIDERS = {
    "notify, email": "SMTP_URL",
    "notify, slack": "SLACK_WEBHOOK_URL",
    "llm, anthropic": "ANTHROPIC_API_KEY",
    "llm, openai": "OPENAI_API_KEY",
}
"""A check for each, and the secret that has the account."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `note` is neither good nor bad, such as a part that is not needed here."""

    check: str
    result: str
    detail: str
    fix: str = ""


def examine(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    """All checks, one after the other. None of them raises; none takes longer than a few seconds."""
    yield _python()
    for check in (_postgres_programs, _postgrest_program):
        yield check()
    installation = yield from _server(config)
    yield from examine_database(environment, installation)


def _python() -> Finding:
    return Finding("Python", OK, f"{platform.python_version()}, flowgres {__version__}")


def _postgres_programs() -> Finding:
    from flowgres_cli.stack.binaries import find_postgres
    from flowgres_cli.stack.errors import StackError

    try:
        return Finding("PostgreSQL programs", OK, str(find_postgres()))
    except StackError as error:
        # Only dev and demo start a server of their own.
        return Finding("PostgreSQL programs", NOTE, f"{error.message} `flowgres dev` needs them.", error.hint or "")


def _postgrest_program() -> Finding:
    from flowgres_cli.stack.errors import StackError
    from flowgres_cli.stack.fetching import find_postgrest

    try:
        return Finding("PostgREST program", OK, str(find_postgrest(fetch=False)))
    except StackError as error:
        return Finding("PostgREST program", NOTE, f"{error.message} `flowgres dev` fetches it.", error.hint or "")


def _server(config: Config) -> Generator[Finding, None, str | None]:
    """Look at the server; returns which installation it is, when it is one."""
    # Whether the database of the environment is the same installation is a finding of its own.
    config = replace(config, database=None)
    try:
        client = Client(config)
    except CliError as error:
        yield Finding("credentials", PROBLEM, error.message, error.hint or "")
        return None
    # Health is for everybody: a wrong key is a finding of its own, and must not hide the others.
    nobody = Client(replace(config, api_key=None, token=None))
    with client, nobody:
        health = _attempt("API", lambda: nobody.call("health"))
        if isinstance(health, Finding):
            yield health
        else:
            yield Finding("API", OK, f"{config.server(str(config.api_url))}, installation {nobody.installation()}")
            yield from _engine(health)
        yield from _front(nobody, config)
        if not isinstance(health, Finding):
            credentials = _credentials(client, config)
            yield credentials
            if credentials.result == OK:
                yield from _providers(client)
            yield _clock(nobody)
            return nobody.installation()
    return None


def _engine(health: Mapping[str, Json]) -> Iterator[Finding]:
    version = health.get("version")
    if version is not None and str(version) != __version__:
        yield Finding(
            "versions",
            PROBLEM,
            f"the database has {version}, this command line is {__version__}",
            "Bring both to one version: install the newer one here, or there run flowgres db upgrade.",
        )
    elif version is not None:
        yield Finding("versions", OK, f"database and command line are {version}")
    if health.get("is_copy"):
        yield _copy()
    runners = health.get("runners", health.get("live_runners"))
    if not runners:
        yield Finding("runners", PROBLEM, "no runner is alive: nothing is executed", "Start one: flowgres runner start")
    else:
        yield Finding("runners", OK, f"{runners} alive")
    for name in health.get("unserved_types") or ():
        yield Finding(
            "step types",
            PROBLEM,
            f'steps are ready, and no live runner serves their type "{name}"',
            "Start a runner that serves it (the package that brings it, DATABASE_SQL_URL for sql, RUNNER_TYPES),"
            " or cancel those executions.",
        )
    oldest = health.get("lag_seconds")
    if isinstance(oldest, int | float) and oldest > _LATE_SECONDS:
        yield Finding(
            "backlog",
            PROBLEM,
            f"the oldest ready step has waited for {oldest:.0f} s",
            "Start more runners, or raise RUNNER_CONCURRENCY.",
        )


def _front(client: Client, config: Config) -> Iterator[Finding]:
    answer = _attempt("front", lambda: client.front("GET", "/health", accept_status=frozenset({503})))
    if isinstance(answer, Finding):
        yield answer
        return
    state = answer.get("status") if isinstance(answer, dict) else None
    if state == "ok":
        yield Finding("front", OK, config.server(str(config.front_url)))
    else:
        parts = (
            ", ".join(f"{name} {answer.get(name)}" for name in ("database", "postgrest", "runners")) if answer else ""
        )
        yield Finding("front", PROBLEM, f"{config.front_url} is {state}: {parts}", "Look at the part that is not ok.")


def _credentials(client: Client, config: Config) -> Finding:
    if config.api_key is None and config.token is None:
        return Finding("credentials", NOTE, "none given", "Set FLOWGRES_API_KEY, or name a profile.")
    answer = _attempt("credentials", lambda: client.select("tenants", {"select": "slug,status", "limit": 1}))
    if isinstance(answer, Finding):
        return answer
    if not answer:
        return Finding("credentials", PROBLEM, "they belong to no tenant", "Check the claim tenant_id of the token.")
    tenant = answer[0]
    if tenant.get("status") != "active":
        return Finding(
            "credentials", PROBLEM, f"tenant {tenant.get('slug')} is {tenant.get('status')}", "Ask the operator."
        )
    return Finding("credentials", OK, f"tenant {tenant.get('slug')}")


def _providers(client: Client) -> Iterator[Finding]:
    """The accounts that notify and llm steps find by a name; what the operator shares is not seen from here."""
    try:
        stored = {row["name"] for row in client.select("secrets", {"select": "name"})}
    except CliError:
        # Not everybody reads the names of secrets.
        return
    for check, name in _PROVIDERS.items():
        if name in stored:
            yield Finding(check, OK, f"the secret {name} is stored")
        else:
            yield Finding(
                check,
                NOTE,
                f"no secret {name}: such a step needs an account in its configuration, or one that the operator shares",
                f"flowgres secrets set {name}",
            )


def _clock(client: Client) -> Finding:
    """PostgREST's Date header against our clock: tokens expire by one and are made by the other."""
    try:
        server_time = client.server_time()
        difference = (datetime.now(UTC) - parsedate_to_datetime(server_time)).total_seconds() if server_time else 0.0
    except (CliError, ValueError) as error:
        return Finding("clock", NOTE, f"cannot be compared: {error}")
    # The header has whole seconds.
    if abs(difference) > MOST_CLOCK_SECONDS + 1:
        return Finding(
            "clock",
            PROBLEM,
            f"this machine differs from the server by {difference:+.0f} s",
            "Synchronise both with NTP.",
        )
    return Finding("clock", OK, "as the server's")


def _same_installation(dsn: str, installation: str | None) -> Finding | None:
    """Whether the database is the one behind the API; None where one of them does not tell."""
    if installation is None:
        return None
    try:
        found = installation_of(dsn, where="DATABASE_URL")
    except CliError:
        return None
    if found == installation:
        return None
    return Finding(
        "installation",
        PROBLEM,
        f"DATABASE_URL names installation {found}, and the API is {installation}",
        "Name the server that belongs to the database, or unset DATABASE_URL.",
    )


def examine_database(environment: Mapping[str, str], installation: str | None = None) -> Iterator[Finding]:
    """The database that the environment names, as its owner sees it; it should be the `installation` of the API."""
    dsn = environment_dsn(environment)
    if not dsn:
        yield Finding("database", NOTE, "not looked at: DATABASE_URL is not set", "Only install and upgrade need it.")
        return
    other = _same_installation(dsn, installation)
    if other is not None:
        yield other
    from flowgres_cli import migrate
    from flowgres_cli.dsn import checked_dsn

    try:
        found = migrate.status(checked_dsn(dsn, where="DATABASE_URL"))
    except CliError as error:
        yield Finding("database", PROBLEM, error.message, error.hint or "")
        return
    if not found.is_installed:
        yield Finding("database", PROBLEM, "flowgres is not installed", "Run: flowgres db install")
    elif found.pending or found.changed:
        behind = len(found.pending) + len(found.changed)
        yield Finding("database", PROBLEM, f"{behind} files behind this version", "Run: flowgres db upgrade")
    elif found.problems:
        told = f"{len(found.problems)} owners, rights or policies differ; the first: {found.problems[0]}"
        yield Finding("database", PROBLEM, told, "Run: flowgres db install")
    else:
        yield Finding("database", OK, f"PostgreSQL {found.server_version}, up to date")
    if found.installation and found.installation.is_copy:
        yield _copy()
    yield from _table_triggers(found.table_triggers)


def _table_triggers(found: Sequence[TableTriggers]) -> Iterator[Finding]:
    wrong, more = amiss(found)
    for triggers in wrong:
        yield Finding("table triggers", PROBLEM if triggers.is_fault else NOTE, str(triggers), f"Run: {triggers.fix}")
    if more:
        yield Finding("table triggers", NOTE, f"{more} more are amiss", "See: flowgres triggers list")
    sound = [triggers for triggers in found if not triggers.fix]
    for triggers in sound[:MOST_TOLD]:
        yield Finding("table triggers", OK, str(triggers))
    if sound[MOST_TOLD:]:
        yield Finding("table triggers", OK, f"{len(sound) - MOST_TOLD} more, see: flowgres triggers list")


def _copy() -> Finding:
    return Finding(
        "installation",
        PROBLEM,
        "this database is a copy of an installation: runners are refused",
        "Once the original runs no more: flowgres db adopt",
    )


def _attempt(check: str, call: Callable[[], Json]) -> Json | Finding:
    try:
        return call()
    except CliError as error:
        return Finding(check, PROBLEM, error.message, error.hint or "")
