"""Everything that can be told about a definition without a server, all at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from .checks import find_problems
from .config_checks import find_quorum_problems
from .custom_types import CustomTypes, by_name, find_config_problems
from .description import core_step_types, description, resolve_schema
from .dialects import translate
from .form import form_definition
from .graph import Graph, build_graph
from .inputs import find_default_problems
from .language import MAX_STEPS
from .machines import find_machine_errors, find_machine_warnings, is_machine
from .problems import Json, Path, Positions, Problem, did_you_mean, place
from .schema import MAX_PROBLEMS, OTHER_WORDS, Found, broken_rule, check_value
from .sections import Place, find_section_problems, list_sections

_TOO_MANY: Final = "Move a part into a sub_workflow, or ask an operator to raise max_steps_per_workflow."
_JOINS: Final = frozenset({"all", "any", "failed"})


def validate_document(
    document: Json,
    positions: Positions | None = None,
    *,
    custom_types: Collection[str] | CustomTypes = (),
    max_steps: int = MAX_STEPS,
) -> list[Problem]:
    """Problems of a loaded document, in the order of its text; it is valid when none of them is an error.

    `custom_types` are step types beside the built-in ones that runners are known to serve, with what their
    configuration may be. The server checks again (and what only it knows: sub-workflows, stored secrets, its limits).
    """
    if not isinstance(document, dict):
        problem = Problem("", "wrong_kind", "a definition is an object", "Begin with name, then steps or states.")
        return [place(problem, (), positions)]
    translation = translate(document)
    found = find_all(translation.document, custom_types=by_name(custom_types), max_steps=max_steps)
    placed = [translation.place(problem, path, positions) for path, problem in found]
    placed += [place(problem, path, positions) for path, problem in translation.warnings[:MAX_PROBLEMS]]
    return sorted(placed, key=lambda problem: (problem.line, problem.column))[:MAX_PROBLEMS]


def find_all(document: dict[str, Json], *, custom_types: CustomTypes, max_steps: int = MAX_STEPS) -> Found:
    """The same of a document in our words, with paths of the canonical form: what SQL says, and of expressions more."""
    if is_machine(document):
        return _find_in_machine(document)
    steps = document.get("steps")
    if isinstance(steps, list) and len(steps) > max_steps:
        # Too long to look at every step, but a wrong graph is told all the same: its check is linear.
        graph = build_graph(steps)
        first = str(graph.ids[max_steps] or "")[:60]
        message = f'{len(steps)} steps are more than the {max_steps} of one workflow; "{first}" is the first too many'
        return [(("steps", max_steps), Problem("", "too_many_steps", message, _TOO_MANY)), *graph.problems]
    late = document.get("on_failure")
    if isinstance(late, list) and len(late) > max_steps:
        message = f"{len(late)} steps are more than the {max_steps} of one workflow"
        return [(("on_failure", max_steps), Problem("", "too_many_steps", message, _TOO_MANY))]
    schema = description()
    formed = form_definition(document, {})
    steps = formed.get("steps")
    graph = build_graph(steps if isinstance(steps, list) else [])
    found = check_value(formed, schema, schema)
    found.extend(find_default_problems(formed.get("inputs"), found))
    for at in list_sections(formed):
        found.extend(_check_step(at, graph, custom_types))
    found.extend(graph.problems)
    found.extend(find_section_problems(formed, graph))
    found.extend(find_problems(formed, graph, custom_types))
    return _distinct(found)


def _find_in_machine(document: dict[str, Json]) -> Found:
    schema = description()
    if document.get("steps") is not None:
        key = "states" if document.get("states") is not None else "transitions"
        rule = resolve_schema(schema["then"]["properties"]["steps"]["not"], schema)
        return [((key,), broken_rule(rule, "conflicting_keys", ""))]
    formed = form_definition(document, {})
    found = _distinct([*check_value(formed, schema, schema), *find_machine_errors(formed)])
    return found or list(find_machine_warnings(formed))[:MAX_PROBLEMS]


def _distinct(found: Found) -> Found:
    """Problems in their order; two that say the same code of the same place are one."""
    known: dict[tuple[Path, str], tuple[Path, Problem]] = {}
    for path, problem in found:
        known.setdefault((path, problem.code), (path, problem))
    return list(known.values())


def _check_step(at: Place, graph: Graph, custom_types: CustomTypes) -> Iterator[tuple[Path, Problem]]:
    """What the description cannot say of a step: what its place makes of its join, and who serves its type."""
    step, path = at.step, at.path
    join, kind = step.get("join"), step.get("type")
    joins = (isinstance(join, str) and join in _JOINS) or (isinstance(join, dict) and "at_least" in join)
    if at.section == "steps" and joins and not graph.parents[at.number] and step.get("depends_on") in (None, []):
        message = f'"{str(step.get("id"))[:60]}" waits for nothing, so it has nothing to join'
        yield (*path, "join"), Problem("", "join_without_dependencies", message, "Name the steps in depends_on.")
    if kind == "approval":
        yield from find_quorum_problems(step.get("config"), (*path, "config", "quorum"))
    if not isinstance(kind, str) or kind in core_step_types():
        return
    if kind not in custom_types:
        known = core_step_types() | custom_types.keys()
        ours = description()["$defs"]["step"]["properties"]["type"]["x-aliases"].get(kind)
        hint = did_you_mean(kind, known) if ours is None else OTHER_WORDS.format(ours)
        yield (*path, "type"), Problem("", "unknown_step_type", f'no runner serves the step type "{kind[:60]}"', hint)
        return
    config = step.get("config")
    if isinstance(config, dict):
        for below, problem in find_config_problems(custom_types[kind].config_schema, config):
            yield (*path, "config", *below), problem
