"""What a schema cannot say about a canonical definition: what belongs together, and names within triggers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .durations import parse_moment
from .graph import Graph, names_in
from .language import (
    CORE_STEP_TYPES,
    HEADER_NAME,
    IDENTIFIER,
    NEVER_RETRIED,
    RESERVED_NAMES,
    RETRY_CLASSES,
    SECRET_NAME,
    STATUS,
    TRIGGER_SHORTHANDS,
    WEBHOOK_PATH,
)
from .problems import Json, Path, Problem, is_one_of

Found = Iterator[tuple[Path, Problem]]
_CONTROL = re.compile(r"[\x01-\x08\x0a-\x1f\x7f]")


def find_structure_problems(document: dict[str, Json], graph: Graph) -> Found:
    """Problems of triggers and of how the members of a step go together."""
    yield from _check_triggers(document)
    defaults = document.get("defaults")
    if isinstance(defaults, dict):
        yield from _check_retry(defaults, ("defaults",), is_core=True)
    steps = document.get("steps")
    for number, step in enumerate(steps if isinstance(steps, list) else ()):
        if not isinstance(step, dict):
            continue
        if step.get("join") in ("all", "any", "failed") and not (
            graph.parents[number] or names_in(step.get("depends_on"))
        ):
            message = f"{str(step.get('id'))[:60]!r} waits for nothing, so it has nothing to join"
            yield (
                ("steps", number, "join"),
                _problem("join_without_dependencies", message, "name the steps in depends_on"),
            )
        kind = step.get("type")
        yield from _check_retry(step, ("steps", number), is_core=not isinstance(kind, str) or kind in CORE_STEP_TYPES)
        config = step.get("config")
        until = config.get("until") if kind == "delay" and isinstance(config, dict) else None
        if isinstance(until, str) and until and "{{" not in until and parse_moment(until) is None:
            hint = "a time with its zone: 2027-01-31T12:00:00Z"
            yield ("steps", number, "config", "until"), _problem("invalid_text", f"{until[:60]!r} is no time", hint)
        if kind == "http" and isinstance(config, dict):
            yield from _check_headers(config.get("headers"), ("steps", number, "config", "headers"))


def _check_retry(members: dict[str, Json], path: Path, *, is_core: bool) -> Found:
    """Errors that nothing ever ends with: naming only these would switch retries off without a word."""
    retry = members.get("retry")
    errors = retry.get("errors") if isinstance(retry, dict) else None
    for index, word in enumerate(errors if isinstance(errors, list) else ()):
        if not isinstance(word, str) or STATUS.fullmatch(word) or word in RETRY_CLASSES:
            continue
        place: Path = (*path, "retry", "errors", index)
        if word in NEVER_RETRIED:
            hint = "the same definition and the same data fail the same way again"
            yield (
                place,
                _problem("retry_impossible", f"an error of the class {word!r} is never tried again", hint),
            )
        elif is_core or not IDENTIFIER.fullmatch(word):
            hint = f"a status such as 503, a class of them such as 5xx, or one of: {', '.join(sorted(RETRY_CLASSES))}"
            yield place, _problem("unknown_word", f"no error has the class {word[:60]!r}", hint)


def _check_triggers(document: dict[str, Json]) -> Found:
    if is_one_of(document.get("trigger_type"), TRIGGER_SHORTHANDS):
        # Left over because `triggers` say something else.
        message = "no trigger in 'triggers' is of this type"
        yield ("trigger_type",), _problem("conflicting_keys", message, "remove one of the two")
    if "cron_expression" in document:
        message = "the schedule belongs to one of the triggers"
        yield ("cron_expression",), _problem("unknown_key", message, "write it as cron in triggers")
    triggers = document.get("triggers")
    for index, trigger in enumerate(triggers if isinstance(triggers, list) else ()):
        if not isinstance(trigger, dict) or trigger.get("type") != "webhook":
            continue
        path, secret = trigger.get("path"), trigger.get("secret")
        if isinstance(path, str) and path in RESERVED_NAMES:
            yield ("triggers", index, "path"), _problem("reserved_name", f"{path!r} is a reserved word")
        elif isinstance(path, str) and not WEBHOOK_PATH.fullmatch(path):
            hint = "a letter, then letters, digits, _ and -, 63 at most"
            yield ("triggers", index, "path"), _problem("invalid_name", f"{path[:60]!r} is not a name", hint)
        if isinstance(secret, str) and not SECRET_NAME.fullmatch(secret):
            message = "a secret cannot be given here in plain text"
            yield (
                ("triggers", index, "secret"),
                _problem("inline_secret", message, "store it (PUT /secrets/NAME) and name it"),
            )


def _check_headers(headers: Json, path: Path) -> Found:
    for name, value in headers.items() if isinstance(headers, dict) else ():
        if not HEADER_NAME.fullmatch(name) or (isinstance(value, str) and _CONTROL.search(value)):
            message = "the name or the value of this header has characters that HTTP does not allow"
            yield (*path, name), _problem("header_invalid", message)


def _problem(code: str, message: str, hint: str = "") -> Problem:
    return Problem(path="", code=code, message=message, hint=hint)
