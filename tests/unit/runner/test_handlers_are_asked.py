"""The engine asks a handler what it is; no module besides a type's own knows a type by its name or class."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import flowgres_runner
from flowgres_definitions.description import core_step_types
from flowgres_runner.http import Client
from flowgres_runner.steps.base import Handler
from flowgres_runner.steps.http import HttpStep
from flowgres_runner.steps.registry import core_handlers, published_types
from tests.support.provided import reaching

ROOT = Path(flowgres_runner.__file__).parent
# Made and named where they are registered; each of `steps/` is a type's own.
ENGINE = sorted(path for path in ROOT.rglob("*.py") if "steps" not in path.relative_to(ROOT).parts)
NAMES = core_step_types() | {"outputs"}


def _handlers() -> dict[str, Handler]:
    now = lambda: pytest.fail("nothing is asked for the time")  # noqa: E731
    return core_handlers(http=HttpStep(Client()), now=now, reaching=reaching())


CLASSES = {type(handler).__name__ for handler in _handlers().values()} | {"Handler", "OfferedHandler", "StepType"}


def knowing(tree: ast.AST) -> Iterator[str]:
    """Places of a module that know a type by name (compare `x.type`), by class, or by feeling for its members."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            about_type = any(isinstance(side, ast.Attribute) and side.attr == "type" for side in sides)
            words = {leaf.value for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)}
            if about_type and NAMES & {word for word in words if isinstance(word, str)}:
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names = {leaf.id for argument in node.args[1:] for leaf in ast.walk(argument) if isinstance(leaf, ast.Name)}
            if node.func.id in ("isinstance", "issubclass") and names & CLASSES:
                yield f"{node.lineno}: {ast.unparse(node)}"
            if node.func.id in ("hasattr", "getattr") and "handler" in ast.unparse(node.args[0]):
                yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_asks(path: Path) -> None:
    assert list(knowing(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "text",
    [
        "if step.type == 'http': pass",
        "if step.type in ('condition', 'switch'): pass",
        "isinstance(step.pure, SubWorkflowHandler)",
        "hasattr(handler, 'masked')",
    ],
)
def test_scan_finds_what_it_looks_for(text: str) -> None:
    assert list(knowing(ast.parse(text)))


def test_names_that_definitions_may_use_are_those_that_are_published() -> None:
    assert {published["type"] for published in published_types(_handlers())} == core_step_types()
