"""Migrations of instances beside transitions, starts and other migrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.database import Db
from tests.support.machines import Machines, machine
from tests.support.migrations import MAP, NEW, OLD, assert_sound, migrate, standing, versions
from tests.support.races import Run, refusal_code, rivals


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.fixture
def lanes(machines: Machines) -> Iterator[Callable[[], Db]]:
    """`lanes()` is one more connection of the tenant."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(machines.author.connect())


@pytest.mark.parametrize("is_kept", [True, False], ids=["transition commits", "transition rolls back"])
def test_migration_waits_for_a_transition_and_takes_what_it_left(
    machines: Machines, lanes: Callable[[], Db], run: Run, is_kept: bool
) -> None:
    machines.add(OLD)
    instance = standing(machines, "paid")
    machines.add(NEW)
    first, second = lanes(), lanes()
    with first.connection.transaction(force_rollback=not is_kept):
        machines.move(instance, "checked", first)
        rival = run(second, lambda: migrate(machines, db=second, map=MAP))
        assert rival.run_until_blocked()
    assert rival.answer()["migrated"] == 1
    assert versions(machines)[instance] == (2, "packed" if is_kept else "paid", "active")
    assert_sound(machines)


def test_transition_to_a_state_without_counterpart_refuses_the_migration_that_waited(
    machines: Machines, lanes: Callable[[], Db], run: Run
) -> None:
    machines.add(OLD)
    instance = standing(machines, "paid")
    other = standing(machines)
    machines.add(NEW)
    first, second = lanes(), lanes()
    with first.connection.transaction():
        machines.move(instance, "checked", first)
        rival = run(second, lambda: migrate(machines, db=second))
        assert rival.run_until_blocked()
    error = rival.refusal()
    assert error is not None
    assert refusal_code(error) == "state_unmapped"
    assert versions(machines) == {instance: (1, "checked", "active"), other: (1, "new", "active")}


def test_instance_that_ends_meanwhile_is_passed_by(machines: Machines, lanes: Callable[[], Db], run: Run) -> None:
    machines.add(OLD)
    instance = standing(machines, "paid")
    machines.add(NEW)
    first, second = lanes(), lanes()
    with first.connection.transaction():
        machines.move(instance, "lost", first)
        rival = run(second, lambda: migrate(machines, db=second))
        assert rival.run_until_blocked()
    assert (rival.answer()["migrated"], versions(machines)[instance]) == (0, (1, "lost", "completed"))


def test_transition_waits_for_a_migration_and_is_judged_by_the_new_version(
    machines: Machines, lanes: Callable[[], Db], run: Run
) -> None:
    machines.add(OLD)
    instance = standing(machines, "paid")
    machines.add(NEW)
    first, second = lanes(), lanes()
    with first.connection.transaction():
        migrate(machines, db=first)
        rival = run(second, lambda: machines.move(instance, "checked", second))
        assert rival.run_until_blocked()
    error = rival.refusal()
    assert error is not None
    assert refusal_code(error) == "state_unknown"
    assert versions(machines)[instance] == (2, "paid", "active")
    assert_sound(machines)


def test_transitions_of_many_wait_for_a_migration_and_go_by_the_new_version(
    machines: Machines, lanes: Callable[[], Db], run: Run
) -> None:
    machines.add(OLD)
    instance = standing(machines, "paid")
    machines.add(NEW)
    first, second = lanes(), lanes()
    with first.connection.transaction():
        migrate(machines, db=first)
        query = "select flowgres_api.execute_transitions(%s::uuid[], 'packed')"
        rival = run(second, lambda: second.value(query, f"{{{instance}}}"))
        assert rival.run_until_blocked()
    assert (rival.answer()["moved"], versions(machines)[instance]) == (1, (2, "packed", "active"))
    assert_sound(machines)


def test_two_migrations_at_once_move_each_instance_once(machines: Machines, lanes: Callable[[], Db], run: Run) -> None:
    machines.add(OLD)
    instances = [machines.start(str(number)) for number in range(4)]
    machines.add(NEW)
    first, second = lanes(), lanes()
    with first.connection.transaction():
        assert migrate(machines, db=first)["migrated"] == 4
        rival = run(second, lambda: migrate(machines, db=second))
        assert rival.run_until_blocked()
    assert (rival.answer()["migrated"], rival.answer()["remaining"]) == (0, 0)
    assert [len(machines.history(instance)) for instance in instances] == [2] * 4
    assert_sound(machines)


def test_start_that_is_not_seen_yet_keeps_the_same_entity_from_being_opened_again(
    machines: Machines, lanes: Callable[[], Db], run: Run
) -> None:
    machines.add(machine("a>b", final="b"))
    old = standing(machines, "b")
    machines.add(machine("a>b", "b>c", final="c"))
    first, second = lanes(), lanes()
    with first.connection.transaction():
        machines.start("b", db=first)
        rival = run(second, lambda: migrate(machines, db=second, completed=True))
        assert rival.run_until_blocked()
    error = rival.refusal()
    assert error is not None
    assert refusal_code(error) == "instance_exists"
    assert versions(machines)[old] == (1, "b", "completed")
