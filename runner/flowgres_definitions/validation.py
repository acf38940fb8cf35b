"""Everything that can be told about a definition without a server, all at once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Final

from .canonical import canonicalise
from .checks import find_problems
from .custom_types import CustomTypes, by_name
from .graph import build_graph
from .inputs import find_input_problems
from .language import CORE_STEP_TYPES, IDENTIFIER, MAX_STEPS, RESERVED_NAMES, WORKFLOW_NAME
from .problems import Json, Path, Positions, Problem, did_you_mean, is_one_of, place
from .schema import MAX_PROBLEMS, find_schema_problems
from .structure import find_structure_problems

_LATER_TYPES: Final = frozenset({"approval", "llm", "sql", "switch", "transition", "wait"})
_LATER_KEYS: Final = frozenset({"on_failure", "dialect"})
_LATER_STEP_KEYS: Final = frozenset({"foreach", "repeat", "on_timeout", "compensate"})
_LATER_SETTINGS: Final = ("concurrency", "max_retries", "retention")
_LATER_TRIGGERS: Final = frozenset({"table", "event"})


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
    known_types = by_name(custom_types)
    if not isinstance(document, dict):
        return [place(_problem("wrong_kind", "a definition is a mapping", "begin with name and steps"), (), positions)]
    if "states" in document and "steps" in document:
        problem = _problem("conflicting_keys", "a definition has either steps or states")
        return [place(problem, ("states",), positions)]
    for key in ("states", "transitions"):
        if document.get(key) is not None:
            return [place(_later("a state machine"), (key,), positions)]
    canonical = canonicalise(document)
    found: list[tuple[Path, Problem]] = []
    steps = canonical.document.get("steps")
    graph = build_graph(steps if isinstance(steps, list) else [])
    if len(graph.ids) > max_steps:
        # Too long to look at every step, but a wrong graph is told all the same: its check is linear.
        first = str(graph.ids[max_steps])[:60]
        message = (
            f"{len(graph.ids)} steps are more than the {max_steps} of one workflow; {first!r} is the first too many"
        )
        found.append((("steps", max_steps), _problem("too_many_steps", message, "move a part into a sub_workflow")))
        found.extend(graph.problems[:MAX_PROBLEMS])
    else:
        later = list(_find_later(canonical.document))
        hidden = {path for path, _ in later}
        schema_problems = find_schema_problems(canonical.document)
        later.extend(_check_names(canonical.document))
        later.extend(find_structure_problems(canonical.document, graph))
        hidden |= {("name",)} & {path for path, _ in later}
        found.extend(item for item in schema_problems if not _is_covered(item[0], hidden))
        found.extend(later)
        found.extend(find_input_problems(canonical.document.get("inputs"), _sound_inputs(schema_problems)))
        found.extend(_check_types(canonical.document, known_types))
        found.extend(graph.problems)
        found.extend(find_problems(canonical.document, graph, known_types))
    placed = dict.fromkeys(canonical.place(problem, path, positions) for path, problem in found)
    placed |= dict.fromkeys(
        canonical.place_origin(problem, path, positions) for path, problem in canonical.warnings[:MAX_PROBLEMS]
    )
    return sorted(placed, key=lambda problem: (problem.line, problem.column))[:MAX_PROBLEMS]


def _problem(code: str, message: str, hint: str = "") -> Problem:
    return Problem(path="", code=code, message=message, hint=hint)


def _is_covered(path: Path, hidden: set[Path]) -> bool:
    """Schema errors about what is not available yet would say less than that."""
    return any(path[: len(covered)] == covered for covered in hidden)


def _sound_inputs(schema_problems: list[tuple[Path, Problem]]) -> dict[str, bool]:
    return {str(path[1]): False for path, _ in schema_problems if path[0:1] == ("inputs",) and len(path) > 1}


def _later(what: str) -> Problem:
    hint = "remove it: it would be ignored, and that is worse than being refused"
    return _problem("not_available_yet", f"{what} is not available yet", hint)


def _find_later(document: dict[str, Json]) -> list[tuple[Path, Problem]]:
    """Documented features that this version does not carry out."""
    found: list[tuple[Path, Problem]] = [
        ((key,), _later(repr(key))) for key in sorted(_LATER_KEYS.intersection(document))
    ]
    settings: Json = document.get("settings")
    for key in _LATER_SETTINGS if isinstance(settings, dict) else ():
        value = settings.get(key)
        if value is not None and (value != 0 or isinstance(value, bool)):
            found.append((("settings", key), _later(f"the setting {key!r}")))
    for index, step in enumerate(_mappings(document.get("steps"))):
        for key in sorted(_LATER_STEP_KEYS.intersection(step)):
            found.append((("steps", index, key), _later(repr(key))))
        if is_one_of(step.get("type"), _LATER_TYPES):
            found.append((("steps", index, "type"), _later(f"the step type {step['type']!r}")))
        for key in ("on_true", "on_false") if step.get("type") == "condition" else ():
            if isinstance(step.get("config"), dict) and isinstance(step["config"].get(key), dict):
                found.append((("steps", index, "config", key), _later("an output for a branch")))
    for index, trigger in enumerate(_mappings(document.get("triggers"))):
        if is_one_of(trigger.get("type"), _LATER_TRIGGERS):
            found.append((("triggers", index, "type"), _later(f"the trigger {trigger['type']!r}")))
    return found


def _mappings(value: Json) -> list[dict[str, Json]]:
    """The members of a list, with {} for those that are no mappings."""
    return [member if isinstance(member, dict) else {} for member in value] if isinstance(value, list) else []


def _check_types(document: dict[str, Json], custom_types: Collection[str]) -> list[tuple[Path, Problem]]:
    known = CORE_STEP_TYPES.union(custom_types)
    found: list[tuple[Path, Problem]] = []
    for index, step in enumerate(_mappings(document.get("steps"))):
        kind = step.get("type")
        if isinstance(kind, str) and kind not in known | _LATER_TYPES:
            message = f"no built-in step type is called {kind[:60]!r}"
            found.append((("steps", index, "type"), _problem("unknown_step_type", message, did_you_mean(kind, known))))
    return found


def _check_names(document: dict[str, Json]) -> list[tuple[Path, Problem]]:
    found: list[tuple[Path, Problem]] = []
    name = document.get("name")
    if name is None:
        found.append((("name",), _problem("missing_key", "'name' is missing")))
    elif isinstance(name, str):
        problem = _check_workflow_name(name)
        if problem is not None:
            found.append((("name",), problem))
    title = document.get("title")
    if isinstance(title, str) and not is_printable(title):
        found.append((("title",), _problem("invalid_text", "the title has invisible characters or none at all")))
    for index, step in enumerate(_mappings(document.get("steps"))):
        if is_one_of(step.get("id"), RESERVED_NAMES):
            path: Path = ("steps", index, "id")
            found.append((path, _problem("reserved_name", f"{step['id']!r} is a reserved word", "choose another name")))
    return found


def _check_workflow_name(name: str) -> Problem | None:
    if name in RESERVED_NAMES:
        return _problem("reserved_name", f"{name!r} is a reserved word", "choose another name")
    if WORKFLOW_NAME.fullmatch(name) or is_display_name(name):
        return None
    hint = "a lower-case letter, then letters, digits, _ and -, 63 at most; or a title such as Order Pipeline"
    return _problem("invalid_name", f"{name[:60]!r} is not a name", hint)


def is_step_id(name: str) -> bool:
    """Whether a step may have this id."""
    return IDENTIFIER.fullmatch(name) is not None and name not in RESERVED_NAMES


def is_printable(text: str) -> bool:
    """No control, bidirectional or invisible characters, and not blank."""
    return bool(text.strip()) and not any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") for char in text)


def is_display_name(name: str) -> bool:
    """A name for people: it begins like a title or has words. `order.pipeline` is a mistyped identifier."""
    if len(name) > 200 or not is_printable(name) or re.search(r'[<>;"*%$\\{}|^`]', name):
        return False
    return re.match(r"[A-Z0-9]", name) is not None or ord(name[0]) > 127 or re.search(r"\S \S", name) is not None
