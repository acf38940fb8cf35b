"""What a person sees who starts something that nobody runs."""

from __future__ import annotations

import subprocess
import time

import pytest

from flowgres_cli import serving
from flowgres_cli.client import Client
from flowgres_cli.config import Config
from flowgres_cli.errors import UnreachableError
from flowgres_cli.watching import Watcher
from tests.support.api import Api
from tests.support.database import Database

from .conftest import Flowgres

WORKFLOW = {"name": "alone", "steps": [{"id": "a", "type": "log", "config": {"message": "x"}}]}
DELAY = 1.5  # for two looks, and the start of the program on a busy machine


@pytest.fixture(scope="module")
def deserted(module_database: Database, module_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Flowgres:
    """A server with a workflow and without a runner."""
    tenant = module_database.make_tenant("Deserted")
    api = module_api.as_key(tenant.key)
    assert api.rpc("import_workflow", definition=WORKFLOW).status_code == 200
    folder = tmp_path_factory.mktemp("deserted")
    return Flowgres(folder, {"FLOWGRES_API_URL": module_api.url, "FLOWGRES_API_KEY": tenant.key})


def _client(flowgres: Flowgres) -> Client:
    environment = flowgres.environment
    url, key = environment["FLOWGRES_API_URL"], environment["FLOWGRES_API_KEY"]
    return Client(
        Config(
            api_url=url, front_url=None, api_key=key, token=None, output=None, profile=None,
            sources={"api_url": "environment"},
        )
    )  # fmt: skip


def test_run_says_within_two_seconds_that_no_runner_is_alive(deserted: Flowgres) -> None:
    with _client(deserted) as client:
        execution_id = client.call("start_execution", {"workflow": "alone"})["execution_id"]
        began = time.monotonic()
        watcher = Watcher(client, execution_id)
        for _ in watcher.snapshots():
            if watcher.notice is not None:
                break
        assert time.monotonic() - began < 2 + DELAY
        assert "no runner is alive" in str(watcher.notice)
        assert "flowgres runner start" in str(watcher.notice)


def test_run_ends_with_9_when_nobody_comes(deserted: Flowgres) -> None:
    answer = deserted("run", "alone")
    assert answer.code == 9
    assert "warning: no runner is alive" in answer.err
    assert "[no_runner]" in answer.err
    assert "flowgres executions watch" in answer.err


def test_who_says_how_long_to_wait_waits_that_long(deserted: Flowgres) -> None:
    answer = deserted("run", "alone", "--timeout", "3")
    assert answer.code == 124
    assert "no runner is alive" in answer.err


def test_live_tree_shows_it(deserted: Flowgres) -> None:
    done = subprocess.run(
        ["script", "-qec", " ".join([*deserted.command("run"), "alone", "--timeout", "4"]), "/dev/null"],  # noqa: S607
        capture_output=True, text=True, check=False, timeout=60, cwd=deserted.folder,
        env={**deserted.environment, "COLUMNS": "80", "TERM": "xterm"},
    )  # fmt: skip
    assert done.returncode == 124, done.stdout
    assert "no runner is alive" in done.stdout


def test_runner_that_does_not_have_the_step_type_serves_nobody(
    deserted: Flowgres, module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "PATIENCE_SECONDS", 0.5)
    with module_database.connect("runner") as runner, _client(deserted) as client:
        info = {"name": "sql", "version": "0", "protocol": 2, "environment": "development", "step_types": []}
        runner.call("flowgres.register_runner", p_runner_id="00000000-0000-4000-8000-000000000001", p_info=info)
        with module_database.connect() as db:
            db.run("update flowgres.workflow_steps set capability = 'fax', type = 'fax'")
        execution_id = client.call("start_execution", {"workflow": "alone"})["execution_id"]
        with pytest.raises(UnreachableError, match="no runner that is alive has the step type fax, which the step a"):
            list(Watcher(client, execution_id).snapshots())
