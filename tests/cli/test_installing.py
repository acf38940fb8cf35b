"""An installation by the README's words, on each PostgreSQL, by an owner who is no superuser; and a second one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from flowgres_cli.migrate import MigrationError, create_roles, status, upgrade
from flowgres_cli.stack.binaries import find_postgres
from flowgres_cli.stack.fetching import find_postgrest
from flowgres_cli.stack.ports import free_port
from flowgres_cli.stack.postgres import THROW_AWAY_OPTIONS, Cluster
from flowgres_cli.stack.process import ManagedProcess
from tests.support.server import ROLE_PASSWORD

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text().partition("## Into a database of yours")[2].partition("\n## ")[0]
OWNER_PASSWORD = "password-of-an-owner"
VERSIONS = [None, "embedded-16", "embedded-18"]
SOONER = [None, *(pytest.param(version, marks=pytest.mark.slow) for version in VERSIONS[1:])]
SECOND = "create role second login createrole password 'x'; create database beside owner second"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


@contextmanager
def running(directory: Path, choice: str | None) -> Iterator[Cluster]:
    cluster = Cluster(directory, binaries=find_postgres(choice=choice), options=THROW_AWAY_OPTIONS)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path / "server", None) as cluster:
        yield cluster


def as_superuser(cluster: Cluster, *statements: str) -> None:
    with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def dsn_of(cluster: Cluster, user: str, password: str, database: str) -> str:
    address = cluster.running()
    assert address is not None
    return f"postgresql://{user}:{password}@127.0.0.1:{address.port}/{database}"


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_each_line_of_the_readme_works(version: str | None, tmp_path: Path) -> None:
    with running(tmp_path / "server", version) as cluster:
        address = cluster.running()
        assert address is not None
        (creating,) = blocks("postgresql")
        as_superuser(cluster, *creating.replace("PASSWORD", OWNER_PASSWORD).split(";\n"))
        programs = [str(Path(sys.executable).parent), str(Path(str(find_postgrest())).parent), os.environ["PATH"]]
        front, api, admin = free_port(), free_port(), free_port()
        environment = {
            "PATH": ":".join(programs),
            "HOME": str(tmp_path),
            # Ports of this test instead of 3000 and 8000.
            "PORT": str(front),
            "PGRST_SERVER_PORT": str(api),
            "PGRST_ADMIN_SERVER_PORT": str(admin),
            "FLOWGRES_FRONT_URL": f"http://127.0.0.1:{front}",
            "FLOWGRES_API_URL": f"http://127.0.0.1:{api}",
        }
        place = {"@db/": f"@127.0.0.1:{address.port}/", "owner:PASSWORD": f"owner:{OWNER_PASSWORD}", ":3000": f":{api}"}

        def written(text: str) -> str:
            for old, new in place.items():
                text = text.replace(old, new)
            return text

        def bash(text: str) -> str:
            done = subprocess.run(
                ["/bin/bash", "-euc", f"{written(text)}\nenv -0 > {tmp_path}/env"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
            lines = (tmp_path / "env").read_text().split("\0")
            environment.update(dict(line.split("=", 1) for line in lines if line))
            return done.stdout

        install, postgrest, front_block, runner, trying = blocks("bash")
        said = bash(install)
        installed, registered = json.JSONDecoder().raw_decode(said)[0], json.loads(said[said.rindex("\n{") :])
        assert installed["environment"] == "production"
        place["fg_live_..."] = registered["api_key"]

        processes = [
            ManagedProcess(
                name,
                ["/bin/bash", "-euc", f"cd {ROOT}\n{written(text)}"],
                log_path=tmp_path / name,
                environment=environment,
            )
            for name, text in (("postgrest", postgrest), ("front", front_block), ("runner", runner))
        ]
        try:
            for process in processes:
                process.start()
            superuser = dsn_of(cluster, "postgres", cluster.superuser_password(), "app")
            with psycopg.connect(superuser, autocommit=True) as connection:
                # Until PostgREST and the front listen, doctor would say that they do not.
                processes[2].wait_until(
                    lambda: (
                        connection.execute("select count(*) from flowgres.runners").fetchone() == (1,)
                        and all(_listens(port) for port in (front, api))
                    ),
                    timeout_seconds=60,
                )
            assert "completed" in bash(trying)
        finally:
            for process in processes:
                process.stop(grace_seconds=20)


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("version", SOONER)
def test_second_login_is_refused_the_roles_of_the_first(version: str | None, tmp_path: Path) -> None:
    with running(tmp_path / "server", version) as cluster:
        as_superuser(
            cluster,
            "create role owner login createrole password 'x'",
            "create database app owner owner",
            *SECOND.split("; "),
        )
        upgrade(dsn_of(cluster, "owner", "x", "app"))
        for attempt in (upgrade, create_roles):
            with pytest.raises(MigrationError) as refused:
                attempt(dsn_of(cluster, "second", "x", "beside"))
            assert refused.value.code == "roles_of_another"
            assert "the database app uses them" in refused.value.message.lower()
            assert "grant flowgres_owner" in str(refused.value.hint)


def test_passwords_of_a_first_installation_are_never_overwritten_unasked(cluster: Cluster) -> None:
    as_superuser(
        cluster,
        "create role owner login createrole password 'x'",
        "create database app owner owner",
        "create database beside owner owner",
    )
    first, second = (dsn_of(cluster, "owner", "x", name) for name in ("app", "beside"))
    upgrade(first, passwords={"flowgres_runner": ROLE_PASSWORD})
    # By the environment of another one, at each start; the first one may still change its own.
    upgrade(first, passwords={"flowgres_runner": ROLE_PASSWORD + "2"})
    with pytest.raises(MigrationError) as refused:
        upgrade(second, passwords={"flowgres_runner": "other"})
    assert refused.value.code == "passwords_shared"
    assert "the database app" in refused.value.message
    assert not status(second).is_installed
    upgrade(second, passwords={"flowgres_runner": ROLE_PASSWORD + "2"})
    assert status(second).is_current
    for name in ("app", "beside"):
        psycopg.connect(dsn_of(cluster, "flowgres_runner", ROLE_PASSWORD + "2", name)).close()
    with pytest.raises(MigrationError):
        create_roles(second, passwords={"flowgres_runner": "other"})
    upgrade(second, passwords={"flowgres_runner": "other"}, changes_passwords=True)
    psycopg.connect(dsn_of(cluster, "flowgres_runner", "other", "app")).close()
