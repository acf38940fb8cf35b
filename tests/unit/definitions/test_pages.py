"""Definitions that the pages of the language show are valid as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowgres_definitions.validation import validate_document

PAGES = Path(__file__).parents[3] / "runner/flowgres_definitions"
# Whole definitions on the pages about types of steps.
NEEDED = {"EVENTS.md", "MACHINES.md", "STEP_TYPES.md", "TASKS.md", "WAITS.md"}
# Steps alone.
LISTED = {"APPROVALS.md", "HTTP.md", "PROVIDERS.md", "SQL_STEPS.md"}
# A type of a package, which the page makes up.
CUSTOM = {"STEP_TYPES.md": {"greet"}}


def shown() -> Iterator[tuple[str, Any]]:
    """Each page and what a block of YAML on it says."""
    for page in sorted(PAGES.glob("*.md")):
        for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            yield page.name, yaml.safe_load(block)


def is_step(value: Any) -> bool:
    return isinstance(value, dict) and {"id", "type"} <= value.keys()


WHOLE = [(page, value) for page, value in shown() if isinstance(value, dict) and "steps" in value]
STEPS = [(page, value) for page, value in shown() if isinstance(value, list) and all(map(is_step, value))]


def test_pages_with_steps_are_found() -> None:
    assert {page for page, _ in WHOLE} >= NEEDED
    assert {page for page, _ in STEPS} >= LISTED


@pytest.mark.parametrize(
    ("page", "document"), WHOLE, ids=[f"{page}-{document.get('name')}" for page, document in WHOLE]
)
def test_definition_of_a_page_is_valid(page: str, document: dict[str, Any]) -> None:
    assert list(validate_document(document, custom_types=CUSTOM.get(page, set()))) == []


@pytest.mark.parametrize(("page", "steps"), STEPS, ids=[f"{page}-{steps[0]['id']}" for page, steps in STEPS])
def test_steps_of_a_page_are_valid(page: str, steps: list[Any]) -> None:
    document = {"name": "page", "additional_inputs": True, "steps": steps}
    assert list(validate_document(document, custom_types=CUSTOM.get(page, set()))) == []
