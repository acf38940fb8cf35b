"""The output of a condition that gives one value when it is true and another when it is false, as one expression.

Only the branch that was taken is evaluated: the other may lead to what there is not.
"""

from __future__ import annotations

import json

from .expressions import has_expression, split_expressions
from .problems import Json

_OTHERWISE = "output"  # what a condition gives by itself


def branch_output(when_true: Json, when_false: Json) -> str:
    """The step's `output`; a branch without one (None) gives what the condition gives. Raises ExpressionError."""
    yes, no = (_OTHERWISE if value is None else _written(value) for value in (when_true, when_false))
    return f"{{{{ {yes} if output.result else {no} }}}}"


def _written(value: Json) -> str:
    """A value with expressions in it as an expression."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, str):
        if not has_expression(value):
            return _text(value)
        parts = [f"({text})" if is_expression else _text(text) for is_expression, text in split_expressions(value)]
        return parts[0] if len(parts) == 1 else f"({' ~ '.join(parts)})"
    return json.dumps(value) if value is not None else "none"


def _text(text: str) -> str:
    """A literal. Braces are escaped: whoever looks for the ends of an expression finds none in it."""
    return json.dumps(text, ensure_ascii=False).replace("{", "\\x7b").replace("}", "\\x7d").replace("%", "\\x25")
