"""What a schema cannot say of cases: that the workflows, steps, branches and answers that they name are there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgres_cli.testing.matching import find_matcher_fault
from flowgres_cli.testing.network import is_base64
from flowgres_definitions.form import form_definition
from flowgres_definitions.graph import branches_of
from flowgres_definitions.problems import Path, Problem, did_you_mean
from flowgres_definitions.sections import list_sections

Json = Any
Found = Iterator[tuple[Path, Problem]]
COMPENSATION = ".compensate"
_BRANCHING = frozenset({"condition", "switch"})
# These decide the way through the graph; what they decide by can be mocked.
UNMOCKABLE = _BRANCHING | {"stop"}
_HTTP_KEYS = ("status", "headers", "body", "body_encoding")
_ITEM = re.compile(r"(.+)\[([0-9]+)\]")


@dataclass(frozen=True, slots=True)
class Workflows:
    """The steps of the workflows that a file names: by workflow, then by step. `main` is the one under test."""

    main: str
    steps: Mapping[str, Mapping[str, Mapping[str, Json]]]

    @classmethod
    def of(cls, workflow: Mapping[str, Json], others: Sequence[Mapping[str, Json]]) -> Workflows:
        """Of definitions in our words."""
        return cls(workflow["name"], {one["name"]: steps_of(one) for one in (workflow, *others)})


def split_item(name: str) -> tuple[str, int | None]:
    """A step, and the number of an item of it: reserve[3]."""
    found = _ITEM.fullmatch(name)
    return (name, None) if found is None else (found[1], int(found[2]))


def find_problems(formed: Mapping[str, Json], known: Workflows) -> Found:
    """Problems of a file that its schema finds nothing wrong with."""
    yield from _check_mocks(formed.get("mocks", ()), known, ("mocks",))
    names: dict[str, int] = {}
    for number, case in enumerate(formed["cases"]):
        path: Path = ("cases", number)
        first = names.setdefault(case["name"], number)
        if first != number:
            message = f"the name is that of cases[{first}] already"
            yield (*path, "name"), Problem("", "duplicate_case", message, "Names are how cases are chosen and told of.")
        yield from _check_mocks(case.get("mocks", ()), known, (*path, "mocks"))
        yield from _check_expect(case.get("expect", {}), known, (*path, "expect"))


def steps_of(document: Mapping[str, Json]) -> dict[str, Mapping[str, Json]]:
    """All steps of a definition by name, in their canonical form; a compensation is called step.compensate."""
    formed = form_definition(dict(document), {})
    steps: dict[str, Mapping[str, Json]] = {}
    for at in list_sections(formed):
        if at.section == "compensate":
            steps[f"{formed['steps'][at.number]['id']}{COMPENSATION}"] = {**at.step, "foreach": at.is_each or None}
        else:
            steps[at.step["id"]] = at.step
    return steps


def _check_mocks(mocks: Sequence[Mapping[str, Json]], known: Workflows, path: Path) -> Found:
    for number, mock in enumerate(mocks):
        yield from _check_mock(mock, known, (*path, number))


def _check_mock(mock: Mapping[str, Json], known: Workflows, path: Path) -> Found:
    workflow = mock.get("workflow", known.main)
    if workflow not in known.steps:
        yield (*path, "workflow"), _unknown_workflow(workflow, known)
        return
    steps, name = known.steps[workflow], mock.get("step")
    answers = [((*path, "answers", place), one) for place, one in enumerate(mock.get("answers", ()))] or [(path, mock)]
    if name is not None and name not in steps:
        yield (*path, "step"), _unknown_step(name, steps, known, workflow)
        return
    kind = None if name is None else steps[name].get("type")
    if kind in UNMOCKABLE:
        hint = "Mock the steps that it looks at, or choose the input."
        yield (*path, "step"), Problem("", "step_not_mockable", f"a step of the type {kind} decides for itself", hint)
    for below, answer in answers:
        yield from _check_answer(answer, mock, kind, below)
    when = mock.get("when", {})
    if "json" in when and "url" not in mock:
        hint = "Give `url` as well, or compare `config`."
        yield (*path, "when", "json"), Problem("", "url_missing", "only requests have a body", hint)
    for key in ("item", "item_index"):
        if key in when and name is not None and not steps[name].get("foreach"):
            message = f'the step "{name}" has no items'
            yield (*path, "when", key), Problem("", "not_iterated", message, "Only steps with `foreach` have them.")


def _check_answer(answer: Mapping[str, Json], mock: Mapping[str, Json], kind: str | None, path: Path) -> Found:
    if "output" in answer and "url" in mock:
        hint = "Give `body`, or leave out `url`."
        yield (*path, "output"), Problem("", "output_of_url", "a request is answered with a body, no output", hint)
    is_of_http = next((key for key in _HTTP_KEYS if key in answer), None)
    # A step type of a package may send requests as well.
    if is_of_http is not None and kind is not None and kind in _core_types() - {"http"}:
        message = f"a step of the type {kind} gets no answer of HTTP"
        yield (*path, is_of_http), Problem("", "answer_of_http", message, "Give its `output` or `error`.")
    if "body_encoding" in answer and not is_base64(answer.get("body")):
        yield (*path, "body_encoding"), Problem("", "invalid_value", "the body is no base64")
    if "answers" not in answer and not answer.keys() & {"output", "error", "takes", *_HTTP_KEYS}:
        hint = "Give `output`, `error`, or `status` and `body`."
        yield path, Problem("", "answer_missing", "this mock answers nothing", hint)


def _check_expect(expect: Mapping[str, Json], known: Workflows, path: Path) -> Found:
    steps = known.steps[known.main]
    for name in expect.get("steps", {}):
        step, item = split_item(name)
        if step not in steps:
            yield (*path, "steps", name), _unknown_step(step, steps, known, known.main)
        elif item is not None and not steps[step].get("foreach"):
            message = f'the step "{step}" has no items'
            yield (*path, "steps", name), Problem("", "not_iterated", message, "Only steps with `foreach` have them.")
    for name, branch in expect.get("branches", {}).items():
        yield from _check_branch(name, branch, steps, known, (*path, "branches", name))
    step = expect.get("error", {}).get("step")
    if step is not None and split_item(step)[0] not in steps:
        yield (*path, "error", "step"), _unknown_step(step, steps, known, known.main)
    for number, request in enumerate(expect.get("requests", ())):
        workflow = request.get("workflow", known.main)
        if workflow not in known.steps:
            yield (*path, "requests", number, "workflow"), _unknown_workflow(workflow, known)
        elif "step" in request and request["step"] not in known.steps[workflow]:
            problem = _unknown_step(request["step"], known.steps[workflow], known, workflow)
            yield (*path, "requests", number, "step"), problem
    fault = find_matcher_fault(dict(expect))
    if fault is not None:
        yield (*path, *fault[0]), Problem("", "matcher_invalid", fault[1])
    if expect.get("status") == "refused" and expect.keys() - {"status", "error"}:
        message = "what does not start has nothing but an error"
        yield (*path, "status"), Problem("", "nothing_started", message, "Expect `status` and `error` alone.")


def _check_branch(
    name: str, branch: Json, steps: Mapping[str, Mapping[str, Json]], known: Workflows, path: Path
) -> Found:
    if name not in steps:
        yield path, _unknown_step(name, steps, known, known.main)
        return
    kind = steps[name].get("type")
    if kind not in _BRANCHING:
        yield (
            path,
            Problem(
                "",
                "no_branches",
                f"steps of the type {kind} have no branches",
                "Only conditions and switches have them.",
            ),
        )
        return
    names = branch_names(steps[name])
    if branch_name(branch) not in names:
        yield path, Problem("", "unknown_branch", f'"{branch_name(branch)[:60]}" is no branch of it', _one_of(names))


def branch_names(step: Mapping[str, Json]) -> list[str]:
    """The branches of a step: of a condition, of a switch, or none."""
    if step.get("type") == "condition":
        return ["true", "false"]
    if step.get("type") != "switch":
        return []
    return [*(f"case {number}" for number in range(1, len(branches_of(step)))), "default"]


def branch_name(branch: Json) -> str:
    """What a branch is called: YAML has true and false as booleans."""
    return str(branch).lower() if isinstance(branch, bool) else str(branch)


def _one_of(names: Sequence[str]) -> str:
    return f"One of: {', '.join(names)}."


def _unknown_workflow(name: str, known: Workflows) -> Problem:
    message = f'no workflow here has the name "{name[:60]}"'
    return Problem("", "unknown_workflow", message, did_you_mean(name, known.steps))


def _unknown_step(name: str, steps: Mapping[str, Json], known: Workflows, workflow: str) -> Problem:
    elsewhere = next((other for other, its in known.steps.items() if name in its and other != workflow), None)
    hint = did_you_mean(name, steps) if elsewhere is None else f"It is one of {elsewhere}: say `workflow: {elsewhere}`."
    return Problem("", "unknown_step", f'the workflow "{workflow}" has no step "{name[:60]}"', hint)


def _core_types() -> frozenset[str]:
    from flowgres_definitions.description import core_step_types

    return core_step_types()
