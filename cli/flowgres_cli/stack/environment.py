"""What programs of the stack find in their environment: what is chosen here, and nothing else of the user's shell.

A shell is full of variables that steer such programs: libpq and PostgreSQL read PG*, PostgREST PGRST_*, the runner
DATABASE_URL, every HTTP library http_proxy, the loader LD_*, the C library LC_* and TZ. A list of what to leave out is
never complete; so this is a list of what may come in.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

_OF_THE_MACHINE = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR")
_CHOSEN = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}

_OF_PYTHON = ("PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where this very command found its packages, and whom http steps trust."""

RUNNER_SETTINGS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "FRONT_BODY_TIMEOUT",
    "HTTP_ALLOWED_HOSTS",
    "HTTP_ALLOW_PRIVATE_NETWORKS",
    "HTTP_STEP_TIMEOUT",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MAX_OUTPUT_BYTES",
    "MAX_PAYLOAD_BYTES",
    "METRICS_TOKEN",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "RUNNER_CONCURRENCY",
    "RUNNER_EVALUATORS",
    "RUNNER_LABELS",
    "RUNNER_LANES",
    "RUNNER_LEASE_SECONDS",
    "RUNNER_NAME",
    "RUNNER_POLL_INTERVAL",
    "RUNNER_SQL_CONNECTIONS",
    "RUNNER_TYPES",
    "SHARED_PROVIDER_KEYS",
    "SHUTDOWN_GRACE_SECONDS",
    "SLACK_WEBHOOK_URL",
    "SMTP_FROM",
    "SMTP_URL",
)
"""Settings of the runner and the front that a user of `dev` may choose. Addresses, passwords and keys are not among
them: those are the stack's own."""

_OF_NPM = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy"),
    *("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)


def program_environment(*, shell: Mapping[str, str] | None = None) -> dict[str, str]:
    """For every program: where things are on this machine, UTF-8 without a country, and UTC."""
    shell = os.environ if shell is None else shell
    return _taken(shell, _OF_THE_MACHINE) | _CHOSEN


def runner_environment(*, shell: Mapping[str, str] | None = None) -> dict[str, str]:
    """For our own programs: the settings of the runner too, as far as they are the user's to choose."""
    shell = os.environ if shell is None else shell
    return program_environment(shell=shell) | _taken(shell, (*_OF_PYTHON, *RUNNER_SETTINGS))


def npm_environment(*, shell: Mapping[str, str] | None = None) -> dict[str, str]:
    """For npm, which has to find its way to the registry: proxies, certificates and npm's own settings too."""
    shell = os.environ if shell is None else shell
    own = {name: value for name, value in shell.items() if name.lower().startswith("npm_config_")}
    return program_environment(shell=shell) | _taken(shell, _OF_NPM) | own


@contextlib.contextmanager
def without_libpq_variables() -> Iterator[None]:
    """Take PG* out of this process's own environment, for connections to the private server.

    libpq fills in from them whatever a connection string leaves open, and a service file even what it does not; there
    is no other switch. Connection strings of the user's are none of this: there the variables are meant.
    """
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    try:
        yield
    finally:
        os.environ.update(taken)


def _taken(shell: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: shell[name] for name in names if name in shell}
