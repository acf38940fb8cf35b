"""Workflows: finding, activating, changing and deleting them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Database
from tests.support.definitions import Author, listed_step, log_step, workflow


@pytest.fixture(scope="module")
def shared_author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


@pytest.fixture
def author(shared_author: Author) -> Author:
    return Author(shared_author.database, shared_author.db)


def call(author: Author, function: str, **arguments: Any) -> Any:
    return author.db.call(f"flowgres.{function}", **{f"p_{name}": value for name, value in arguments.items()})


def refused(author: Author, function: str, **arguments: Any) -> tuple[str | None, str | None]:
    """The SQLSTATE and the stable code of a call that fails."""
    with pytest.raises(psycopg.Error) as caught:
        call(author, function, **arguments)
    return caught.value.sqlstate, caught.value.diag.constraint_name


def audit(author: Author) -> list[str]:
    query = "select action from flowgres.audit_log where tenant_id = %s order by at, id"
    return author.db.column(query, author.tenant_id)


def start(author: Author) -> str:
    row = author.db.call(
        "flowgres.start_execution",
        p_workflow="w", p_input={}, p_idempotency_key=None, p_version=None, p_priority=None,
        p_scheduled_at=None, p_correlation_id=None, p_max_retries=0, p_metadata=None,
    )  # fmt: skip
    return str(row["execution_id"])


def test_workflow_is_found_by_name_and_by_id(author: Author) -> None:
    workflow_id = author.import_(workflow(log_step("a")))["workflow_id"]
    for known_as in ("w", workflow_id, workflow_id.upper()):
        assert call(author, "deactivate_workflow", workflow=known_as)["name"] == "w"


@pytest.mark.parametrize("name", ["nope", "00000000-0000-0000-0000-000000000000", "", "'; drop table x"])
def test_unknown_workflow_is_not_found(author: Author, name: str) -> None:
    assert refused(author, "activate_workflow", workflow=name) == ("FG404", "workflow_not_found")


def test_workflow_of_another_tenant_is_not_found(author: Author) -> None:
    workflow_id = author.import_(workflow(log_step("a")))["workflow_id"]
    other = Author(author.database, author.db)
    for function in ("activate_workflow", "deactivate_workflow", "archive_workflow", "delete_workflow"):
        assert refused(other, function, workflow=workflow_id) == ("FG404", "workflow_not_found")


def test_activating_an_old_version_is_a_rollback(author: Author) -> None:
    for step in "abc":
        author.confirm(author.import_(workflow(log_step(step)))["version_id"])
    assert call(author, "activate_workflow", workflow="w", version=1)["active_version"] == 1
    assert call(author, "activate_workflow", workflow="w")["active_version"] == 3
    assert refused(author, "activate_workflow", workflow="w", version=9) == ("FG404", "version_not_found")


def test_draft_freezes_when_it_is_activated(author: Author) -> None:
    version_id = author.import_(workflow(log_step("a")), activate=False)["version_id"]
    assert call(author, "activate_workflow", workflow="w")["is_active"]
    assert author.version(version_id)["state"] == "checking"


def test_invalid_version_is_not_activated(author: Author) -> None:
    version_id = author.import_(workflow(log_step("a")))["version_id"]
    author.import_(workflow(log_step("b")))
    author.db.run("update flowgres.workflow_versions set state = 'invalid', errors = '[]' where id = %s", version_id)
    assert refused(author, "activate_workflow", workflow="w", version=1) == ("FG409", "version_invalid")


def test_inactive_workflow_starts_nothing(author: Author) -> None:
    author.import_(workflow(log_step("a")))
    assert call(author, "deactivate_workflow", workflow="w")["status"] == "inactive"
    with pytest.raises(psycopg.Error) as caught:
        start(author)
    assert caught.value.diag.constraint_name == "workflow_not_active"
    call(author, "activate_workflow", workflow="w")
    assert start(author)


def test_archived_workflow_comes_back_when_it_is_activated(author: Author) -> None:
    author.import_(workflow(log_step("a")))
    assert call(author, "archive_workflow", workflow="w")["status"] == "archived"
    assert call(author, "activate_workflow", workflow="w")["status"] == "active"


def test_administrative_acts_are_recorded_once(author: Author) -> None:
    author.import_(workflow(log_step("a")))
    author.import_(workflow(log_step("a")))
    for _ in range(2):
        call(author, "deactivate_workflow", workflow="w")
    call(author, "activate_workflow", workflow="w")
    call(author, "delete_workflow", workflow="w")
    assert audit(author) == ["workflow_activated", "workflow_deactivated", "workflow_activated", "workflow_deleted"]


def test_changes_are_applied(author: Author) -> None:
    author.import_(workflow(log_step("a"), title="Old", description="kept", metadata={"x": 1}))
    changed = call(
        author, "update_workflow", workflow="w", changes={"title": "New", "metadata": None, "status": "inactive"}
    )
    assert [changed[key] for key in ("title", "description", "metadata", "status")] == ["New", "kept", {}, "inactive"]


@pytest.mark.parametrize(
    "changes", [{"titel": "x"}, {"status": "gone"}, {"title": 1}, {"title": "\u202ex"}, {"metadata": []}, [], None]
)
def test_changes_that_do_not_fit_are_refused(author: Author, changes: Any) -> None:
    author.import_(workflow(log_step("a")))
    assert refused(author, "update_workflow", workflow="w", changes=changes) == ("FG422", "changes_invalid")


def test_step_is_added_at_the_end_of_the_list_in_a_draft(author: Author) -> None:
    author.import_(workflow(listed_step("a"), listed_step("b")))
    result = call(author, "add_step", workflow="w", step=listed_step("c"))
    assert (result["version"], result["state"]) == (2, "draft")
    result = call(author, "add_step", workflow="w", step=listed_step("d"))
    assert (result["version"], result["state"]) == (2, "draft")
    assert [step["dependencies"] for step in author.steps(result["version_id"]).values()] == [[], [0], [1], [2]]


def test_step_is_added_to_what_was_written_in_other_words(author: Author) -> None:
    steps = [{"name": name, "task_type": "log", "message": name, "step_order": at} for at, name in enumerate("ab")]
    author.import_translated({"name": "Order Pipeline", "trigger_type": "manual", "steps": steps})
    result = call(author, "add_step", workflow="order-pipeline", step=listed_step("c"))
    assert (result["version"], result["state"]) == (2, "draft")
    result = call(author, "add_step", workflow="order-pipeline", step=log_step("d", "a"))
    assert [step["dependencies"] for step in author.steps(result["version_id"]).values()] == [[], [0], [1], [0]]


def test_step_that_does_not_fit_is_refused(author: Author) -> None:
    author.import_(workflow(log_step("a")))
    assert refused(author, "add_step", workflow="w", step=log_step("a")) == ("FG422", "definition_invalid")


def test_workflow_in_use_is_not_deleted(author: Author) -> None:
    author.import_(workflow(log_step("a")))
    execution_id = start(author)
    assert refused(author, "delete_workflow", workflow="w") == ("FG409", "workflow_in_use")
    assert call(author, "delete_workflow", workflow="w", cancel_running=True)["cancelled_count"] == 1
    status = author.db.value("select status from flowgres.executions where id = %s", execution_id)
    assert status == "cancelled"


def test_name_of_a_deleted_workflow_is_free_again(author: Author) -> None:
    first = author.import_(workflow(log_step("a")))
    call(author, "delete_workflow", workflow="w")
    assert refused(author, "activate_workflow", workflow=first["workflow_id"]) == ("FG404", "workflow_not_found")
    second = author.import_(workflow(log_step("a")))
    assert (second["version"], second["workflow_id"] == first["workflow_id"]) == (1, False)


def test_member_changes_workflows_and_viewer_does_not(author: Author) -> None:
    with author.database.as_role("member", tenant_id=author.tenant_id, sub="ann") as db:
        db.call("flowgres.import_workflow", p_definition=workflow(log_step("a")))
        db.call("flowgres.deactivate_workflow", p_workflow="w")
    with author.database.as_role("viewer", tenant_id=author.tenant_id, sub="bob") as db:
        assert db.call("flowgres.validate_workflow", p_definition=workflow(log_step("a")))["valid"]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.call("flowgres.activate_workflow", p_workflow="w")


def test_call_without_a_tenant_is_refused(author: Author) -> None:
    author.db.run("select set_config('flowgres.tenant_id', '', false)")
    assert refused(author, "import_workflow", definition=workflow(log_step("a"))) == ("FG401", "tenant_required")
