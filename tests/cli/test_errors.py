"""flowgres errors, against the real server and a real runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .conftest import Flowgres

BROKEN = """\
name: broken
steps:
  - {id: split, type: transform, config: {expression: "{{ 1 / input.by }}"}}
"""


def test_what_fails_alike_is_one_line(live: Flowgres, write: Callable[..., Path]) -> None:
    assert live("import", str(write("broken.yaml", BROKEN))).code == 0
    for by in ("0", "0.0"):
        assert live("run", "broken", "-f", f"by={by}", "--wait").code == 7
    rows = live("errors", "--workflow", "broken").json
    assert sum(row["count"] for row in rows) == 2
    assert {row["step"] for row in rows} == {"split"}
    table = live("errors", "--workflow", "broken", "-o", "table")
    assert "split" in table.out
    (execution_id, *_) = live("errors", "--workflow", "broken", "-o", "id").out.split()
    assert live("executions", "show", execution_id).code == 0
    assert live("errors", "--workflow", "nobody").json == []
    assert live("errors", "--limit", "0").code == 2
