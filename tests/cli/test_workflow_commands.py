"""Importing workflows and looking after them, as a user does, against the real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.database import Database
from tests.support.definitions import Definition, log_step, workflow
from tests.support.runner import wait_for

from .conftest import Flowgres
from .texts import GREET, SLEEP


def test_import_again_is_unchanged_and_a_new_text_a_new_version(live: Flowgres, write: Callable[..., Path]) -> None:
    path = write("again.yaml", GREET.replace("name: greet", "name: again"))
    first = live("import", str(path)).json[0]
    assert (first["version"], first["result"]) == (1, "created")
    assert live("import", str(path)).json[0]["result"] == "unchanged"
    path.write_text(path.read_text().replace("Hello", "Goodbye"))
    assert live("import", str(path)).json[0]["version"] == 2
    assert live("workflows", "show", "again").json["active_version"] == 2


def test_dry_run_tells_what_would_happen_and_changes_nothing(live: Flowgres, write: Callable[..., Path]) -> None:
    path = write("dry.yaml", GREET.replace("name: greet", "name: dry"))
    greet = str(live.folder / "flows" / "greet.yaml")
    answer = live("import", str(path), greet, "--dry-run")
    assert answer.code == 0, answer.err
    assert [row["action"] for row in answer.json] == ["new workflow", "unchanged"]
    assert live("workflows", "show", "dry").code == 3


def test_dry_run_tells_a_machine_from_a_workflow_and_that_a_name_is_of_one_kind(
    live: Flowgres, write: Callable[..., Path]
) -> None:
    text = "workflow: {name: pass}\nstates:\n  - {name: new, initial: true}\n  - {name: used, final: true}\n"
    path = str(write("pass.yaml", text))
    for action, result in (("new state machine", "created"), ("unchanged", "unchanged")):
        assert [row["action"] for row in live("import", path, "--dry-run").json] == [action]
        assert [row["result"] for row in live("import", path).json] == [result]
    write("kinds/a_new.yaml", GREET.replace("name: greet", "name: kinds"))
    other = write("kinds/b_other.yaml", GREET.replace("name: greet", "name: pass"))
    for arguments in (("--dry-run", str(other)), (str(other.parent),)):
        answer = live("import", *arguments)
        assert answer.code == 4
        assert 'the workflow "pass" is a state machine, and this definition a dag' in answer.err
    assert live("workflows", "show", "kinds").code == 3


def test_nothing_is_sent_when_one_file_is_wrong(live: Flowgres, write: Callable[..., Path]) -> None:
    write("both/a_good.yaml", GREET.replace("name: greet", "name: half"))
    bad = write("both/b_bad.yaml", GREET.replace("type: transform", "type: transfrom").replace("expression", "exp"))
    answer = live("import", str(bad.parent))
    assert answer.code == 4
    assert "b_bad.yaml:" in answer.err
    assert live("workflows", "show", "half").code == 3


def test_what_only_the_server_knows_is_exit_4_with_its_place(live: Flowgres, write: Callable[..., Path]) -> None:
    text = "name: circle\nsteps:\n  - {id: a, type: sub_workflow, config: {workflow: circle, input: {}}}\n"
    path = str(write("circle.yaml", text))
    assert live("validate", path).code in (0, 4)
    for arguments in (("validate", "--server", path), ("import", "--dry-run", path), ("import", path)):
        answer = live(*arguments)
        assert answer.code == 4, arguments
        assert "3:" in answer.err


def test_import_without_a_front_is_exit_9(live: Flowgres) -> None:
    answer = live("import", "flows/greet.yaml", FLOWGRES_FRONT_URL="http://127.0.0.1:1")
    assert answer.code == 9
    assert "front" in answer.err


def test_front_and_api_that_are_mixed_up_are_told(live: Flowgres) -> None:
    front = live.environment["FLOWGRES_FRONT_URL"]
    answer = live("workflows", "list", FLOWGRES_API_URL=front)
    assert answer.code == 9
    assert "mixed up" in answer.err
    answer = live("import", "flows/greet.yaml", FLOWGRES_FRONT_URL=live.environment["FLOWGRES_API_URL"])
    assert answer.code == 9
    assert "mixed up" in answer.err


def test_workflow_life_cycle(live: Flowgres, write: Callable[..., Path]) -> None:
    path = write("cycle.yaml", GREET.replace("name: greet", "name: cycle"))
    live("import", str(path))
    assert live("workflows", "deactivate", "cycle").json["status"] == "inactive"
    assert live("run", "cycle").code == 6
    assert live("workflows", "activate", "cycle").json["status"] == "active"
    assert live("workflows", "delete", "cycle", stdin="n\n").code == 130
    assert live("workflows", "delete", "cycle", "--yes").code == 0
    assert live("workflows", "show", "cycle").code == 3


def test_workflow_in_use_is_not_deleted_unless_its_executions_are_cancelled(
    live: Flowgres, write: Callable[..., Path]
) -> None:
    live("import", str(write("busy.yaml", SLEEP.replace("name: sleep", "name: busy"))))
    execution_id = live("run", "busy", "--detach", "-o", "id").out.strip()
    assert live("workflows", "delete", "busy", "--yes").code == 6
    assert live("workflows", "delete", "busy", "--yes", "--cancel-running").code == 0
    assert live("executions", "show", execution_id).json["status"] == "cancelled"


WRONG_IN_PARTS = {"id": "a", "type": "http", "config": {"url": "https://x.example/{{ (1 ~ secrets.KEY) | upper }}"}}


def test_versions_that_wait_or_are_invalid_are_told(live: Flowgres, module_database: Database) -> None:
    tenant_id = live("workflows", "show", "greet").json["tenant_id"]

    def bring(*steps: Definition) -> Definition:
        with module_database.as_role("member", tenant_id=tenant_id) as db:
            answer: Definition = db.call("flowgres_api.import_workflow", definition=workflow(*steps, name="told"))
        return answer

    bring(log_step("a"))
    broken = bring(WRONG_IN_PARTS)
    assert broken["pending_version"] == 2

    def states() -> list[str]:
        return [row["state"] for row in live("workflows", "versions", "told").json]

    wait_for(lambda: states() == ["invalid", "ready"], what="the runner's answer")
    newest = live("workflows", "versions", "told").json[0]
    assert [error["code"] for error in newest["errors"]] == ["secret_misuse"]
    table = live("workflows", "versions", "told", "-o", "table").out
    assert "a secret can only be put in as it is" in table
    shown = live("workflows", "show", "told", "-o", "table")
    assert "version 2 is invalid" in shown.err
    assert "steps[0].config.url" in shown.err
    activated = live("workflows", "activate", "told", "--version", "2")
    assert activated.code == 6
    assert "--version 1" in activated.err
    assert live("workflows", "versions", "nowhere").code == 3


def test_workflow_with_a_version_that_waits_says_so(live: Flowgres, module_database: Database) -> None:
    tenant_id = live("workflows", "show", "greet").json["tenant_id"]
    with module_database.as_role("member", tenant_id=tenant_id) as db:
        db.call("flowgres_api.import_workflow", definition=workflow(log_step("a"), name="held"))
        db.call("flowgres_api.import_workflow", definition=workflow(log_step("b"), name="held"), activate=False)
    with module_database.connect() as db:
        # A draft, so that no runner confirms it before the program has looked.
        db.run("update flowgres.workflows set pending_versions = '{2}' where name = 'held'")
    assert "version 2 becomes active when a runner has confirmed" in live("workflows", "show", "held").err
    assert [row["use"] for row in live("workflows", "versions", "held").json] == ["waits to be active", "active"]


def test_misspelt_input_is_refused_and_the_right_one_named(live: Flowgres, write: Callable[..., Path]) -> None:
    path = write("typo.yaml", GREET.replace("name: greet", "name: typo", 1))
    assert live("import", str(path)).code == 0
    answer = live("run", "typo", "-f", "nme=Ann")
    assert answer.code != 0
    assert 'declares no input "nme"' in answer.err
    assert 'Did you mean "name"?' in answer.err
