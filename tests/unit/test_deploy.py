"""What deploy/ says agrees with itself, with the code, and with the real PostgREST."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowgres_cli.errors import UsageProblemError
from flowgres_cli.installation import login_passwords, seeded_settings
from flowgres_cli.migrate import LOGIN_ROLES
from flowgres_cli.stack.environment import RUNNER_SETTINGS
from flowgres_cli.stack.fetching import find_postgrest
from flowgres_cli.stack.ports import free_port
from flowgres_cli.stack.postgrest import PostgrestConfig
from flowgres_front.routes.run import MAX_WAIT_SECONDS
from flowgres_front.settings import FrontSettings
from flowgres_process.secret_keys import SecretKeys
from flowgres_runner.settings import RunnerSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
# Of the shell, of tests and debugging, or names of replaced systems that are read with a notice.
_NOT_OURS = frozenset(
    re.findall(
        r"\w+",
        """
        PATH HOME TERM NO_COLOR FORCE_COLOR COLUMNS LINES SHELL EDITOR PAGER TMPDIR LANG PYTHONPATH CI
        XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_RUNTIME_DIR
        FLOWGRES_FAILPOINT FLOWGRES_DEBUG FRONT_BODY_TIMEOUT FRONT_STREAM_CHECK FRONT_STREAM_HEARTBEAT
        FRONT_STREAM_STALL ARQ_CONCURRENCY REDIS_URL WEBHOOK_REPLAY_ENABLED
        """,
    )
)
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?=[:}?-])")
INNERMOST = re.compile(r"\$\{([A-Z_]+)(?:(:?[-?+])([^{}]*))?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    """Variable -> value of .env.example, those in comments included."""
    lines = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    assert len(lines) == len(dict(lines)), "a variable stands twice in .env.example"
    return dict(lines)


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """What make-env.sh prints, as docker compose reads it."""
    done = subprocess.run(["sh", str(DEPLOY / "make-env.sh")], capture_output=True, text=True, check=True)  # noqa: S607
    lines = (line for line in done.stdout.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def filled(environment: dict[str, Any], variables: dict[str, str]) -> dict[str, str]:
    """A service's environment with its ${VARIABLES} put in, as docker compose does it: those within others first."""

    def put(match: re.Match[str]) -> str:
        value, word = variables.get(match[1], ""), match[3] or ""
        return (word if value else "") if match[2] == ":+" else value or (word if match[2] == ":-" else "")

    def whole(text: str) -> str:
        while (further := INNERMOST.sub(put, text)) != text:
            text = further
        return text

    return {name: whole(str(value)) for name, value in environment.items()}


def test_every_variable_of_the_compose_file_is_explained(compose: dict[str, Any], example: dict[str, str]) -> None:
    used = set(VARIABLE.findall((DEPLOY / "docker-compose.yml").read_text()))

    assert used <= set(example)


def test_every_variable_that_the_programs_read_is_explained(example: dict[str, str]) -> None:
    code = [path for room in ("runner", "cli") for path in (ROOT / room).rglob("*.py")]
    calls = "get|environ|text|whole|seconds|optional_seconds|choice"
    read = rf"(?:{calls})\W+\"([A-Z][A-Z_]{{2,}})\""
    names = {name for path in code for name in re.findall(read, path.read_text())}
    assert names - _NOT_OURS <= set(example)
    assert {"DATABASE_URL", "FLOWGRES_SECRET_KEY", "PGRST_JWT_SECRET"} <= names


def test_nothing_is_installed_by_a_name_that_no_index_knows() -> None:
    texts = [path for path in ROOT.glob("*/**/*.md") if ".venv" not in path.parts]
    assert DEPLOY / "README.md" in texts
    for path in (ROOT / "README.md", *texts):
        assert not re.search(r"pip install (-\S+ )*'?flowgres\b", path.read_text()), path


def test_the_commands_of_the_containers_exist(compose: dict[str, Any]) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    for service in ("migrate", "runner", "front"):
        assert compose["services"][service]["command"][0] in scripts
    for unit, program in (("flowgres-runner", "flowgres-runner"), ("flowgres-front", "flowgres-front")):
        text = (DEPLOY / "systemd" / f"{unit}.service").read_text()
        assert f"ExecStart=/opt/flowgres/bin/{program}\n" in text
        assert program in scripts


def test_every_password_is_random_and_nothing_is_left_to_change(made: dict[str, str]) -> None:
    passwords = {name: value for name, value in made.items() if name.endswith(("_PASSWORD", "_SECRET", "_SECRET_KEY"))}

    assert len(passwords) == 9
    assert len(set(passwords.values())) == len(passwords)
    assert all(len(value) >= 40 for value in passwords.values())
    assert "change-me" not in made.values()


