"""Two executions side by side, as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flowgres_cli.durations import describe_seconds
from flowgres_cli.output import clean

Json = Any
_MISSING = "-"


def differs(answer: Mapping[str, Json]) -> bool:
    """Whether a comparison found anything that is not the same, beyond how long it took."""
    return (
        not answer["input"]["is_equal"]
        or not answer["output"]["is_equal"]
        or answer["a"]["status"] != answer["b"]["status"]
        or any(set(step["differs"]) - {"duration"} for step in answer["steps"])
    )


def describe(answer: Mapping[str, Json]) -> Iterator[str]:
    """The lines of a comparison: both executions, then what differs of inputs, outputs and steps."""
    a, b = answer["a"], answer["b"]
    rows = [("", "A", "B", "")]
    rows.append(("execution", a["id"], b["id"], ""))
    for name, left, right in (
        ("workflow", _workflow(a), _workflow(b)),
        ("status", a["status"], b["status"]),
        ("duration", _seconds(a), _seconds(b)),
    ):
        rows.append((name, left, right, "differs" if left != right and name != "duration" else ""))
    for step in answer["steps"]:
        rows.append((step["step"], _step(step["a"]), _step(step["b"]), ", ".join(step["differs"])))
    widths = [max(len(clean(row[place])) for row in rows) for place in range(3)]
    for row in rows:
        cells = [clean(cell).ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[3]]).rstrip()
    yield from _differences("input", answer["input"])
    yield from _differences("output", answer["output"])
    for step in answer["steps"]:
        if step["output"] is not None:
            yield from _differences(f"output of {step['step']}", step["output"])
        for side in ("a", "b"):
            error = (step[side] or {}).get("error")
            if "error" in step["differs"] and error is not None:
                yield f"error of {clean(step['step'])} in {side.upper()}: {_shown(error.get('message', error))}"


def _workflow(side: Mapping[str, Json]) -> str:
    return f"{side['workflow_name']} version {side['version']}"


def _seconds(side: Mapping[str, Json]) -> str:
    return _MISSING if side["duration_seconds"] is None else describe_seconds(side["duration_seconds"])


def _step(side: Mapping[str, Json] | None) -> str:
    if side is None:
        return _MISSING
    words = [side["status"]]
    if side["branch"] is not None:
        words.append(f"({side['branch']})")
    words.append("taken over" if side["reused_from"] else "" if side["duration_seconds"] is None else _seconds(side))
    return " ".join(filter(None, words))


def _differences(what: str, found: Mapping[str, Json]) -> Iterator[str]:
    if found["is_equal"]:
        return
    yield f"{clean(what)}:"
    for one in found["differences"]:
        left, right = (_shown(one[side]) if side in one else _MISSING for side in ("a", "b"))
        yield f"  {clean(one['path'])}: {left} | {right}"
    if found["omitted"]:
        yield f"  and {found['omitted']} more"


def _shown(value: Json) -> str:
    if isinstance(value, Mapping) and value.keys() == {"omitted_bytes"}:
        return f"({value['omitted_bytes']} bytes)"
    return clean(json.dumps(value, ensure_ascii=False))
