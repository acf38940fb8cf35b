"""A file of cases from a real run: its input, what the world answered to each step, and what came of it.

Steps that compute do so again; whatever waits or sends, and what a sub-workflow gave, becomes a mock. Secrets are
masked in what is stored, so the file has their names alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowgres_cli.errors import CliError
from flowgres_cli.testing.checking import UNMOCKABLE, steps_of
from flowgres_cli.testing.matching import ANY
from flowgres_definitions.strict_json import is_same
from flowgres_runner.steps.pure import pure_handlers
from flowgres_runner.steps.sub_workflow import SubWorkflowHandler
from flowgres_runner.steps.transition import TransitionHandler

Json = Any
_SECRET = re.compile(r"""\bsecrets\s*(?:\.\s*|\[\s*["'])([A-Za-z][A-Za-z0-9_]*)""")
# Of the connection, the moment or the server as such: nothing that a workflow decides by.
_IDLE_HEADERS = frozenset({
    "age", "alt-svc", "connection", "content-encoding", "content-length", "date", "keep-alive", "nel", "report-to",
    "server", "strict-transport-security", "transfer-encoding", "vary", "via", "x-powered-by", "x-request-id",
})  # fmt: skip
_OF_THE_NETWORK = frozenset({"timeout", "connect", "tls", "429", "5xx", "http_status"})
_ENDED = frozenset({"completed", "failed", "skipped", "cancelled"})


@dataclass(frozen=True, slots=True)
class Run:
    """A real run as the API tells it: the execution with its steps, its attempts and items, and its definition."""

    execution: Mapping[str, Json]
    attempts: Sequence[Mapping[str, Json]]
    items: Sequence[Mapping[str, Json]]
    definition: Mapping[str, Json]
    is_repaired: bool = False
    """Whether somebody acted upon one of its steps."""


def record_cases(run: Run, workflow_file: str) -> dict[str, Json]:
    """The document of a file with one case. Raises CliError for a run that cannot be replayed."""
    _check_replayable(run)
    execution = run.execution
    document: dict[str, Json] = {"workflow": workflow_file}
    began = datetime.fromisoformat(execution["started_at"] or execution["created_at"]).astimezone(UTC)
    document["now"] = began.isoformat().replace("+00:00", "Z")
    names = sorted(secret_names(run.definition))
    if names:
        document["secrets"] = {name: f"put-in-{name}" for name in names}
    case: dict[str, Json] = {
        "name": f"{execution['workflow_name']} as on {began:%Y-%m-%d} ({execution['id']})",
        "input": execution["input"],
    }
    mocks = list(_mocks(run))
    if mocks:
        case["mocks"] = mocks
    case["expect"] = _expect(run)
    document["cases"] = [case]
    return document


def secret_names(definition: Mapping[str, Json]) -> set[str]:
    """The secrets that the expressions of a definition name."""
    return set(_SECRET.findall(json.dumps(definition).replace('\\"', '"')))


def _check_replayable(run: Run) -> None:
    execution = run.execution
    why, hint = "", ""
    if execution["status"] not in ("completed", "failed", "cancelled"):
        why, hint = f"the execution is {execution['status']}, and has not ended", "Record it when it has."
    elif execution["generation"] > 1:
        why = "the execution was retried, which no case does"
        hint = "Replay it, and record that execution."
    elif run.is_repaired:
        why, hint = "a step of it was repaired by hand, which no case does", "Record one that ended by itself."
    elif execution["status"] == "cancelled" and not any(
        step["type"] == "stop" and step["status"] == "completed" for step in execution["steps"]
    ):
        why, hint = "the execution was cancelled from outside, which no case does", "Record one that ended by itself."
    if why:
        raise CliError(why, code="execution_not_recordable", hint=hint)


def _mocks(run: Run) -> Iterator[dict[str, Json]]:
    definition = steps_of(run.definition)
    rows: list[tuple[str, int | None, Mapping[str, Json]]] = [
        (step["step"], None, step) for step in run.execution["steps"]
    ]
    rows += [(item["step"], item["iteration"], item) for item in run.items]
    iterated = {name for name, iteration, _ in rows if iteration is not None}
    computed = computing_types()
    for step in run.execution["steps"]:
        # What was taken over from another execution may have another output than it would compute.
        is_reused = step.get("reused_from") and step["type"] not in UNMOCKABLE
        if step["type"] in computed and not is_reused:
            continue
        for name, iteration, row in rows:
            # The row of a foreach step itself is made of its items.
            if name != step["step"] or (iteration is None and name in iterated):
                continue
            answers = list(_answers(run, row, iteration, step["type"], definition[name]))
            if answers:
                mock: dict[str, Json] = {"step": name}
                if iteration is not None:
                    mock["when"] = {"item_index": iteration}
                yield {**mock, **answers[0]} if len(answers) == 1 else {**mock, "answers": answers}


def computing_types() -> frozenset[str]:
    """Types whose steps do in a case what they did in the run."""
    pure = {handler.type for handler in pure_handlers(lambda: datetime.now(UTC))}
    return frozenset(pure - {SubWorkflowHandler.type, TransitionHandler.type})


def _answers(
    run: Run, row: Mapping[str, Json], iteration: int | None, kind: str, step: Mapping[str, Json]
) -> Iterator[dict[str, Json]]:
    """What each attempt of a step came to, in order."""
    own = [one for one in run.attempts if one["step"] == row["step"] and one["iteration"] == iteration]
    if row.get("reused_from") and row["status"] == "completed":
        # It was taken over from another execution, which has its attempts.
        yield {"output": row["output"]}
    for attempt in sorted(own, key=lambda one: one["attempt"]):
        if attempt["status"] == "failed":
            answer = _failed_request(attempt) if kind == "http" else {"error": _error(attempt["error"])}
            if answer is not None:
                yield answer
        elif attempt["status"] == "completed":
            yield _answered_request(row["output"], step) if kind == "http" else {"output": row["output"]}


def _failed_request(attempt: Mapping[str, Json]) -> dict[str, Json] | None:
    """None where nothing was sent: that fails by itself."""
    error = attempt["error"] or {}
    details = error.get("details")
    if error.get("class") not in _OF_THE_NETWORK:
        return None
    if error.get("code") == "http_status" and isinstance(details, Mapping) and "status" in details:
        answer: dict[str, Json] = {"status": details["status"]}
        if "retry_after" in error:
            answer["headers"] = {"retry-after": str(max(0, round(error["retry_after"])))}
        if "body" in details:
            answer["body"] = details["body"]
        return answer
    told = _error(error)
    # The client says again which request it was.
    line = f"{(attempt['detail'] or {}).get('method')} {(attempt['detail'] or {}).get('url')}: "
    return {"error": {**told, "message": str(told.get("message", "")).removeprefix(line)}}


def _error(error: Mapping[str, Json] | None) -> dict[str, Json]:
    kept = ("code", "class", "message", "details", "retry_after", "retryable")
    return {name: error[name] for name in kept if error.get(name) is not None} if error else {"code": "failed"}


def _answered_request(output: Json, step: Mapping[str, Json]) -> dict[str, Json]:
    if "output" in step or not isinstance(output, Mapping) or "status" not in output:
        # What the answer was is not stored, only what the step made of it.
        return {"output": output}
    headers = _pruned(output.get("headers") or {})
    answer: dict[str, Json] = {"status": output["status"]}
    if headers:
        answer["headers"] = headers
    body, kind = output.get("body"), str(headers.get("content-type", ""))
    is_json = "json" in kind and step.get("config", {}).get("response", "auto") in ("auto", "json")
    if body is not None or is_json:
        answer["body"] = json.dumps(body) if is_json and isinstance(body, str) else body
    if "body_encoding" in output:
        answer["body_encoding"] = output["body_encoding"]
    if output.get("duration_ms"):
        answer["takes"] = f"{output['duration_ms']:g}ms"
    return answer


def _pruned(headers: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in headers.items() if name.lower() not in _IDLE_HEADERS}


def _expect(run: Run) -> dict[str, Json]:
    execution = run.execution
    expect: dict[str, Json] = {"status": execution["status"]}
    if execution["status"] == "completed":
        expect["outputs"] = _settled(run, execution["output"])
    elif execution["error"]:
        expect["error"] = {name: execution["error"][name] for name in ("code", "step") if execution["error"].get(name)}
    expect["steps"] = {step["step"]: step["status"] for step in execution["steps"] if step["status"] in _ENDED}
    branches = {
        step["step"]: step["output"]["branch"]
        for step in execution["steps"]
        if step["type"] in ("condition", "switch")
        and isinstance(step["output"], Mapping)
        and "branch" in step["output"]
    }
    if branches:
        expect["branches"] = branches
    return expect


def _settled(run: Run, value: Json) -> Json:
    """An output without what differs from run to run: headers that are not recorded, ids, the moment of the start."""
    answers = [
        row["output"]
        for row in (*run.execution["steps"], *run.items)
        if isinstance(row["output"], Mapping) and isinstance(row["output"].get("headers"), Mapping)
    ]
    for answer in answers:
        if is_same(value, answer):
            value = {**value, "headers": _pruned(value["headers"])}
            break
        if isinstance(value, Mapping) and is_same(value, answer["headers"]):
            return _pruned(value)
    if isinstance(value, Mapping):
        return {name: _settled(run, member) for name, member in value.items()}
    if isinstance(value, list):
        return [_settled(run, member) for member in value]
    if isinstance(value, str) and (run.execution["id"] in value or _is_start(run, value)):
        return {ANY: "string"}
    return value


def _is_start(run: Run, text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text)
        return moment in (
            datetime.fromisoformat(run.execution[name]) for name in ("created_at", "started_at") if run.execution[name]
        )
    except (TypeError, ValueError):
        return False
