"""Workflows in another system's words, imported as they are, do what the examples of the same names do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "statuses", "modes"),
    [
        ("document_summary", {"received": "completed", "summarize": "completed", "tell": "completed"}, {"tell": "log"}),
        ("lead_qualification", {"score": "completed", "tell_sales": "completed", "put_aside": "skipped"},
         {"score": "stub", "tell_sales": "log"}),
        ("support_triage", {"sort": "completed", "call": "completed", "desk": "skipped"}, {"call": "log"}),
    ],
)  # fmt: skip
async def test_document_in_braces_runs(
    stack: Stack, name: str, statuses: dict[str, str], modes: dict[str, str]
) -> None:
    given = json.loads((ROOT / "examples" / name / "input.json").read_text())

    imported = await asyncio.to_thread(stack.import_file, ROOT / "tests" / "cases" / "documents" / f"d_{name}.yaml")
    execution = await asyncio.to_thread(stack.run, imported["name"], given)

    assert execution["status"] == "completed", execution["error"]
    steps = {step["step"]: step for step in execution["steps"]}
    assert {step: steps[step]["status"] for step in statuses} == statuses
    assert {step: steps[step]["output"]["mode"] for step in modes} == modes
    told = " ".join(stack.messages(execution))
    assert next(iter(given.values())) in told, "what was sent in is told"
