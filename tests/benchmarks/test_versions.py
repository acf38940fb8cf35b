"""A version that is compared with is really that version: its SQL, its runner and its evaluators."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.definitions import chain
from tests.benchmarks.lab import Lab
from tests.benchmarks.versions import REPOSITORY, VersionError, checkout_of, link_packages

NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.egg-info")
OWN_VERSION = '"version": _package_version()'


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A checkout that can be told from this one: by a function of its SQL, and by what its runners call themselves."""
    checkout = tmp_path / "copied"
    for room in ("cli", "database", "examples", "runner"):
        shutil.copytree(REPOSITORY / room, checkout / room, ignore=NOT_COPIED)
    shutil.copy(REPOSITORY / "pyproject.toml", checkout)
    runner = checkout / "runner" / "flowgres_runner" / "runner.py"
    assert OWN_VERSION in runner.read_text()
    runner.write_text(runner.read_text().replace(OWN_VERSION, '"version": "copied"'))
    schema = checkout / "database" / "schema"
    with (schema / "ORDER").open("a") as order:
        order.write("foundation/copied.sql\n")
    (schema / "foundation" / "copied.sql").write_text(
        "set local role flowgres_owner;\n"
        "create or replace function flowgres.is_copied() returns boolean language sql immutable"
        " set search_path to pg_catalog, pg_temp as $$ select true; $$;\n"
    )
    return checkout


@pytest.mark.slow
def test_each_version_has_its_own_sql_runners_and_evaluators(copied: Path) -> None:
    with Lab(before=copied) as lab:
        assert lab.before is not None
        for version, is_copied, other in ((lab.before, True, lab.ours), (lab.ours, False, lab.before)):
            with lab.site(version) as site, site.runners(1) as (runner,):
                site.import_workflow(chain())
                site.run("chain", 5)
                found = site.admin.one(
                    "select to_regproc('flowgres.is_copied') is not null as sql, version = 'copied' as runner"
                    " from flowgres.runners"
                )
                assert found == {"sql": is_copied, "runner": is_copied}
                version.require_evaluators_of(runner.pid)
                with pytest.raises(VersionError, match="was loaded from"):
                    other.require_evaluators_of(runner.pid)


def test_nothing_is_run_when_a_package_would_come_from_elsewhere(copied: Path, tmp_path: Path) -> None:
    ours = link_packages(REPOSITORY, tmp_path)
    confused = replace(ours, checkout=copied)
    done = subprocess.run(
        confused.command("flowgres_cli", "--version"),
        env=confused.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"not from {copied}" in done.stderr
    assert done.stdout == ""


def test_no_installed_package_takes_the_place_of_a_missing_one(copied: Path, tmp_path: Path) -> None:
    """The tests' environment has an editable install, whose finder is asked when the module path has nothing."""
    version = link_packages(copied, tmp_path)
    shutil.rmtree(copied / "runner" / "flowgres_definitions")
    done = subprocess.run(
        version.command("flowgres_cli", "--version"),
        env=version.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"flowgres_definitions would be loaded from nowhere, not from {copied}" in done.stderr


def test_earlier_commit_is_checked_out_and_removed_again(tmp_path: Path) -> None:
    repository = tmp_path / "repository"

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        command = ["git", "-C", str(repository), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    repository.mkdir()
    git("init", "--quiet")
    for text in ("earlier", "later"):
        (repository / "file").write_text(text)
        git("add", "file")
        git("commit", "--quiet", "--message", text)
    with checkout_of("HEAD~1", repository=repository) as checkout:
        assert (checkout / "file").read_text() == "earlier"
    assert not checkout.exists()
    assert len(git("worktree", "list").splitlines()) == 1