def test_the_runner_and_the_front_accept_what_compose_gives_them(compose: dict[str, Any], made: dict[str, str]) -> None:
    services = compose["services"]
    runner = RunnerSettings.from_environment(filled(services["runner"]["environment"], made))
    front = FrontSettings.from_environment(filled(services["front"]["environment"], made))

    assert runner.environment == "production"
    assert SecretKeys(runner.secret_key, runner.previous_secret_key).current_id
    assert (front.host, front.port) == ("0.0.0.0", 8000)  # noqa: S104 - inside its container
    assert "user=flowgres_front" in front.dsn
    assert SecretKeys(front.secret_key).current_id == SecretKeys(runner.secret_key).current_id
    assert runner.grace_seconds < 45


def test_the_migration_sets_every_password_that_the_others_use(compose: dict[str, Any], made: dict[str, str]) -> None:
    environment = filled(compose["services"]["migrate"]["environment"], made)

    passwords = login_passwords(environment)

    assert set(passwords) == set(LOGIN_ROLES)
    services = compose["services"]
    urls = {
        f"{name} {variable}": value
        for name in ("postgrest", "runner", "front")
        for variable, value in services[name]["environment"].items()
    }
    for role, url in re.findall(r"postgresql://(flowgres_\w+):(\S+?)@", json.dumps(filled(urls, made))):
        assert passwords[role] == url
    assert seeded_settings(environment) == {"environment": "production"}


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"FLOWGRES_SQL_PASSWORD": "s"}, "postgresql://flowgres_sql:s@postgres:5432/flowgres"),
        ({"FLOWGRES_SQL_PASSWORD": "s", "DATABASE_SQL_URL": "postgresql://other"}, "postgresql://other"),
        ({"FLOWGRES_SQL_PASSWORD": ""}, ""),
    ],
)
def test_sql_steps_are_served_where_their_login_has_a_password(
    compose: dict[str, Any], variables: dict[str, str], url: str
) -> None:
    assert filled(compose["services"]["runner"]["environment"], variables)["DATABASE_SQL_URL"] == url


def test_zone_of_schedules_is_one_or_refused() -> None:
    assert seeded_settings({"CRON_TIMEZONE": "Europe/Berlin"}) == {"cron_timezone": "Europe/Berlin"}
    with pytest.raises(UsageProblemError, match="no time zone"):
        seeded_settings({"CRON_TIMEZONE": "CEST"})


def test_postgrest_gets_the_same_from_file_and_from_compose(compose: dict[str, Any]) -> None:
    environment = filled(compose["services"]["postgrest"]["environment"], {})
    in_file = _postgrest_values((DEPLOY / "postgrest.conf").read_text())
    in_compose = {name.removeprefix("PGRST_").lower().replace("_", "-"): v for name, v in environment.items()}
    given_outside = {"db-uri", "jwt-secret", "server-host"}

    assert {k: v for k, v in in_compose.items() if k not in given_outside} == {
        k: v for k, v in in_file.items() if k not in given_outside
    }


def test_postgrest_is_configured_as_in_the_development_stack() -> None:
    stack = _postgrest_values(PostgrestConfig(db_uri="", jwt_secret="", port=3000, admin_port=3001).text())
    ours = _postgrest_values((DEPLOY / "postgrest.conf").read_text())
    differing = {"db-uri", "jwt-secret", "db-pool", "log-level"}

    assert {k: v for k, v in stack.items() if k not in differing} == {
        k: v for k, v in ours.items() if k not in differing
    }


def test_the_real_postgrest_reads_our_file() -> None:
    # It binds its port before it dumps, so the port has to be a free one.
    done = subprocess.run(
        [str(find_postgrest()), "--dump-config", str(DEPLOY / "postgrest.conf")],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={
            "PGRST_DB_URI": "postgresql://",
            "PGRST_JWT_SECRET": "x" * 32,
            "PGRST_DB_CONFIG": "false",
            "PGRST_SERVER_PORT": str(free_port()),
            "PGRST_ADMIN_SERVER_PORT": str(free_port()),
        },
    )
    dumped = _postgrest_values(done.stdout)

    for name, value in _postgrest_values((DEPLOY / "postgrest.conf").read_text()).items():
        assert name in dumped, name
        assert name.endswith("-port") or dumped[name] == value, name


