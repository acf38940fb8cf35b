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
from inspect import signature
from typing import Any

from jinja2 import Undefined, pass_eval_context
from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests

from flowgres_definitions.language import FILTERS, METHODS, TESTS
from flowgres_runner.json_values import canonical_json

from .values import LARGEST_INTEGER_BITS, MAX_DEPTH, to_json

_ORIGINALS: dict[str, Callable[..., Any]] = jinja_filters.FILTERS
MAX_WIDTH = 10_000
MAX_REPEATED = 1 << 20
AS_TEXT, AS_INTEGER = "@text", "@integer"
"""Names of filters that no expression can name."""


class LimitError(Exception):
    """An operation would make something too large."""


def bounded_power(left: Any, right: Any) -> Any:
    """`left ** right` with a result of at most LARGEST_INTEGER_BITS bits."""
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > LARGEST_INTEGER_BITS:
        raise LimitError("the power is too large")
    return left**right


def bounded_product(left: Any, right: Any) -> Any:
    """`left * right`; repeated texts and lists have at most MAX_REPEATED members."""
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(times, int | float):
            times = as_integer(times)
            if isinstance(times, int) and len(value) * times > MAX_REPEATED:
                raise LimitError("the repeated value is too large")
            return value * times
    if (
        isinstance(left, int)
        and isinstance(right, int)
        and left.bit_length() + right.bit_length() > LARGEST_INTEGER_BITS + 1
    ):
        raise LimitError("the product is too large")
    return left * right


def bounded_format(left: Any, right: Any) -> Any:
    """`left % right`; widths of a text format have at most three digits, and values are written as in other texts."""
    if not isinstance(left, str):
        return left % right
    if re.search(r"%[^a-zA-Z%]*(\*|\d{4})", left):
        raise LimitError("the width in the format is too large")
    if re.search(r"%(?:\(.*?\))?[-#0 +.\d]*[ra]", left.replace("%%", "")):
        raise TypeError("%r and %a are not allowed; write %s")
    kinds = [found[1] for found in re.finditer(r"%(?:\(.*?\))?[-#0 +.\d]*([a-zA-Z])", left.replace("%%", ""))]
    if isinstance(right, dict):
        # A member may be named by several places of several kinds; numbers are numbers in all of them.
        return left % {
            key: _formatted(value, "d" if type(value) in (int, float) else "s") for key, value in right.items()
        }
    values = right if isinstance(right, tuple) else (right,)
    return left % tuple(map(_formatted, values, [*kinds, *("s" for _ in values)]))


def _formatted(value: Any, kind: str) -> Any:
    """What Python would write in its own words, as text; numbers only where a text is asked for."""
    return as_integer(value) if kind != "s" and type(value) in (int, float) else as_text(value)


def as_text(value: Any) -> str:
    """A value within a text: JSON's words, and JSON of lists and objects; never the spelling of the language behind."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return str(value)
    if isinstance(value, Undefined):
        return str(value)  # raises the error that names the missing field
    return _to_json(value)


def as_integer(value: Any) -> Any:
    """The integer that an integral number is, where one is asked for; anything else as it is."""
    return int(value) if type(value) is float and value.is_integer() else value


def _width(value: Any) -> int:
    if not isinstance(value, int) or abs(value) > MAX_WIDTH:
        raise LimitError(f"a width is a whole number up to {MAX_WIDTH:,}")
    return value


@pass_eval_context
def _join(context: Any, value: Any, separator: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = map(jinja_filters.make_attrgetter(context.environment, attribute), value)
    return as_text(separator).join(map(as_text, value))


_TEXTS: dict[str, str] = {
    "capitalize": "s",
    "center": "value",
    "indent": "value",
    "lower": "s",
    "replace": "s old new",
    "title": "s",
    "trim": "value",
    "truncate": "s end",
    "upper": "s",
    "wordcount": "s",
    "wordwrap": "s wrapstring",
}
"""Arguments that are texts, by filter: what is none is written as JSON has it."""

_INTEGERS: dict[str, str] = {
    "batch": "linecount",
    "center": "width",
    "indent": "width",
    "replace": "count",
    "round": "precision",
    "slice": "slices",
    "tojson": "indent",
    "truncate": "length leeway",
    "wordwrap": "width",
}
"""Arguments that are integers, by filter: 5.0 is one."""


def _converted(original: Callable[..., Any], names: str, convert: Callable[[Any], Any]) -> Callable[..., Any]:
    """The filter with these arguments converted, wherever they stand in a call."""
    wanted = frozenset(names.split())
    places = [name in wanted for name in signature(original).parameters]

    @wraps(original)
    def call(*arguments: Any, **named: Any) -> Any:
        given = [convert(value) if is_meant else value for value, is_meant in zip(arguments, places, strict=False)]
        for name in wanted & named.keys():
            named[name] = convert(named[name])
        return original(*given, *arguments[len(given) :], **named)

    return call


def _urlencode(value: Any) -> str:
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        return jinja_filters.do_urlencode([(as_text(key), as_text(member)) for key, member in value])
    return jinja_filters.do_urlencode(as_text(value))


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
    found[AS_INTEGER] = as_integer
    found["sum"] = wraps(jinja_filters.sync_do_sum)(_bounded_sum)
    found["tojson"] = _to_json
    found["urlencode"] = _urlencode
    for name, texts in _TEXTS.items():
        found[name] = _converted(found[name], texts, as_text)
    for name, integers in _INTEGERS.items():
        found[name] = _converted(found[name], integers, as_integer)
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


def _bounded_center(value: str, width: int = 80) -> str:
    return value.center(_width(width))


def _bounded_indent(value: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
    return jinja_filters.do_indent(value, _width(width), first, blank)


def _bounded_round(value: float, precision: int = 0, method: Any = "common") -> float:
    return jinja_filters.do_round(value, max(-30, min(30, _width(precision))), method)


def _bounded_sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    # Adding lists is quadratic inside one C call that no signal can interrupt.
    if not isinstance(start, int | float):
        raise TypeError("sum adds numbers")
    return jinja_filters.sync_do_sum(environment, iterable, attribute, start)


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as plain text; Jinja's own filter escapes for HTML and marks the result as safe."""
    plain = _stored_numbers(
        to_json(value, MAX_DEPTH)
    )  # interruptible, and refuses what json.dumps would encode for minutes
    return json.dumps(
        plain, ensure_ascii=False, allow_nan=False, indent=None if indent is None else min(_width(indent), 8)
    )


def _stored_numbers(value: Any) -> Any:
    """JSON with its numbers as jsonb writes them: 10000000000000000, where Python would write 1e+16."""
    if type(value) is float:
        return canonical_json(value)
    if type(value) is dict:
        return {key: _stored_numbers(member) for key, member in value.items()}
    return [_stored_numbers(member) for member in value] if type(value) is list else value


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
            arguments = tuple(map(as_integer, arguments))
            if name == "join" and arguments and isinstance(arguments[0], list | tuple):
                arguments = ([as_text(member) for member in arguments[0]], *arguments[1:])
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


def _make_tests() -> dict[str, Callable[..., Any]]:
    known: dict[str, Any] = jinja_tests.TESTS
    found: dict[str, Callable[..., Any]] = {name: known[name] for name in TESTS}
    found["integer"] = lambda value: type(as_integer(value)) is int
    found["number"] = lambda value: type(value) in (int, float)
    found["lower"] = lambda value: as_text(value).islower()
    found["upper"] = lambda value: as_text(value).isupper()
    return found


ALLOWED_FILTERS = _make_filters()
ALLOWED_TESTS = _make_tests()
