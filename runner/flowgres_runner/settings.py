"""What a runner needs to know, read once from the environment."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from flowgres_process.environment import Environment, check_url
from flowgres_process.errors import SettingsError
from flowgres_runner.providers import NOTHING_SHARED, PROVIDER_VARIABLES, SharedProviders

_WORDS = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Addresses, limits and switches of one runner process.

    `database_url` is what work goes through, perhaps a pooler; `direct_url` reaches PostgreSQL itself, for LISTEN.
    `concurrency` bounds steps that wait for something (HTTP and custom types), not pure ones.
    What is None is decided by the database's settings. `lease_seconds` is always theirs, because all runners must
    agree; here it is read only to say so when it differs. `trace_seconds` is how long the collector of traces has for
    one request; None when no traces are asked for. `providers` are accounts of the operator that tenants may use.
    `sql_url` is the database as the login that calls the functions of sql steps; without it the runner serves none.
    `types` are what it serves: step types, and `core` for those that every runner has; None is all that it can.
    """

    database_url: str
    direct_url: str
    environment: str = "development"
    name: str = ""
    labels: tuple[str, ...] = ()
    concurrency: int = 100
    lanes: int = 2
    evaluators: int = 1
    poll_seconds: float | None = None
    lease_seconds: float | None = None
    grace_seconds: float = 30.0
    http_step_seconds: float | None = None
    max_output_bytes: int | None = None
    secret_key: str = ""
    previous_secret_key: str = ""
    public_url: str = ""
    log_level: str = "info"
    log_format: str = "auto"
    failpoint: str = ""
    trace_seconds: float | None = None
    providers: SharedProviders = NOTHING_SHARED
    sql_url: str = ""
    sql_connections: int = 4
    types: tuple[str, ...] | None = None
    notices: tuple[str, ...] = ()

    @property
    def through_pooler(self) -> bool:
        """Whether work goes through a pooler, which may not keep prepared statements."""
        return self.database_url != self.direct_url

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> RunnerSettings:
        """Read the variables of deploy/.env.example.

        Raises SettingsError with the name of the variable and what it should be.
        """
        read = Environment(environment)
        database_url = read.text("DATABASE_URL")
        if not database_url:
            raise SettingsError(
                "DATABASE_URL is not set",
                hint="Set it to a connection string such as postgresql://flowgres_runner@localhost:5432/flowgres",
            )
        direct_url = read.text("DATABASE_DIRECT_URL") or database_url
        check_url("DATABASE_URL", database_url)
        check_url("DATABASE_DIRECT_URL", direct_url)
        sql_url = read.text("DATABASE_SQL_URL")
        if sql_url:
            check_url("DATABASE_SQL_URL", sql_url)
        notices: list[str] = []
        if read.text("REDIS_URL"):
            notices.append("REDIS_URL is ignored: PostgreSQL is the queue")
        if read.text("WEBHOOK_REPLAY_ENABLED"):
            notices.append(
                "WEBHOOK_REPLAY_ENABLED is ignored: a delivery that comes again is never taken twice,"
                " and `flowgres webhooks redeliver` repeats one on purpose"
            )
        concurrency_name = "RUNNER_CONCURRENCY"
        if not read.text(concurrency_name) and read.text("ARQ_CONCURRENCY"):
            concurrency_name = "ARQ_CONCURRENCY"
            notices.append("ARQ_CONCURRENCY is read for RUNNER_CONCURRENCY, which is its name here")
        return cls(
            database_url=database_url,
            direct_url=direct_url,
            environment=read.text("ENV") or "development",
            name=read.text("RUNNER_NAME") or socket.gethostname(),
            labels=tuple(label.strip() for label in read.text("RUNNER_LABELS").split(",") if label.strip()),
            concurrency=read.whole(concurrency_name, 100, low=1, high=10_000),
            lanes=read.whole("RUNNER_LANES", 2, low=1, high=16),
            evaluators=read.whole("RUNNER_EVALUATORS", 1, low=1, high=64),
            poll_seconds=read.optional_seconds("RUNNER_POLL_INTERVAL", low=0.01, high=3600),
            lease_seconds=read.optional_seconds("RUNNER_LEASE_SECONDS", low=5, high=3600),
            grace_seconds=read.seconds("SHUTDOWN_GRACE_SECONDS", 30.0, low=0, high=86_400),
            http_step_seconds=read.optional_seconds("HTTP_STEP_TIMEOUT", low=0.001, high=86_400),
            max_output_bytes=read.whole("MAX_OUTPUT_BYTES", 0, low=0, high=256 << 20) or None,
            secret_key=read.text("FLOWGRES_SECRET_KEY"),
            previous_secret_key=read.text("FLOWGRES_SECRET_KEY_PREVIOUS"),
            public_url=read.text("PUBLIC_URL"),
            log_level=read.log_level(),
            log_format=read.log_format(),
            failpoint=read.text("FLOWGRES_FAILPOINT"),
            trace_seconds=_trace_seconds(read),
            providers=_shared_providers(read, notices),
            sql_url=sql_url,
            sql_connections=read.whole("RUNNER_SQL_CONNECTIONS", 4, low=1, high=64),
            types=_types(read),
            notices=tuple(notices),
        )


def _shared_providers(read: Environment, notices: list[str]) -> SharedProviders:
    """The operator's accounts, which tenants use only when SHARED_PROVIDER_KEYS says so."""
    given = {name: read.text(name) for name in PROVIDER_VARIABLES if read.text(name)}
    is_development = (read.text("ENV") or "development") == "development"
    if read.choice("SHARED_PROVIDER_KEYS", "false", ("true", "false"), also=_WORDS) == "true":
        return SharedProviders(given, is_development)
    if given:
        names = ", ".join(sorted(given))
        notices.append(f"without SHARED_PROVIDER_KEYS=true no step uses {names}: tenants store secrets of these names")
    return SharedProviders({}, is_development)


def _types(read: Environment) -> tuple[str, ...] | None:
    """What the runner is told to serve; None when nothing is said."""
    names = tuple(dict.fromkeys(name.strip() for name in read.text("RUNNER_TYPES").split(",") if name.strip()))
    return names or None


def _trace_seconds(read: Environment) -> float | None:
    """The standard variables of OpenTelemetry: the address of a collector asks for traces.

    The library reads them itself; what it would leave out silently is refused here.
    """
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if read.text("OTEL_SDK_DISABLED").lower() == "true" or not any(read.text(name) for name in endpoints):
        return None
    if read.choice("OTEL_TRACES_EXPORTER", "otlp", ("otlp", "none")) == "none":
        return None
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if read.text(name) not in ("", "http/protobuf"):
            raise SettingsError(
                f"{name} must be http/protobuf, not {read.text(name)[:40]!r}",
                hint="Most collectors listen for that on port 4318.",
            )
    seconds = read.seconds("OTEL_EXPORTER_OTLP_TIMEOUT", 10.0, low=0.001, high=3600)
    return read.seconds("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", seconds, low=0.001, high=3600)
