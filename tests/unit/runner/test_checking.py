"""What the check of a version answers, whatever the definition does to it."""

from __future__ import annotations

from flowgres_runner.evaluator.checker import MAX_ERRORS, check_definition
from tests.support.definitions import log_step, workflow


def test_as_many_errors_are_told_as_are_worth_storing() -> None:
    broken = workflow(log_step("a", config={"message": ["{{ input. }}"] * (MAX_ERRORS + 50)}))
    assert len(check_definition(broken)) == MAX_ERRORS


def test_definition_that_breaks_the_check_is_refused_and_holds_nobody_up() -> None:
    (error,) = check_definition("no definition")
    assert isinstance(error, dict)
    assert error["code"] == "check_failed"
