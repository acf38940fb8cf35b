"""What is wrong with the configuration of a built-in type that its description cannot say."""

from __future__ import annotations

from collections.abc import Iterator

from .expressions import has_expression
from .problems import Json, Path, Problem
from .schema_faults import find_schema_fault
from .strict_json import is_number

Found = Iterator[tuple[Path, Problem]]


def find_quorum_problems(config: Json, path: Path) -> Found:
    """An approval that asks fewer people than have to approve, when only people are named, and each is."""
    if not isinstance(config, dict) or "role" in config:
        return
    quorum: Json = config.get("quorum", 1)
    asked: Json = config.get("approvers")
    named = [asked] if isinstance(asked, str) else asked
    if not is_number(quorum) or not isinstance(named, list) or not named:
        return
    people = {one for one in named if isinstance(one, str) and "{{" not in one}
    if len(people) < len({str(one) for one in named}) or quorum <= len(people):
        return
    message = f"{quorum} people have to approve, and {len(people)} are asked"
    yield path, Problem("", "quorum_unreachable", message, "Name more approvers, a role, or a smaller quorum.")


def find_answer_schema_problems(schema: Json, path: Path) -> Found:
    """A schema of answers that is none. Of one that expressions make, nothing is known here."""
    if not isinstance(schema, dict) or _is_made(schema):
        return
    fault = find_schema_fault(schema)
    if fault is not None:
        message = fault.replace("config_schema", "schema", 1)
        yield path, Problem("", "schema_invalid", message, "Write JSON Schema: {type: object, properties: {...}}.")


def _is_made(value: Json) -> bool:
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str) and has_expression(one):
            return True
        todo.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
    return False
