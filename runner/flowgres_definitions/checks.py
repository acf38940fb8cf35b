"""Every expression of a definition in its place: syntax, names, references, secrets. Nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace

from .config_checks import find_answer_schema_problems
from .cron import check_cron
from .custom_types import CustomType, CustomTypes
from .description import core_step_types, secret_places
from .expressions import NO_BODY, ExpressionError, find_references, has_expression, parse_expression
from .graph import Graph, build_graph
from .inputs import closed_inputs, find_unknown_inputs, unknown_input
from .problems import Json, Path, Problem, did_you_mean
from .sections import Place, late_numbers, list_sections

Found = Iterator[tuple[Path, Problem]]


NO_TYPES: CustomTypes = {}


@dataclass(frozen=True, slots=True)
class _Known:
    """What a definition may refer to: steps, the inputs where no others can be sent, and the types of packages.

    In what runs after a failure also `late`: steps of on_failure by number, those before `before`.
    """

    graph: Graph
    inputs: Set[str] | None
    custom_types: CustomTypes
    late: Mapping[str, int] = field(default_factory=dict)
    before: int | None = None
    is_late: bool = False


def check_definition(document: dict[str, Json], *, custom_types: CustomTypes = NO_TYPES) -> Found:
    """Problems of the expressions and cron of a definition in canonical form, whatever else is wrong with it.

    This is what SQL leaves to be confirmed: structure, names and graph are checked there.
    """
    steps = document.get("steps")
    graph = build_graph(steps if isinstance(steps, list) else [])
    return find_problems(document, graph, custom_types)


def find_problems(document: dict[str, Json], graph: Graph, custom_types: CustomTypes = NO_TYPES) -> Found:
    """The same, with paths as tuples, for a canonical document and its graph."""
    known = _Known(graph, closed_inputs(document), custom_types)
    late = late_numbers(document)
    yield from _check_triggers(document)
    yield from find_unknown_inputs(document)
    ancestors = graph.ancestors() if graph.is_sorted else None
    for at in list_sections(document):
        if at.section == "steps":
            above = None if ancestors is None else ancestors[at.number]
            yield from _check_step(at, known, above)
        else:
            # When these run, all others have ended.
            before = at.number if at.section == "on_failure" else None
            yield from _check_step(at, replace(known, late=late, before=before, is_late=True), None)
    yield from _check_texts(document.get("outputs"), ("outputs",), known, None, frozenset(), secrets_allowed=False)


def _check_step(at: Place, known: _Known, ancestors: int | None) -> Found:
    step, path = at.step, at.path
    config = step.get("config")
    kind = step.get("type")
    places: Collection[str] | None = None
    if isinstance(kind, str):
        # Of a type that is not known here nothing more is told than that.
        is_core = kind in core_step_types()
        places = secret_places(kind) if is_core else known.custom_types.get(kind, CustomType(kind)).secret_places
    shared: frozenset[str] = frozenset({"error"}) if known.is_late else frozenset()
    names = shared | {"item", "item_index"} if at.is_each else shared
    if "repeat" in step:
        names = names | {"previous", "round"}
    sent = names | {"callback"} if kind == "http" and isinstance(config, dict) and "callback" in config else names
    foreach = step.get("foreach")
    items = foreach.get("items") if isinstance(foreach, dict) else None
    yield from _check_texts(
        items, (*path, "foreach", "items"), known, ancestors, shared, secrets_allowed=False, step=step
    )
    if kind == "llm" and isinstance(config, dict):
        yield from find_answer_schema_problems(config.get("schema"), (*path, "config", "schema"))
    for key, value in config.items() if isinstance(config, dict) else ():
        allowed = places is None or key in places
        place_of = (*path, "config", key)
        if kind == "condition" and key == "expression" and isinstance(value, str):
            yield from _check_boolean(value, place_of)
        elif kind == "condition" and key in ("true_branch", "false_branch"):
            continue
        elif kind == "condition" and key == "field" and isinstance(value, str) and not has_expression(value):
            # A path, which names a step or an input without braces.
            found = re.match(r"(steps|input|trigger)\.([A-Za-z_]\w*)", value)
            if found and found[1] == "trigger" and found[2] == "body":
                yield place_of, Problem("", "expression_reference", *NO_BODY)
            if found and found[1] == "input":
                yield from _check_input(found[2], place_of, known)
            for problem in _check_reference(found[2], known, ancestors, step) if found and found[1] == "steps" else ():
                yield place_of, problem
        yield from _check_texts(value, place_of, known, ancestors, sent, secrets_allowed=allowed, step=step)
    when = step.get("when")
    if isinstance(when, str):
        yield from _check_boolean(when, (*path, "when"))
        yield from _check_texts(when, (*path, "when"), known, ancestors, shared, secrets_allowed=False, step=step)
    reshaping = names | {"output"} | ({"response"} if kind == "http" else frozenset())
    yield from _check_texts(
        step.get("output"), (*path, "output"), known, ancestors, reshaping, secrets_allowed=False, step=step
    )
    on_timeout = step.get("on_timeout")
    late_output = on_timeout.get("output") if isinstance(on_timeout, dict) else None
    at_timeout = (*path, "on_timeout", "output")
    yield from _check_texts(late_output, at_timeout, known, ancestors, names, secrets_allowed=False, step=step)
    repeat = step.get("repeat")
    until = repeat.get("until") if isinstance(repeat, dict) else None
    if isinstance(until, str):
        at_until = (*path, "repeat", "until")
        yield from _check_boolean(until, at_until)
        yield from _check_texts(until, at_until, known, ancestors, reshaping, secrets_allowed=False, step=step)


def _check_boolean(text: str, path: Path) -> Found:
    """`when` and conditions are one expression: any other text is a text, never true or false."""
    try:
        whole = has_expression(text) and parse_expression(text).whole
    except ExpressionError:
        return  # told with the other expressions
    if not whole:
        message = "this must be exactly one {{ ... }} that gives true or false"
        yield (
            path,
            Problem(path="", code="expression_not_boolean", message=message, hint="write {{ steps.a.output.n > 1 }}"),
        )


def _check_texts(
    value: Json,
    path: Path,
    known: _Known,
    ancestors: int | None,
    names: Set[str],
    *,
    secrets_allowed: bool,
    step: dict[str, Json] | None = None,
) -> Found:
    """All texts in a value. `ancestors` None: any step of the workflow may be named."""
    todo: list[tuple[Json, Path]] = [(value, path)]
    while todo:
        value, path = todo.pop()
        if isinstance(value, dict):
            todo.extend((member, (*path, key)) for key, member in value.items())
        elif isinstance(value, list):
            todo.extend((member, (*path, index)) for index, member in enumerate(value))
        elif isinstance(value, str) and has_expression(value):
            findings = find_references(value, names=names, secrets_allowed=secrets_allowed)
            for problem in findings.problems:
                yield path, problem
            for name in sorted(findings.steps):
                for problem in _check_reference(name, known, ancestors, step):
                    yield path, problem
            for name in sorted(findings.inputs):
                yield from _check_input(name, path, known)


def _check_input(name: str, path: Path, known: _Known) -> Found:
    if known.inputs is not None and name not in known.inputs:
        yield path, unknown_input(name, known.inputs)


def _check_reference(
    name: str, known: _Known, ancestors: int | None, step: dict[str, Json] | None
) -> Iterator[Problem]:
    number, late = known.graph.numbers.get(name), known.late.get(name)
    if number is None and late is not None:
        if known.before is not None and late >= known.before:
            own = str(step.get("id") if step else None)[:80]
            message = f'"{own}" runs before "{name[:60]}", so its result is not there'
            yield Problem("", "reference_not_ancestor", message, "Steps of on_failure run in list order.")
    elif number is None:
        hint = did_you_mean(name, {**known.graph.numbers, **known.late})
        yield Problem(path="", code="unknown_step", message=f'no step has the id "{name[:60]}"', hint=hint)
    elif step is not None and ancestors is not None and not ancestors >> number & 1:
        own = str(step.get("id"))[:60]
        message = f'"{own}" does not wait for "{name[:60]}", so its result may not be there'
        yield Problem(path="", code="reference_not_ancestor", message=message, hint=f'Add "{name[:60]}" to depends_on.')


def _check_triggers(document: dict[str, Json]) -> Found:
    triggers = document.get("triggers")
    paths: set[str] = set()
    for index, trigger in enumerate(triggers if isinstance(triggers, list) else ()):
        if not isinstance(trigger, dict):
            continue
        if trigger.get("type") == "webhook" and isinstance(path := trigger.get("path"), str):
            if path in paths:
                message = "another webhook has this path already"
                yield ("triggers", index, "path"), Problem("", "duplicate_path", message, "Choose another one.")
            paths.add(path)
        if trigger.get("type") != "cron":
            continue
        expression, timezone = trigger.get("cron"), trigger.get("timezone", "UTC")
        if isinstance(expression, str) and isinstance(timezone, str):
            for problem in check_cron(expression, timezone):
                yield ("triggers", index, problem.path), replace(problem, path="")
