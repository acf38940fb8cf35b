"""What was recorded of a run, as a case for another version of its workflow.

A draft may lack steps that ran, have others, or ask the same ones something else. What a recording has no answer to is
not judged: it is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import nodes

from flowgres_cli.testing.cases import Failure, Outcome
from flowgres_cli.testing.checking import COMPENSATION, UNMOCKABLE, branch_names, split_item, steps_of
from flowgres_cli.testing.recording import Run, computing_types, record_cases, secret_names
from flowgres_definitions.expressions import ExpressionError, parse_expression, texts_with_expressions, walk
from flowgres_runner.payloads.masks import MASK

Json = Any
_HTTP_KEYS = frozenset({"status", "headers", "body", "body_encoding"})
_ENDED = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A case for a draft: its document, the differences that are there before it runs, and what is worth a word."""

    document: Mapping[str, Json]
    differences: tuple[Mapping[str, Json], ...] = ()
    notes: tuple[str, ...] = ()
    mocked: frozenset[str] = field(default_factory=frozenset)


def record_for(run: Run, draft: Mapping[str, Json], workflow_file: str) -> Recorded:
    """The case of a run for a draft. Raises CliError for a run that cannot be replayed."""
    document = record_cases(run, workflow_file)
    names = sorted(secret_names(run.definition) | secret_names(draft))
    if names:
        document["secrets"] = {name: f"put-in-{name}" for name in names}
    case = document["cases"][0]
    before, after = steps_of(run.definition), steps_of(draft)
    notes = []
    mocks = [mock for mock in case.pop("mocks", ()) if _fits(mock, before, after)]
    if mocks:
        case["mocks"] = mocks
    if MASK in json.dumps(mocks) or MASK in json.dumps(case["input"]):
        notes.append(f"its recorded values have masked secrets ({MASK}), and are taken as they are")
    differences = list(_adapt(case["expect"], after))
    return Recorded(document, tuple(differences), tuple(notes), frozenset(mock["step"] for mock in mocks))


def find_obstacle(run: Run, draft: Mapping[str, Json]) -> str | None:
    """Why a run says nothing of any draft, or of this one; None when it may."""
    execution, names = run.execution, _names(draft)
    if any(step.get("reused_from") for step in execution["steps"]):
        return f"it took over steps of {execution['replayed_from']}, which is the one to look at"
    if execution["trigger_type"] != "api" and "trigger" in names:
        return f"its trigger ({execution['trigger_type']}), which the draft looks at, is no part of a case"
    if execution.get("instance_id") and "instance" in names:
        return "its instance, which the draft looks at, is no part of a case"
    return None


def _names(draft: Mapping[str, Json]) -> set[str]:
    """The names that expressions of a draft look at."""
    names: set[str] = set()
    for text in texts_with_expressions(draft):
        try:
            parts = parse_expression(text).parts
        except ExpressionError:
            # Braces in a description: the draft has been checked, so it is no expression.
            continue
        names.update(node.name for part in parts for node, _ in walk(part) if isinstance(node, nodes.Name))
    return names


def _fits(mock: Mapping[str, Json], before: Mapping[str, Json], after: Mapping[str, Json]) -> bool:
    """Whether what a step was answered is an answer to the step of the draft, too."""
    step = after.get(mock["step"])
    if step is None or step["type"] in UNMOCKABLE or step["type"] in computing_types():
        return False
    if "when" in mock and not step.get("foreach"):
        return False
    answers = mock.get("answers", [mock])
    if any(answer.keys() & _HTTP_KEYS for answer in answers):
        return bool(step["type"] == "http")
    # What the answer was is not stored, only what the step made of it.
    is_made = any("output" in answer for answer in answers)
    return not is_made or before[mock["step"]].get("output") == step.get("output")


def _adapt(expect: dict[str, Json], steps: Mapping[str, Mapping[str, Json]]) -> Iterator[Mapping[str, Json]]:
    """Leave in an expectation what can be asked of the draft; what cannot differs already."""
    statuses = expect.get("steps", {})
    for name in [name for name in statuses if split_item(name)[0] not in steps]:
        status = statuses.pop(name)
        if status in _ENDED and not name.endswith(COMPENSATION):
            yield {"what": f"steps.{name}", "recorded": status, "now": "no such step"}
    branches = expect.get("branches", {})
    for name in list(branches):
        step = steps.get(name, {})
        if branches[name] in branch_names(step):
            continue
        branch = branches.pop(name)
        if step:
            yield {"what": f"branches.{name}", "recorded": branch, "now": "no such branch"}
    step = expect.get("error", {}).get("step")
    if step is not None and split_item(step)[0] not in steps:
        del expect["error"]["step"]


def unanswered(recorded: Recorded, run: Run, draft: Mapping[str, Json], outcome: Outcome) -> tuple[str, ...]:
    """Why an outcome says nothing of the draft: steps that would have asked somebody, and had no recorded answer."""
    reasons = dict.fromkeys(f"{sentence}" for sentence in outcome.unanswered)
    if outcome.execution is None:
        return tuple(reasons)
    computed = computing_types()
    before = {step["step"]: step for step in run.execution["steps"]}
    for step in outcome.execution["steps"] or ():
        name = step["step"]
        if step["type"] in computed or name in recorded.mocked or not step["attempts"]:
            continue
        was = before.get(name, {})
        # It sent nothing then, and failed by itself; so it did now.
        if was.get("status") == "failed" == step["status"] and _code(was) == _code(step):
            continue
        if not any(f" {name}" in sentence for sentence in reasons):
            reasons[f"the step {name} has no recorded answer"] = None
    return tuple(reasons)


def _code(step: Mapping[str, Json]) -> Json:
    return (step.get("error") or {}).get("code")


def as_difference(failure: Failure) -> Mapping[str, Json]:
    """What differs, without the file of the case."""
    return {"what": failure.message, "recorded": failure.expected, "now": failure.got}
