"""Logins at the database: refused ones, and those of applications that are mapped to a tenant."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import click
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flowgres_cli.main import cli, main
from tests.support.database import Database

from .conftest import Flowgres
from .test_usage import ALL_COMMANDS

WITH_DSN: dict[str, tuple[str, ...]] = {
    "db install": (),
    "db upgrade": (),
    "db roles": (),
    "db status": (),
    "db sql": ("--pending",),
    "db adopt": (),
    "db functions allow": ("shop.reserve",),
    "db functions list": (),
    "db functions remove": ("shop.reserve",),
    "triggers list": (),
    "triggers install": (),
    "triggers remove": (),
    "tenants register": ("x",),
    "tenants list": (),
    "tenants show": ("x",),
    "tenants suspend": ("x",),
    "tenants restore": ("x",),
    "tenants delete": ("x",),
    "tenants purge": ("x", "--yes"),
    "tenants export": ("x", "-f", "x.jsonl"),
    "tenants pause": ("x",),
    "tenants resume": ("x",),
    "tenants logins add": ("x", "--tenant", "y"),
    "tenants logins list": (),
    "tenants logins remove": ("x",),
}


def _options(command: tuple[str, ...]) -> set[str]:
    found: click.Command = cli
    for word in command:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word) or found
    return {name for parameter in found.params for name in parameter.opts}


def test_every_command_with_a_dsn_is_tried() -> None:
    # A runner waits for its database instead.
    found = {" ".join(command) for command in ALL_COMMANDS if "--dsn" in _options(command)}
    assert found - {"runner start"} == set(WITH_DSN)


@pytest.fixture(scope="module")
def application(module_database: Database) -> Iterator[str]:
    """A login with a password and nothing else."""
    name = f"app_{secrets.token_hex(6)}"
    with psycopg.connect(module_database.dsn(), autocommit=True) as owner:
        owner.execute(f"create role {name} login password 'secret'")
        yield name
        owner.execute(f"drop owned by {name}; drop role {name}")


@pytest.mark.parametrize("command", WITH_DSN)
def test_wrong_password_is_exit_5(
    command: str, application: str, module_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = make_conninfo(module_database.dsn(), user=application, password="wrong-one")
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), *WITH_DSN[command], "--dsn", dsn])
    told = capsys.readouterr().err
    assert ended.value.code == 5, told
    assert "refuses the login" in told
    assert "wrong-one" not in told


def test_application_is_mapped_listed_and_removed(
    flowgres: Flowgres, application: str, module_database: Database
) -> None:
    tenant = module_database.make_tenant("Shop")
    # From the environment, as for `flowgres db`.
    owner = flowgres.with_environment(DATABASE_URL=module_database.dsn())
    operator = flowgres.with_environment(DATABASE_URL=module_database.dsn("operator"))

    refused = operator("tenants", "logins", "add", application, "--tenant", tenant.slug)
    assert refused.code == 5
    assert f'grant "flowgres_member" to "{application}"' in refused.err
    assert operator("tenants", "logins", "list").json == []

    added = owner("tenants", "logins", "add", application, "--tenant", tenant.slug)
    assert (added.code, added.json["role"], added.json["created"]) == (0, "member", True)
    (row,) = operator("tenants", "logins", "list", "--tenant", tenant.slug).json
    assert (row["login"], row["tenant"], row["role"]) == (application, tenant.slug, "member")
    assert owner("tenants", "logins", "add", application, "--tenant", "nowhere").code == 3
    assert owner("tenants", "logins", "add", "nobody", "--tenant", tenant.slug).code == 3
    assert operator("tenants", "logins", "remove", application).code == 0
    gone = operator("tenants", "logins", "remove", application)
    assert gone.code == 3
    assert "flowgres tenants logins list" in gone.err
