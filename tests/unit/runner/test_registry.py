"""Custom step types from entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint

import pytest

from flowgres_definitions.custom_types import ENTRY_POINT_GROUP
from flowgres_process.errors import SettingsError
from flowgres_runner.steps import registry
from flowgres_runner.steps.base import Completed, Json, Outcome, StepTask


class Greeting:
    """A custom type as a package would offer it."""

    type = "greeting"
    config_schema: Mapping[str, Json] = {}

    async def run(self, task: StepTask) -> Outcome:
        return Completed(f"hello {task.step_id}")


class Broken:
    """No handler at all."""

    def __init__(self) -> None:
        raise RuntimeError("no")


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "installed_points", lambda: points)
    return points


def test_class_is_made_into_a_handler(offered: list[EntryPoint]) -> None:
    offered.append(_own(Greeting, "greeting"))
    handlers = registry.custom_handlers(frozenset({"http"}))
    assert list(handlers) == ["greeting"]


def test_what_cannot_be_loaded_is_left_out(offered: list[EntryPoint]) -> None:
    offered.append(_own(Broken, "broken"))
    offered.append(_own(Greeting, "another_name"))
    offered.append(EntryPoint(name="gone", value="no_such_module:x", group="x"))
    assert registry.custom_handlers(frozenset()) == {}


def test_type_that_is_taken_is_refused(offered: list[EntryPoint]) -> None:
    offered.append(_own(Greeting, "http"))
    with pytest.raises(SettingsError, match="offered twice"):
        registry.custom_handlers(frozenset({"http"}))


class _OwnPoint(EntryPoint):
    """An entry point of this very file, whatever name the test run gave its module."""

    def load(self) -> object:
        return {"Greeting": Greeting, "Broken": Broken}[self.attr]


def _own(cls: type, name: str) -> EntryPoint:
    return _OwnPoint(name=name, value=f"tests:{cls.__name__}", group=ENTRY_POINT_GROUP)
