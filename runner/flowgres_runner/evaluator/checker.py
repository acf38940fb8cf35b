"""The process that checks definitions: it parses what a stranger wrote under resource limits, and evaluates nothing.

From the parent comes {"definition": a canonical definition, "step_types": those of packages by name}; to it goes one
result, the list of its errors.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from typing import Any, NoReturn

from flowgres_definitions.checks import check_definition as find_definition_problems
from flowgres_definitions.custom_types import CustomType
from flowgres_definitions.problems import place

from .confinement import TimeIsUpError, confine, extend_cpu_limit, limit_cpu_time
from .frames import READY, Frame, receive, send, send_results

MAX_ERRORS = 200
"""As many as the check in SQL tells: they are stored with the version."""
MAX_FILES = 16
"""Time zones are files."""

Json = Any


def main(arguments: list[str]) -> NoReturn:
    """Serve until the parent closes the socket."""
    cpu_seconds, memory_bytes = float(arguments[0]), int(arguments[1])
    os.nice(int(arguments[3]))
    _warm_up()
    confine(memory_bytes, files=MAX_FILES)
    send(READY)
    while True:
        question = receive()
        if question is None:
            os._exit(0)
        extend_cpu_limit(cpu_seconds)
        send_results([json.dumps(_check(question, cpu_seconds))], [])


def check_definition(definition: Json, step_types: Json = None) -> list[Json]:
    """Errors of a canonical definition as {path, code, message}, the first MAX_ERRORS; none when it may run.

    A definition that breaks the check itself is refused like a wrong one: unanswered, it would be asked about for ever,
    and the version before it stays active.
    """
    try:
        types = {name: CustomType.from_json(name, value) for name, value in (step_types or {}).items()}
        found = find_definition_problems(definition, custom_types=types)
        errors = [place(problem, path, None).as_json() for path, problem in islice(found, MAX_ERRORS)]
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        return [
            _refusal("check_failed", f"the expressions of this definition cannot be checked ({type(error).__name__})")
        ]
    return errors


def _check(text: Frame, cpu_seconds: float) -> list[Json]:
    try:
        try:
            limit_cpu_time(cpu_seconds)
            question = json.loads(text)
            return check_definition(question["definition"], question["step_types"])
        finally:
            limit_cpu_time(0)
    except TimeIsUpError:
        return [_refusal("check_limit", f"checking its expressions takes more than {cpu_seconds:g} s")]
    except (MemoryError, RecursionError):
        return [_refusal("check_limit", "checking its expressions takes too much memory")]
    except ValueError:
        return [_refusal("check_failed", "the definition holds a number that is too long")]


def _refusal(code: str, message: str) -> Json:
    return {"path": "", "code": code, "message": message}


def _warm_up() -> None:
    """Load every lazily imported module."""
    cron = {"type": "cron", "cron": "0 5 * * *", "timezone": "Europe/Paris"}
    step = {"id": "a", "type": "log", "config": {"message": "{{ input.x | upper }} {{ input. }}"}}
    custom = {"type": "warm_up", "id": "b", "config": {"text": "{{ input.x }}", "n": 1}}
    schema = {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["m"]}
    check_definition({"name": "w", "steps": [step, custom], "triggers": [cron]}, {"warm_up": {"config_schema": schema}})


if __name__ == "__main__":
    main(sys.argv[1:])
