"""`dialect: braces`: definitions of a system that writes `{step.field}`, here `{{ steps.step.output.field }}`.

Read at the edge, as all words of other systems. `{trigger.x}` and `{input.x}` lead into what started the execution.
What stands in double braces is an expression already, and what looks like no path (`{"a": 1}`, `{name}`) is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import Final

from .language import CONTEXT_NAMES, PLACED_NAMES
from .problems import Json

DIALECT: Final = "braces"
_PATH: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\.[0-9]+|\[[0-9]+\])*"
_EXPRESSION: Final = r"\{\{.*?\}\}"
_IN_TEXT: Final = re.compile(rf"{_EXPRESSION}|\{{({_PATH})\}}", re.DOTALL | re.ASCII)
# In a question about a value quotes around a reference only kept a text together.
_IN_QUESTION: Final = re.compile(rf"(['\"]?)\{{({_PATH})\}}\1", re.ASCII)
_INDEX: Final = re.compile(r"\.([0-9]+)")
_SECTIONS: Final = ("steps", "on_failure", "outputs")
_NAMES: Final = CONTEXT_NAMES | PLACED_NAMES.keys()


def read_braces(document: dict[str, Json]) -> None:
    """Put our expressions in the place of theirs, in the sections of a document that have some."""
    steps = document.get("steps")
    listed = steps if isinstance(steps, list) else []
    ids = {str(step.get("id", step.get("name"))) for step in listed if isinstance(step, dict)}
    for section in _SECTIONS:
        given = document.get(section)
        if isinstance(given, list):
            document[section] = [_step(step, ids) for step in given]
        elif given is not None:
            document[section] = _texts(given, lambda text: _text(text, ids))


def _step(step: Json, ids: Set[str]) -> Json:
    if not isinstance(step, dict):
        return step
    is_question = step.get("type", step.get("task_type")) in ("condition", "conditional")

    def member(key: str, value: Json) -> Json:
        if isinstance(value, str) and key in ("when", "until", *(("expression", "condition") if is_question else ())):
            return _question(value, ids)
        if isinstance(value, str) and is_question and key == "field":
            return _field(value, ids)
        if isinstance(value, dict) and key in ("config", "condition", "repeat"):
            return {name: member(name, one) for name, one in value.items()}
        return _texts(value, lambda text: _text(text, ids))

    return {key: member(key, value) for key, value in step.items()}


def _texts(value: Json, read: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return read(value)
    if isinstance(value, list):
        return [_texts(one, read) for one in value]
    return {key: _texts(one, read) for key, one in value.items()} if isinstance(value, dict) else value


def _text(text: str, ids: Set[str]) -> str:
    def ours(match: re.Match[str]) -> str:
        meant = _reference(match[1], ids) if match[1] else None
        return match[0] if meant is None else f"{{{{ {meant} }}}}"

    return _IN_TEXT.sub(ours, text)


def _question(text: str, ids: Set[str]) -> str:
    """`'{triage.priority}' == 'high'` is one expression."""
    if "{{" in text:
        return text
    question, count = _IN_QUESTION.subn(lambda match: _reference(match[2], ids) or match[0], text)
    return f"{{{{ {question} }}}}" if count and question != text else text


def _field(path: str, ids: Set[str]) -> str:
    """What a comparison looks up: a path without braces. Without a step at its beginning it leads into the input."""
    bare = path[1:-1] if path.startswith("{") and path.endswith("}") else path
    is_known = re.split(r"[.\[]", bare)[0] in (*ids, "trigger") and re.fullmatch(_PATH, bare, re.ASCII)
    return _reference(bare, ids) or bare if is_known else bare


def _reference(path: str, ids: Set[str]) -> str | None:
    """Our path for theirs; None where it is none."""
    root, rest = re.match(r"(\w+)(.*)", path, re.DOTALL | re.ASCII).groups()  # type: ignore[union-attr]  # it is a path
    rest = _INDEX.sub(r"[\1]", rest)
    if root == "trigger":
        return f"trigger.payload{rest}"
    if root in _NAMES:
        return f"{root}{rest}"
    # A step that there is not is one for the checks to name.
    return f"steps.{root}.output{rest}" if rest or root in ids else None
