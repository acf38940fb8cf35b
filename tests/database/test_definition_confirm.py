"""Which version is active: an unchecked one never takes the place of another, whatever happens while it is checked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db
from tests.support.definitions import Author, log_step, sub_workflow, workflow
from tests.support.runner import wait_for

WRONG = {"path": "steps[0].config.message", "code": "expression_name", "message": "the name 'x' is not known here"}


@pytest.fixture(scope="module")
def shared_author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


@pytest.fixture
def author(shared_author: Author) -> Author:
    return Author(shared_author.database, shared_author.db)


def bring(author: Author, step: str, **members: Any) -> str:
    """Import a version whose one step has this id; the id of the version."""
    return str(author.import_(workflow(log_step(step), **members))["version_id"])


def call(author: Author, function: str, db: Db | None = None, **arguments: Any) -> Any:
    return (db or author.db).call(f"flowgres.{function}", **{f"p_{name}": value for name, value in arguments.items()})


def standing(author: Author, name: str = "w") -> tuple[str, int | None, int | None]:
    """Status, active version and pending version, as clients read them."""
    with author.database.as_role("viewer", tenant_id=author.tenant_id) as db:
        row = db.one("select * from flowgres_api.workflows where name = %s", name)
        pending = db.column(
            "select version from flowgres_api.workflow_versions where workflow_id = %s and is_pending order by version",
            row["id"],
        )
    assert (row["pending_version"] in pending) if pending else (row["pending_version"] is None)
    return row["status"], row["active_version"], row["pending_version"]


def audit(author: Author) -> list[tuple[str, str, Any]]:
    rows = author.db.all("select * from flowgres.audit_log where tenant_id = %s order by at, id", author.tenant_id)
    return [(row["action"], row["actor"].partition(":")[0], row["details"].get("version")) for row in rows]


def start(author: Author, version: int | None = None, **arguments: Any) -> int:
    """Start an execution; the number of the version that it runs on."""
    execution = author.db.call(
        "flowgres.start_execution",
        **dict(p_workflow="w", p_input={}, p_idempotency_key=None, p_version=version, p_priority=None,
            p_scheduled_at=None, p_correlation_id=None, p_max_retries=0, p_metadata=None) | arguments,
    )  # fmt: skip
    return int(author.db.value("select version from flowgres.executions where id = %s", execution["execution_id"]))


def refusal(run: Callable[[], Any]) -> Any:
    """What PostgreSQL says about a call that is refused."""
    with pytest.raises(psycopg.Error) as caught:
        run()
    return caught.value.diag


def test_first_version_can_be_started_before_it_is_confirmed(author: Author) -> None:
    result = author.import_(workflow(log_step("a")))
    assert (result["state"], result["status"], result["active_version"], result["pending_version"]) == (
        "checking", "active", 1, None)  # fmt: skip
    assert start(author) == 1


def test_version_before_stays_active_until_the_new_one_is_confirmed(author: Author) -> None:
    bring(author, "a", title="First")
    result = author.import_(workflow(log_step("b"), title="Second"))
    assert (result["state"], result["active_version"], result["pending_version"]) == ("checking", 1, 2)
    assert (result["status"], result["title"]) == ("active", "First")
    assert start(author) == 1
    assert author.confirm(result["version_id"])
    assert standing(author) == ("active", 2, None)
    assert start(author) == 2
    title = author.db.value("select title from flowgres.workflows where tenant_id = %s", author.tenant_id)
    assert title == "Second"
    assert not author.confirm(result["version_id"]), "it is confirmed once"


def test_broken_version_changes_nothing_for_those_who_start(author: Author) -> None:
    author.confirm(bring(author, "a"))
    broken = bring(author, "b")
    author.confirm(broken, WRONG)
    assert standing(author) == ("active", 1, None)
    assert start(author) == 1
    assert (author.version(broken)["state"], author.version(broken)["errors"]) == ("invalid", [WRONG])
    assert audit(author) == [
        ("workflow_activated", "login", 1),
        ("workflow_activation_requested", "login", 2),
        ("workflow_version_refused", "engine", 2),
    ]


def test_activation_by_the_engine_is_recorded_under_the_tenant(author: Author) -> None:
    author.confirm(bring(author, "a"))
    author.confirm(bring(author, "b"))
    assert audit(author)[1:] == [
        ("workflow_activation_requested", "login", 2),
        ("workflow_activated", "engine", 2),
    ]


def test_start_of_an_invalid_version_names_its_errors_and_the_last_that_was_ready(author: Author) -> None:
    author.confirm(bring(author, "a"))
    author.confirm(bring(author, "b"), WRONG)
    said = refusal(lambda: start(author, version=2))
    assert (said.sqlstate, said.constraint_name) == ("FG409", "version_invalid")
    assert author.db.value("select %s::jsonb", said.message_detail) == [WRONG]
    assert WRONG["message"] in said.message_primary
    assert "flowgres workflows activate w --version 1" in said.message_hint
    assert refusal(lambda: call(author, "activate_workflow", workflow="w", version=2)).message_hint == said.message_hint


@pytest.mark.parametrize("function", ["start_execution", "start_executions"])
def test_start_where_the_only_version_is_invalid_names_its_errors(author: Author, function: str) -> None:
    author.confirm(bring(author, "a"), WRONG)
    assert standing(author) == ("inactive", None, None)
    many = function == "start_executions"
    said = refusal(lambda: call(author, function, workflow="w", inputs=[{}]) if many else start(author))
    assert (said.sqlstate, said.constraint_name) == ("FG409", "version_invalid")
    assert author.db.value("select %s::jsonb", said.message_detail) == [WRONG]
    assert said.message_hint == "Import a corrected definition."
    author.import_(workflow(log_step("b")))
    assert start(author) == 2


def test_sub_workflow_with_an_invalid_version_is_refused_with_its_code(author: Author) -> None:
    author.confirm(bring(author, "a"), WRONG)
    query = "select flowgres.find_version(w, %s) from flowgres.workflows as w where tenant_id = %s"
    for version in (None, 1):
        said = refusal(partial(author.db.all, query, version, author.tenant_id))
        assert said.constraint_name == "version_invalid"
    author.import_(workflow(sub_workflow("call", "w"), name="caller"))


def test_imports_while_one_is_checked_end_as_if_checks_took_no_time(author: Author) -> None:
    author.confirm(bring(author, "a"))
    second, third = bring(author, "b"), bring(author, "c")
    assert standing(author) == ("active", 1, 3)
    author.confirm(second)
    assert standing(author) == ("active", 2, 3), "it was wished for, and what comes later is not known yet"
    author.confirm(third, WRONG)
    assert standing(author) == ("active", 2, None)


def test_newer_wish_that_is_confirmed_first_stays(author: Author) -> None:
    author.confirm(bring(author, "a"))
    second, third = bring(author, "b"), bring(author, "c")
    author.confirm(third)
    assert standing(author) == ("active", 3, None)
    author.confirm(second)
    assert standing(author) == ("active", 3, None)
    assert author.version(second)["state"] == "ready"


def test_first_version_that_is_invalid_gives_way_to_the_next(author: Author) -> None:
    first, second, third = (bring(author, step) for step in "abc")
    assert standing(author) == ("active", 1, 3)
    author.confirm(first, WRONG)
    assert standing(author) == ("active", 2, 3)
    author.confirm(third)
    author.confirm(second, WRONG)
    assert standing(author) == ("active", 3, None)


@pytest.mark.parametrize(
    ("function", "arguments", "status"),
    [
        ("deactivate_workflow", {}, "inactive"),
        ("archive_workflow", {}, "archived"),
        ("update_workflow", {"changes": {"status": "inactive"}}, "inactive"),
        ("activate_workflow", {"version": 1}, "active"),
    ],
)
def test_what_is_decided_meanwhile_stays_decided(author: Author, function: str, arguments: Any, status: str) -> None:
    author.confirm(bring(author, "a"))
    second = bring(author, "b")
    assert call(author, function, workflow="w", **arguments)["pending_version"] is None
    author.confirm(second)
    assert standing(author) == (status, 1, None)
    assert author.version(second)["state"] == "ready"


def test_import_into_an_inactive_workflow_waits_and_then_activates_it(author: Author) -> None:
    author.confirm(bring(author, "a"))
    call(author, "deactivate_workflow", workflow="w")
    second = bring(author, "b")
    assert standing(author) == ("inactive", 1, 2)
    assert call(author, "deactivate_workflow", workflow="w")["pending_version"] is None
    third = bring(author, "c")
    author.confirm(second)
    assert standing(author) == ("inactive", 1, 3)
    author.confirm(third)
    assert standing(author) == ("active", 3, None)


def test_letting_a_workflow_start_again_does_not_forget_the_version_that_waits(author: Author) -> None:
    author.confirm(bring(author, "a"))
    call(author, "deactivate_workflow", workflow="w")
    second = bring(author, "b")
    call(author, "update_workflow", workflow="w", changes={"status": "active"})
    assert standing(author) == ("active", 1, 2)
    author.confirm(second)
    assert standing(author) == ("active", 2, None)


def test_deleted_workflow_is_left_alone(author: Author) -> None:
    author.confirm(bring(author, "a"))
    second = bring(author, "b")
    call(author, "delete_workflow", workflow="w")
    author.confirm(second)
    row = author.db.one("select * from flowgres.workflows where tenant_id = %s", author.tenant_id)
    assert (row["status"], row["active_version"], row["pending_versions"]) == ("archived", 1, [])


def test_draft_waits_only_when_it_is_activated(author: Author) -> None:
    author.confirm(bring(author, "a"))
    draft = author.import_(workflow(log_step("b")), activate=False)
    assert (draft["state"], standing(author)) == ("draft", ("active", 1, None))
    answer = call(author, "activate_workflow", workflow="w")
    assert (answer["active_version"], answer["pending_version"], answer["status"]) == (1, 2, "active")
    author.confirm(draft["version_id"])
    assert standing(author) == ("active", 2, None)


def test_same_content_again_is_asked_for_once(author: Author) -> None:
    author.confirm(bring(author, "a"))
    second = bring(author, "b")
    assert bring(author, "b") == second
    assert [action for action, _, _ in audit(author)].count("workflow_activation_requested") == 1
    bring(author, "c")
    assert bring(author, "b") == second
    assert standing(author) == ("active", 1, 2)
    waiting = author.db.value("select pending_versions from flowgres.workflows where tenant_id = %s", author.tenant_id)
    assert waiting == [3, 2]
    assert author.import_(workflow(log_step("a")))["pending_version"] is None, "the active one is what is wanted now"


def test_invalid_content_imported_again_is_checked_again(author: Author) -> None:
    author.confirm(bring(author, "a"))
    second = bring(author, "b")
    author.confirm(second, WRONG)
    again = author.import_(workflow(log_step("b")))
    assert (again["version"], again["state"], again["pending_version"]) == (2, "checking", 2)
    assert author.version(second)["errors"] is None
    author.confirm(second)
    assert standing(author) == ("active", 2, None)


def test_front_vouches_for_a_version_that_waits(author: Author) -> None:
    author.confirm(bring(author, "a"))
    bring(author, "b")
    bring(author, "c")
    with author.database.connect("front") as db, db.connection.transaction():
        db.run("select set_config('flowgres.tenant_id', %s, true)", str(author.tenant_id))
        db.run("set local role flowgres_member")
        result = db.call("flowgres.import_checked_workflow", p_definition=workflow(log_step("b")))
    assert (result["state"], result["active_version"], result["pending_version"]) == ("ready", 2, None)


def test_versions_are_checked_in_turns_of_their_tenants(author: Author) -> None:
    other = Author(author.database, author.db)
    author.use()
    mine = [bring(author, step) for step in "abc"]
    other.use()
    theirs = bring(other, "a")
    rows = author.db.all("select version_id::text from flowgres.unchecked_versions(p_limit => 1000, p_seconds => 9)")
    order = [row["version_id"] for row in rows if row["version_id"] in (*mine, theirs)]
    assert order == [mine[0], theirs, *mine[1:]]


def test_version_is_checked_by_one_runner_until_its_time_is_over(database: Database, db: Db, clock: Clock) -> None:
    author = Author(database, db)
    mine = [bring(author, step) for step in "ab"]
    with database.connect("runner") as first, database.connect("runner") as second:
        with first.connection.transaction():
            assert take(first, 1) == mine[:1]
            # Not committed yet: passed over, and not waited for.
            assert take(second, 5) == mine[1:]
        assert take(second, 5) == []
        clock.advance(seconds=10)
        assert take(second, 5) == mine
        author.confirm(mine[0])
        clock.advance(seconds=10)
        assert take(first, 5) == mine[1:]


def take(db: Db, limit: int) -> list[str]:
    return db.column("select version_id::text from flowgres.unchecked_versions(p_limit => %s, p_seconds => 9)", limit)


Act = Callable[[Author, Db], Any]
MEANWHILE: dict[str, tuple[Act, tuple[str, int | None, int | None], tuple[str, int | None, int | None]]] = {
    # While the check of version 2 ends; how it stands when the check committed first, and when it was second.
    "import": (
        lambda author, db: call(author, "import_workflow", db, definition=workflow(log_step("c"))),
        ("active", 2, 3), ("active", 2, 3),
    ),
    "rollback": (
        lambda author, db: call(author, "activate_workflow", db, workflow="w", version=1),
        ("active", 1, None), ("active", 1, None),
    ),
    "deactivate": (
        lambda author, db: call(author, "deactivate_workflow", db, workflow="w"),
        ("inactive", 2, None), ("inactive", 1, None),
    ),
}  # fmt: skip


def confirm(author: Author, db: Db, version_id: str) -> Any:
    return db.value("select flowgres.confirm_version(%s, '[]')", version_id)


@pytest.mark.parametrize("other", MEANWHILE)
@pytest.mark.parametrize("is_check_first", [True, False])
def test_check_that_ends_while_something_else_is_decided(author: Author, other: str, is_check_first: bool) -> None:
    act, after_check, before_check = MEANWHILE[other]
    author.confirm(bring(author, "a"))
    second = bring(author, "b")
    together(
        author,
        lambda db: confirm(author, db, second) if is_check_first else act(author, db),
        lambda db: act(author, db) if is_check_first else confirm(author, db, second),
    )
    assert standing(author) == (after_check if is_check_first else before_check)


@pytest.mark.parametrize("is_check_first", [True, False])
def test_check_that_ends_while_the_workflow_is_deleted(author: Author, is_check_first: bool) -> None:
    author.confirm(bring(author, "a"))
    second = bring(author, "b")
    acts: list[Callable[[Db], Any]] = [
        lambda db: confirm(author, db, second),
        lambda db: call(author, "delete_workflow", db, workflow="w"),
    ]
    together(author, *(acts if is_check_first else acts[::-1]))
    row = author.db.one("select * from flowgres.workflows where tenant_id = %s", author.tenant_id)
    assert (row["status"], row["active_version"]) == ("archived", 2 if is_check_first else 1)


def test_two_runners_that_checked_the_same_version_agree(author: Author) -> None:
    author.confirm(bring(author, "a"))
    second = bring(author, "b")
    answers = together(author, lambda db: confirm(author, db, second), lambda db: confirm(author, db, second))
    assert answers == [True, False]
    assert standing(author) == ("active", 2, None)


def together(author: Author, first: Callable[[Db], Any], second: Callable[[Db], Any]) -> list[Any]:
    """Two calls on two connections: the second begins while the first has not committed, and waits for it."""
    answers: list[Any] = [None, None]
    with author.connect() as one, author.connect() as two:

        def run_second() -> None:
            answers[1] = second(two)

        thread = threading.Thread(target=run_second)
        with one.connection.transaction():
            answers[0] = first(one)
            thread.start()
            pid = two.connection.info.backend_pid
            waits = "select cardinality(pg_blocking_pids(%s)) > 0"
            wait_for(lambda: author.db.value(waits, pid), what="the second call at the lock")
        thread.join()
    return answers
