"""The process that reads what is large: answers, contexts, outputs. It sees strangers' data, and evaluates nothing.

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
from flowgres_runner.payloads.failures import BodyError
from flowgres_runner.payloads.texts import Reading, look_into, read_apart, split

from .confinement import TimeIsUpError, confine, extend_cpu_limit, limit_cpu_time
from .frames import READY, Frame, receive, send

ENDS_AFTER_BYTES = 1 << 20
"""After one so large the process ends: what is left of it is memory that the evaluators may need next."""
_MAX_FILES = 16
"""Codecs of charsets are files, which are read when somebody declares one."""

Head = dict[str, Any]
_TOO_MUCH = {"error": ["response_too_large", "the response takes too much time or memory to read", "validation"]}


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


def _answer(operation: str, arguments: tuple[Any, ...], given: list[Frame], cpu_seconds: float) -> tuple[Head, bytes]:
    try:
        try:
            limit_cpu_time(cpu_seconds)
            done: tuple[Head, bytes] = _OPERATIONS[operation](given, *arguments)
            return done
        finally:
            limit_cpu_time(0)
    except (BodyError, OutputError) as error:
        return {"error": [error.code, error.message, getattr(error, "error_class", "validation")]}, b""
    except (TimeIsUpError, MemoryError, RecursionError):
        return dict(_TOO_MUCH), b""
    except Exception as error:
        message = f"the value cannot be read ({type(error).__name__})"
        return {"error": ["internal_error", message, "internal"]}, b""


def _read(given: list[Frame], codings: Any, content_type: str, reads_as: str, secrets: Any, limit: int) -> Any:
    text, is_binary = read_apart(given, Reading(tuple(codings), content_type, reads_as, tuple(secrets), limit))
    return {"depth": text.depth, "is_binary": is_binary}, text.data


def _split(given: list[Frame], paths: Any) -> tuple[Head, bytes]:
    rest, pieces = split(given.pop(), paths)
    head = {"rest": rest, "pieces": [(path, len(data)) for path, data in pieces]}
    return head, b"".join([data for _, data in pieces])


def _find(given: list[Frame], path: str) -> tuple[Head, bytes]:
    return {"found": look_into(given.pop(), path)}, b""


_OPERATIONS: dict[str, Any] = {"read": _read, "split": _split, "find": _find}


def _warm_up() -> None:
    """Load every lazily imported module and codec."""
    for charset in ("utf-8", "utf-16", "utf-32", "latin-1"):
        _read(['{"é": [1.5, "é"]}'.encode(charset)], (), f"application/json; charset={charset}", "auto", (), 1000)
    _split([b'{"a": {"b": 1}}'], (("a", "*"),))


if __name__ == "__main__":
    main(sys.argv[1:])
