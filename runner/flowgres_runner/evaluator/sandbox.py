"""Compile templates of checked expressions and render them, inside the child process.

What an expression can reach: the JSON of its context, the allow-listed filters, tests and methods. Field access looks
up keys of objects and never Python attributes, so there is no attribute to escape through; the immutable sandbox of
Jinja stays underneath as a second wall.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from jinja2 import StrictUndefined, Undefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flowgres_definitions.expressions import ExpressionError, has_expression, parse_expression
from flowgres_runner.json_values import encode_json

from .methods import (
    ALLOWED_FILTERS,
    ALLOWED_TESTS,
    AS_INTEGER,
    AS_TEXT,
    LimitError,
    as_integer,
    bounded_format,
    bounded_power,
    bounded_product,
)
from .values import MAX_DEPTH, RenderError, check_text, to_json

Json = Any
_RESULT = "result"
NOT_TAKEN: Final = object()
"""What a template gives whose `when` is false."""


class FieldUndefined(StrictUndefined):
    """A missing field. Any use but `default` and `is defined` is an error that names the field, never its siblings."""

    @property
    def _undefined_message(self) -> str:
        name = str(self._undefined_name)[:100]
        if self._undefined_hint:
            return "the value is undefined"
        if isinstance(self._undefined_obj, type(_MISSING)):
            return f"{name!r} is undefined"
        return f"{name!r} is undefined: {_KINDS.get(type(self._undefined_obj), 'the value')} has no such field"

    def _fail_with_undefined_error(self, *arguments: Any, **named: Any) -> NoReturn:
        raise MissingError(self._undefined_message, secret=self._undefined_name == "secrets")

    __add__ = __radd__ = __sub__ = __rsub__ = _fail_with_undefined_error
    __mul__ = __rmul__ = __div__ = __rdiv__ = _fail_with_undefined_error
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = _fail_with_undefined_error
    __mod__ = __rmod__ = __pos__ = __neg__ = __call__ = _fail_with_undefined_error
    __getitem__ = __lt__ = __le__ = __gt__ = __ge__ = __int__ = _fail_with_undefined_error
    __float__ = __complex__ = __pow__ = __rpow__ = _fail_with_undefined_error
    __iter__ = __str__ = __len__ = __eq__ = __ne__ = __bool__ = __hash__ = __contains__ = _fail_with_undefined_error


class MissingError(UndefinedError):
    """An undefined value was used."""

    def __init__(self, message: str, *, secret: bool) -> None:
        super().__init__(message)
        self.secret = secret


_MISSING = Undefined()._undefined_obj
_KINDS: dict[type, str] = {
    dict: "the object",
    list: "the list",
    str: "the text",
    int: "the number",
    float: "the number",
    bool: "the boolean",
    type(None): "null",
}


class ExpressionEnvironment(ImmutableSandboxedEnvironment):
    """Key look-ups only, bounded operators, no globals, no constant folding."""

    intercepted_binops = frozenset({"**", "*", "%"})
    _bounded = {"**": bounded_power, "*": bounded_product, "%": bounded_format}  # noqa: RUF012  read only

    def __init__(self) -> None:
        super().__init__(undefined=FieldUndefined, autoescape=False, keep_trailing_newline=True, optimized=False)
        self.globals.clear()
        self.filters = dict(ALLOWED_FILTERS)
        self.tests = dict(ALLOWED_TESTS)

    def handle_exception(self, source: str | None = None) -> NoReturn:
        # Jinja's own makes a traceback for template authors, for which it imports: here nothing can be opened.
        raise

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict:
            try:
                return obj[attribute]
            except KeyError:
                pass
        elif isinstance(obj, Undefined):
            return obj  # so that `default` also covers `a.b.c` when b is missing
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        kind = type(obj)
        argument = as_integer(argument)
        if kind is dict or (kind in (list, str, tuple) and type(argument) is int):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        elif isinstance(obj, Undefined):
            return obj
        return self.undefined(obj=obj, name=str(argument)[:100] if isinstance(argument, str | int) else "?")

    def call(self, _context: Any, _obj: Any, *args: Any, **kwargs: Any) -> Any:
        raise SecurityError("calls are not allowed")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return self._bounded[operator](left, right)


_environment = ExpressionEnvironment()
_context = Context(_environment, {}, None, {})

Renderer = Callable[[], Json]
Made = dict[tuple[str, str], Renderer]
"""Compiled texts by place and text."""


class Template:
    """A compiled template: a JSON value whose texts may hold expressions, and an optional `when`."""

    __slots__ = ("_render", "_when")

    def __init__(self, template: Json, when: str | None, made: Made | None = None) -> None:
        """Compile it. `made` gets each text as it is made: who is interrupted goes on from there with the same one."""
        made = {} if made is None else made
        self._when = None if when is None else compile_value(when, "when", made)
        self._render = compile_value(template, "", made)

    def evaluate(self, context: Mapping[str, Json]) -> Json:
        """The result, or NOT_TAKEN when `when` gave false. Raises RenderError."""
        _context.parent = context  # type: ignore[assignment]
        try:
            if self._when is not None:
                taken = self._when()
                if taken is False:
                    return NOT_TAKEN
                if taken is not True:
                    raise RenderError("expression_not_boolean", "`when` must give true or false")
            return self._render()
        finally:
            _context.parent = {}


def encode_result(value: Json, output_bytes: int) -> str:
    """A result as JSON text; raises RenderError when that is too large."""
    text = encode_json(value)
    if len(text) > output_bytes or (not text.isascii() and len(text.encode()) > output_bytes):
        raise RenderError("expression_limit", f"the result is larger than {output_bytes:,} bytes")
    return text


def compile_value(template: Json, path: str, made: Made) -> Renderer:
    """A function that renders a JSON value; keys are literal, texts without expressions are constants."""
    if isinstance(template, str):
        if not has_expression(template):
            return lambda: template
        if (path, template) not in made:
            made[path, template] = compile_text(template, path)
        return made[path, template]
    if isinstance(template, dict):
        members = [
            (key, compile_value(value, f"{path}.{key}" if path else key, made)) for key, value in template.items()
        ]
        return lambda: {key: render() for key, render in members}
    if isinstance(template, list):
        items = [compile_value(value, f"{path}[{index}]", made) for index, value in enumerate(template)]
        return lambda: [render() for render in items]
    return lambda: template


def compile_text(text: str, path: str) -> Renderer:
    """A function that renders one text: a whole-value expression to a JSON value, any other to a text."""
    place = f"{path[:100]}: " if path else ""
    try:
        expression = parse_expression(text)
        parts = [_methods_to_filters(part) for part in expression.parts]
        value = parts[0] if expression.whole else nodes.Concat([_as_text(part) for part in parts])
        value.set_environment(_environment)
        target = nodes.Name(_RESULT, "store")
        template = _environment.from_string(nodes.Template([nodes.Assign(target, value, lineno=1)], lineno=1))
    except ExpressionError as error:
        raise RenderError(error.code, f"{place}{error.message}") from None
    except (RecursionError, MemoryError):
        raise RenderError("expression_limit", f"{place}the expression is too large") from None
    except (SyntaxError, ValueError, TemplateError) as error:
        # What Jinja made of it is no Python, as when a bracket too many is open: `error` quotes names and no values.
        raise RenderError("expression_syntax", f"{place}not a valid expression: {_reason(error)}") from None
    run = template.root_render_func
    variables = _context.vars

    def render() -> Json:
        try:
            for _ in run(_context):
                pass
            result = variables[_RESULT]
            kind = type(result)
            if kind is str:
                return check_text(result)
            if kind is int and -(1 << 53) < result < 1 << 53:
                return result
            return to_json(result, MAX_DEPTH)
        except MissingError as error:
            code = "secret_misuse" if error.secret else "expression_undefined"
            raise RenderError(code, f"{place}{error} in {_quote(text)}") from None
        except RenderError as error:
            raise RenderError(error.code, f"{place}{error.message} in {_quote(text)}") from None
        except LimitError as error:
            raise RenderError("expression_limit", f"{place}{error} in {_quote(text)}") from None
        except SecurityError:
            raise RenderError("expression_unsafe", f"{place}not allowed in {_quote(text)}") from None
        except (TypeError, ZeroDivisionError) as error:
            raise RenderError("expression_error", f"{place}{_reworded(error)} in {_quote(text)}") from None
        except (MemoryError, RecursionError):
            raise RenderError(
                "expression_limit", f"{place}too much memory in {_quote(text)}", out_of_memory=True
            ) from None
        except Exception as error:
            # The text of other exceptions can quote values, so only their kind is told.
            name = type(error).__name__
            raise RenderError("expression_error", f"{place}it cannot be computed ({name}) in {_quote(text)}") from None
        finally:
            variables.clear()

    return render


def _reason(error: Exception) -> str:
    return str(error.msg if isinstance(error, SyntaxError) else error)[:200]


_KIND_WORDS: dict[str, str] = {kind.__name__: words.removeprefix("the ") for kind, words in _KINDS.items()} | {
    "tuple": "list"
}
_KIND_NAME = re.compile(rf"\b({'|'.join(_KIND_WORDS)})\b")


def _reworded(error: Exception) -> str:
    """What Python says of values that do not go together, with the kinds that JSON has."""
    return _KIND_NAME.sub(lambda found: _KIND_WORDS[found[1]], str(error)[:200])


def _quote(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."


def _as_text(part: nodes.Expr) -> nodes.Expr:
    """A part of a text. What is no text yet becomes one as JSON has it."""
    if isinstance(part, nodes.TemplateData):
        return nodes.Const(part.data)
    if isinstance(part, nodes.Const) and isinstance(part.value, str):
        return part
    return nodes.Filter(part, AS_TEXT, [], [], None, None, lineno=part.lineno)


def _methods_to_filters(node: nodes.Node) -> Any:
    """Rewrite `value.method(...)` to a filter, so that field access never returns a method; make `else` strict.

    Operands of `~` become texts as JSON has them, the ends of a slice integers where they are integral.
    """
    for name, child in node.iter_fields():
        if isinstance(child, nodes.Node):
            setattr(node, name, _methods_to_filters(child))
        elif isinstance(child, list):
            setattr(node, name, [_methods_to_filters(item) if isinstance(item, nodes.Node) else item for item in child])
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        return nodes.Filter(
            node.node.node, f"@{node.node.attr}", node.args, node.kwargs, None, None, lineno=node.lineno
        )
    if isinstance(node, nodes.Concat):
        node.nodes = [_as_text(operand) for operand in node.nodes]
    if isinstance(node, nodes.Slice):
        for name in ("start", "stop", "step"):
            if (part := getattr(node, name)) is not None:
                setattr(node, name, nodes.Filter(part, AS_INTEGER, [], [], None, None, lineno=node.lineno))
    if isinstance(node, nodes.CondExpr) and node.expr2 is None:
        # Jinja's own value for a missing else is the lenient Undefined, which renders as an empty text.
        node.expr2 = nodes.Name("else", "load", lineno=node.lineno)
    return node
