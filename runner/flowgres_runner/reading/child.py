"""The process that reads what is large: answers, contexts, outputs, and what steps compute of such values.

It sees strangers' data, and evaluates nothing.

It comes as two frames, `marshal` of `(operation, arguments)` and the bytes; the answer is two frames as well: an object
of JSON (`error`, or what the operation says, and `ends` when this process ends after it), and bytes.
"""

from __future__ import annotations

import json
import marshal
import os
import sys
from typing import Any, NoReturn

from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator.confinement import TimeIsUpError, confine, extend_cpu_limit, limit_cpu_time
from flowgres_runner.evaluator.frames import READY, Frame, receive, send
from flowgres_runner.json_values import encode_json
from flowgres_runner.llm.answers import check_answer
from flowgres_runner.payloads.failures import BodyError
from flowgres_runner.payloads.texts import Reading, read_apart, split

from .apart import Order, bounded_text, run_apart

ENDS_AFTER_BYTES = 1 << 20
"""After one so large the process ends: what is left of it is memory that the evaluators may need next."""
_MAX_FILES = 16
"""Codecs of charsets are files, which are read when somebody declares one."""

Head = dict[str, Any]
_TOO_MUCH = ["response_too_large", "the response takes too much time or memory to read", "validation"]
_TOO_MUCH_OF_OURS = ["output_too_large", "the value takes too much time or memory to read", "validation"]


def main(arguments: list[str]) -> NoReturn:
    """Serve until the parent closes the socket."""
    cpu_seconds, memory_bytes = float(arguments[0]), int(arguments[1])
    os.nice(int(arguments[3]))
    _warm_up()
    confine(memory_bytes, files=_MAX_FILES)
    send(READY)
    while True:
        head, data = receive(), receive()
        if head is None or data is None:
            os._exit(0)
        extend_cpu_limit(cpu_seconds)
        operation, details = marshal.loads(head)  # noqa: S302  from the parent, over a private socket
        size = len(data)
        given = [data]  # whoever takes it out of there can let it go
        del data
        answer, result = _answer(operation, details, given, cpu_seconds)
        answer["ends"] = size > ENDS_AFTER_BYTES
        send(json.dumps(answer).encode())
        send(result)
        if answer["ends"]:
            os._exit(0)


def _answer(operation: str, arguments: tuple[Any, ...], given: list[Frame], cpu_seconds: float) -> tuple[Head, Frame]:
    try:
        try:
            limit_cpu_time(cpu_seconds)
            done: tuple[Head, Frame] = _OPERATIONS[operation](given, *arguments)
            return done
        finally:
            limit_cpu_time(0)
    except (BodyError, OutputError) as error:
        return {"error": [error.code, error.message, getattr(error, "error_class", "validation")]}, b""
    except (TimeIsUpError, MemoryError, RecursionError):
        return {"error": _TOO_MUCH if operation == "read" else _TOO_MUCH_OF_OURS}, b""
    except Exception as error:
        message = f"the value cannot be read ({type(error).__name__})"
        return {"error": ["internal_error", message, "internal"]}, b""


def _read(given: list[Frame], codings: Any, content_type: str, reads_as: str, secrets: Any, limit: int) -> Any:
    text, is_binary = read_apart(given, Reading(tuple(codings), content_type, reads_as, tuple(secrets), limit))
    return {"depth": text.depth, "is_binary": is_binary}, text.data


def _split(given: list[Frame], paths: Any) -> tuple[Head, Frame]:
    rest, pieces = split(given.pop(), paths)
    head = {"rest": rest, "pieces": [(path, len(data)) for path, data in pieces]}
    return head, b"".join([data for _, data in pieces])


def _settle(given: list[Frame], max_bytes: int, max_depth: int) -> tuple[Head, Frame]:
    return {}, bounded_text(json.loads(given.pop()), max_bytes, max_depth)


def _run(given: list[Frame], *order: Any) -> tuple[Head, Frame]:
    return run_apart(given.pop(), Order(*order))


def _check(given: list[Frame]) -> tuple[Head, Frame]:
    text, schema = json.loads(given.pop())
    value, problems = check_answer(text, schema)
    return {"problems": problems}, b"" if problems else encode_json(value).encode()


_OPERATIONS: dict[str, Any] = {"read": _read, "split": _split, "settle": _settle, "run": _run, "check": _check}


def _warm_up() -> None:
    """Load every lazily imported module and codec."""
    for charset in ("utf-8", "utf-16", "utf-32", "latin-1"):
        _read(['{"é": [1.5, "é"]}'.encode(charset)], (), f"application/json; charset={charset}", "auto", (), 1000)
    _split([b'{"a": {"b": 1}}'], (("a", "*"),))
    _check([b'["{}", {"type": "object"}]'])


if __name__ == "__main__":
    main(sys.argv[1:])
