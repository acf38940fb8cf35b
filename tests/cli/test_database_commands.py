"""flowgres db: what it says of a database, which environment it is, and copies of it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.database import Database
from tests.support.server import INSTALLER, Server

from .conftest import Flowgres


@pytest.fixture(scope="module")
def installed(server: Server) -> Iterator[Database]:
    """A database of an installer who is no superuser, with flowgres for the environment `development`."""
    with server.new_database() as name:
        yield Database(name=name, server=server)


@pytest.fixture
def owner(flowgres: Flowgres, installed: Database) -> Flowgres:
    return flowgres.with_environment(DATABASE_URL=installed.server.dsn(installed.name, user=INSTALLER))


def environment_of(database: Database) -> str:
    with database.connect() as db:
        return str(db.value("select value #>> '{}' from flowgres.settings where name = 'environment'"))


def test_new_database_takes_its_environment_and_says_what_comes_next(flowgres: Flowgres, server: Server) -> None:
    with server.new_database(template="template0") as name:
        answer = flowgres("db", "install", "--dsn", server.dsn(name, user=INSTALLER), ENV="production")
        assert answer.code == 0, answer.err
        assert (answer.json["environment"], answer.json["is_copy"], answer.json["is_current"]) == (
            "production",
            False,
            True,
        )
        assert answer.json["migrations"] > 10
        assert len(answer.out.splitlines()) + len(answer.err.splitlines()) < 15
        assert "next: flowgres tenants register" in answer.err
        assert environment_of(Database(name=name, server=server)) == "production"


def test_environment_never_changes_unasked(owner: Flowgres, installed: Database) -> None:
    for command in ("install", "upgrade"):
        refused = owner("db", command, ENV="production")
        assert refused.code == 6
        assert "for the environment 'development', and ENV says 'production' [environment_differs]" in refused.err
        assert "--change-environment" in refused.err
    assert environment_of(installed) == "development"
    assert owner("db", "install", ENV="development").code == 0
    assert owner("db", "install").code == 0
    assert environment_of(installed) == "development"


def test_environment_that_is_meant_to_change_does_and_is_audited(owner: Flowgres, installed: Database) -> None:
    with installed.connect() as db:
        db.run("update flowgres.settings set value = 'true' where name = 'self_registration_enabled'")
        changed = owner("db", "install", "--change-environment", ENV="staging")
        assert changed.code == 0, changed.err
        assert environment_of(installed) == "staging"
        # What development left open to everybody does not stay so.
        assert db.value("select value from flowgres.settings where name = 'self_registration_enabled'") is False
        audited = db.one("select actor, subject, details from flowgres.audit_log where action = 'environment_changed'")
        assert audited == {"actor": f"login:{INSTALLER}", "subject": "staging", "details": {"was": "development"}}
        assert owner("db", "install", "--change-environment", ENV="development").code == 0


@pytest.mark.parametrize("login", [None, "operator"])
def test_status_tells_version_and_environment(owner: Flowgres, installed: Database, login: str | None) -> None:
    dsn = [] if login is None else ["--dsn", installed.dsn("operator")]
    answer = owner("db", "status", *dsn)
    assert answer.code == 0, answer.err
    said = answer.json
    assert (said["environment"], said["is_copy"], said["is_current"]) == ("development", False, True)
    assert said["version"].count(".") == 2
    assert said["problems"] == []


def test_owner_registers_tenants(owner: Flowgres, installed: Database) -> None:
    dsn = installed.server.dsn(installed.name, user=INSTALLER)
    answer = owner("tenants", "register", "Acme Corp", "--dsn", dsn)
    assert answer.code == 0, answer.err
    assert answer.json["api_key"].startswith("fg_")


def test_copy_is_told_and_adopted(flowgres: Flowgres, installed: Database, server: Server) -> None:
    with server.new_database(template=installed.name) as name:
        copied = Database(name=name, server=server)
        dsn = server.dsn(name, user=INSTALLER)
        with psycopg.connect(copied.dsn(), autocommit=True) as connection:
            connection.execute("update flowgres.installation set place = 'elsewhere'")
        told = flowgres("db", "status", "--dsn", dsn)
        assert (told.code, told.json["is_copy"]) == (1, True)
        assert "flowgres db adopt" in told.err
        assert "flowgres db adopt" in flowgres("db", "install", "--dsn", dsn).err
        findings = {f["check"]: f for f in flowgres("doctor", DATABASE_URL=dsn).json}
        assert findings["installation"]["result"] == "problem"
        answer = flowgres("db", "adopt", "--dsn", dsn)
        assert (answer.code, answer.json["is_adopted"]) == (0, True), answer.err
        assert flowgres("db", "status", "--dsn", dsn).code == 0
        assert flowgres("db", "adopt", "--dsn", dsn).json["is_adopted"] is False
