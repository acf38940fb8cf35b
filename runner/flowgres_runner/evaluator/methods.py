"""The filters, tests and methods that expressions may use, bounded where a small argument makes a large result.

Process limits stop what is not bounded here; a bound answers at once, where a limit costs a quarter of a second of
CPU and sometimes a process.
"""

from __future__ import annotations

import json
import re
import textwrap  # noqa: F401  wordwrap imports it on first use, when no file can be opened any more
from collections.abc import Callable
from functools import wraps
from typing import Any

from jinja2 import Undefined, pass_eval_context
from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests

from flowgres_definitions.language import FILTERS, METHODS, TESTS

from .values import MAX_DEPTH, to_json

_ORIGINALS: dict[str, Callable[..., Any]] = jinja_filters.FILTERS
MAX_WIDTH = 10_000
MAX_REPEATED = 1 << 20
MAX_INTEGER_BITS = 1 << 10
AS_TEXT = "@text"
"""Name of a filter that no expression can name."""


class LimitError(Exception):
    """An operation would make something too large."""


def bounded_power(left: Any, right: Any) -> Any:
    """`left ** right` with a result of at most MAX_INTEGER_BITS bits."""
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > 2 * MAX_INTEGER_BITS:
        raise LimitError("the power is too large")
    return left**right


def bounded_product(left: Any, right: Any) -> Any:
    """`left * right`; repeated texts and lists have at most MAX_REPEATED members."""
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(times, int) and len(value) * times > MAX_REPEATED:
            raise LimitError("the repeated value is too large")
    if (
        isinstance(left, int)
        and isinstance(right, int)
        and left.bit_length() + right.bit_length() > 4 * MAX_INTEGER_BITS
    ):
        raise LimitError("the product is too large")
    return left * right


def bounded_format(left: Any, right: Any) -> Any:
    """`left % right`; widths of a text format have at most three digits."""
    if isinstance(left, str) and re.search(r"%[^a-zA-Z%]*(\*|\d{4})", left):
        raise LimitError("the width in the format is too large")
    return left % right


def _width(value: Any) -> int:
    if not isinstance(value, int) or abs(value) > MAX_WIDTH:
        raise LimitError(f"a width is a whole number up to {MAX_WIDTH:,}")
    return value


def as_text(value: Any) -> str:
    """A value within a text: JSON's words, and JSON of lists and objects; never the spelling of the language behind."""
    if type(value) is str:
        return value
    if value is None or value is True or value is False or isinstance(value, dict | list | tuple):
        return _to_json(value)
    return str(value)


@pass_eval_context
def _join(context: Any, value: Any, separator: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = map(jinja_filters.make_attrgetter(context.environment, attribute), value)
    return as_text(separator).join(map(as_text, value))


def _make_filters() -> dict[str, Callable[..., Any]]:
    found = {name: _ORIGINALS[name] for name in FILTERS}
    # Generators are no data; lists can be indexed, counted and returned without `| list`.
    for name in ("batch", "map", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "unique"):
        found[name] = _as_list(_ORIGINALS[name])
    found["groupby"] = _as_list(_ORIGINALS["groupby"], lambda pair: {"grouper": pair[0], "list": pair[1]})
    found["dictsort"] = _as_list(_ORIGINALS["dictsort"], list)
    found["items"] = _as_list(_ORIGINALS["items"], list)
    found["center"] = _bounded_center
    found["indent"] = _bounded_indent
    found["join"] = _join
    found["round"] = _bounded_round
    found["string"] = found[AS_TEXT] = as_text
    found["sum"] = wraps(jinja_filters.sync_do_sum)(_bounded_sum)
    found["tojson"] = _to_json
    for name in METHODS:
        found[f"@{name}"] = _make_method(name)
    return found


def _as_list(original: Callable[..., Any], convert: Callable[[Any], Any] | None = None) -> Callable[..., Any]:
    @wraps(original)  # keeps the mark that asks Jinja for its context or environment
    def as_list(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if convert is not None:
            return [convert(member) for member in result]
        return result if isinstance(result, str) else list(result)

    return as_list


def _bounded_center(value: Any, width: int = 80) -> str:
    return str(value).center(_width(width))


def _bounded_indent(value: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
    return jinja_filters.do_indent(str(value), _width(width), first, blank)


def _bounded_round(value: float, precision: int = 0, method: Any = "common") -> float:
    return jinja_filters.do_round(value, max(-30, min(30, _width(precision))), method)


def _bounded_sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    # Adding lists is quadratic inside one C call that no signal can interrupt.
    if not isinstance(start, int | float):
        raise TypeError("sum adds numbers")
    return jinja_filters.sync_do_sum(environment, iterable, attribute, start)


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as plain text; Jinja's own filter escapes for HTML and marks the result as safe."""
    plain = to_json(value, MAX_DEPTH)  # interruptible, and refuses what json.dumps would encode for minutes
    return json.dumps(
        plain, ensure_ascii=False, allow_nan=False, indent=None if indent is None else min(_width(indent), 8)
    )


_DICT_METHODS: dict[str, Callable[..., Any]] = {
    "get": lambda value, key, default=None: value.get(key, default),
    "items": lambda value: [[key, member] for key, member in value.items()],
    "keys": lambda value: list(value),
    "values": lambda value: list(value.values()),
}

_PADDING = frozenset({"center", "ljust", "rjust", "zfill"})


def _make_method(name: str) -> Callable[..., Any]:
    """A method as a function of its value: expressions never hold a bound method, so none can leak."""
    of_dict = _DICT_METHODS.get(name)
    of_text = getattr(str, name, None)
    of_list = getattr(list, name) if name in ("count", "index") else None

    def call(value: Any, *arguments: Any, **named: Any) -> Any:
        if isinstance(value, str) and of_text is not None:
            if name in _PADDING and arguments:
                _width(arguments[0])
            result = of_text(value, *arguments, **named)
            return list(result) if isinstance(result, tuple) else result
        if isinstance(value, dict):
            if name in value:
                raise TypeError(f"{name!r} is a field here, not a method")
            if of_dict is not None:
                return of_dict(value, *arguments, **named)
        if isinstance(value, list) and of_list is not None:
            return of_list(value, *arguments, **named)
        if isinstance(value, Undefined):
            str(value)  # raises the error that names the missing field
        raise TypeError(f"this value has no method {name!r}")

    return call


ALLOWED_FILTERS = _make_filters()
ALLOWED_TESTS = {name: jinja_tests.TESTS[name] for name in TESTS}