def test_caddy_reaches_services_and_ports_that_exist(compose: dict[str, Any]) -> None:
    upstreams = dict(re.findall(r"reverse_proxy (\w+):(\d+)", (DEPLOY / "caddy" / "Caddyfile").read_text()))

    assert upstreams == {"postgrest": "3000", "front": "8000"}
    assert str(compose["services"]["postgrest"]["environment"]["PGRST_SERVER_PORT"]) == upstreams["postgrest"]
    assert str(compose["services"]["front"]["environment"]["PORT"]) == upstreams["front"]


def test_nginx_does_what_caddy_does() -> None:
    text = (DEPLOY / "nginx" / "nginx.conf").read_text()

    upstreams = dict(re.findall(r"server (\w+):(\d+);", text))
    assert upstreams == {"postgrest": "3000", "front": "8000"}
    waits = re.search(r"proxy_read_timeout (\d+)s;", text)
    assert waits is not None
    assert int(waits[1]) > MAX_WAIT_SECONDS
    # A token may stand in the query of a stream.
    assert not re.search(r"\$(request|request_uri|args|query_string)\b", text)


def test_nothing_but_caddy_can_be_opened_to_the_network(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:" if name == "caddy" else "127.0.0.1:"), name


def test_what_a_service_waits_for_and_mounts_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"]


@pytest.mark.parametrize(("name", "megabytes"), [("runner", 512), ("front", 384)])
def test_processes_are_held_to_their_memory(compose: dict[str, Any], name: str, megabytes: int) -> None:
    assert compose["services"][name]["mem_limit"] == f"{megabytes}m"
    assert f"MemoryMax={megabytes}M\n" in (DEPLOY / "systemd" / f"flowgres-{name}.service").read_text()


def test_each_process_gets_no_more_than_it_reads(compose: dict[str, Any]) -> None:
    given = {name: set(compose["services"][name]["environment"]) for name in ("runner", "front")}

    assert not given["runner"] & {"PGRST_JWT_SECRET", "FRONT_DATABASE_URL", "HOST", "PORT"}
    assert not given["front"] & {"DATABASE_URL", "ENV"}


def test_pgadmin_connects_as_the_operator() -> None:
    servers = json.loads((DEPLOY / "pgadmin" / "servers.json").read_text())["Servers"]

    assert [(s["Host"], s["Username"], s["MaintenanceDB"]) for s in servers.values()] == [
        ("postgres", "flowgres_operator", "flowgres")
    ]


@pytest.mark.parametrize("unit", ["flowgres-runner", "flowgres-front", "flowgres-postgrest"])
def test_units_are_hardened_and_start_what_the_readme_installs(unit: str) -> None:
    # Keys of a unit are case-sensitive, and some may repeat.
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / f"{unit}.service")
    service = parser["Service"]

    assert service["User"] == "flowgres"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["Restart"] == "always"
    assert service["EnvironmentFile"] in (DEPLOY / "README.md").read_text()


def test_health_is_asked_of_the_front_alone(compose: dict[str, Any]) -> None:
    assert "8000/health" in compose["services"]["front"]["healthcheck"]["test"][-1]
    assert "HEALTHCHECK" not in (DEPLOY / "Dockerfile").read_text()
    assert compose["services"]["caddy"]["depends_on"]["front"] == {"condition": "service_healthy"}


def test_the_image_has_all_rooms_and_does_not_run_as_root() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]

    assert "\nUSER 10001\n" in dockerfile
    for room in {path.split("/")[0] for path in packages.values()}:
        assert f"\nCOPY {room} {room}\n" in dockerfile
        assert f"\n!{room}\n" in ignored


def _postgrest_values(text: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in re.findall(r"^([a-z-]+) = (.*)$", text, re.MULTILINE)}


def test_the_development_stack_lets_every_setting_through_that_is_not_its_own(example: dict[str, str]) -> None:
    names = {
        name
        for path in (ROOT / "runner").rglob("*.py")
        if path.name in ("settings.py", "main.py")
        for name in re.findall(r"\"([A-Z][A-Z_]{2,})\"", path.read_text())
        if name in example
    }
    stacks_own = {
        *("DATABASE_URL", "DATABASE_DIRECT_URL", "FRONT_DATABASE_URL", "FLOWGRES_API_URL", "FLOWGRES_API_ADMIN_URL"),
        *("PUBLIC_URL", "DATABASE_SQL_URL"),
        *("ENV", "HOST", "PORT", "PGRST_JWT_SECRET", "FLOWGRES_SECRET_KEY", "FLOWGRES_SECRET_KEY_PREVIOUS"),
    }

    assert names - stacks_own <= set(RUNNER_SETTINGS)
    assert len(names - stacks_own) > 10
    assert set(RUNNER_SETTINGS) - _NOT_OURS <= set(example)
