"""Expressions of one text, checked by parsing alone.

Nothing is compiled here: Jinja folds constants when it compiles, so `{{ 'a' * 10**8 }}` would do its harm in the
checker. The same rules guard the evaluator, which parses again before it compiles in its own process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import NoReturn

from jinja2 import Environment, TemplateSyntaxError, nodes

from .language import (
    CONTEXT_NAMES,
    FILTERS,
    MAX_EXPRESSION_CHARACTERS,
    MAX_EXPRESSION_DEPTH,
    MAX_EXPRESSION_TOKENS,
    METHODS,
    PLACED_NAMES,
    TESTS,
)
from .problems import Json, Problem, did_you_mean

_PLAIN_NODES = (
    nodes.Const,
    nodes.TemplateData,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    nodes.Concat,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.Pos,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Mod,
    nodes.Pow,
    nodes.CondExpr,
    nodes.Output,
)

_BLOCK_TOKENS = frozenset({"block_begin", "raw_begin", "linestatement_begin"})

_SECRET_CARRIERS = (nodes.Concat, nodes.Output, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair)
"""Nodes that pass a value on as it is; under any other node a secret's placeholder would be computed with."""


NO_BODY = ("trigger has no body: what it brought is trigger.payload", "Write trigger.payload.")


class _ParsingEnvironment(Environment):
    def handle_exception(self, source: str | None = None) -> NoReturn:
        # Jinja's own makes a traceback for template authors, for which it imports: an evaluator cannot.
        raise


_environment = _ParsingEnvironment(autoescape=False, keep_trailing_newline=True)


class ExpressionError(ValueError):
    """A text is not an allowed template; `code` is expression_syntax, expression_unsafe or expression_limit."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def as_problem(self) -> Problem:
        return Problem(path="", code=self.code, message=self.message, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed text: its parts in order, plain text as `nodes.TemplateData`, the rest expressions."""

    parts: tuple[nodes.Expr, ...]
    whole: bool
    """The text is exactly one `{{ ... }}`, so its result keeps its type."""


@dataclass(slots=True)
class Findings:
    """What an expression refers to, and what is wrong with it."""

    problems: list[Problem] = field(default_factory=list)
    steps: set[str] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)

    def add(self, code: str, message: str, hint: str = "") -> None:
        problem = Problem(path="", code=code, message=message, hint=hint)
        if problem not in self.problems:
            self.problems.append(problem)


def has_expression(text: str) -> bool:
    """Whether a text has anything that Jinja would read; all other texts are data and stay as they are."""
    return "{{" in text or "{%" in text or "{#" in text


def texts_with_expressions(value: Json) -> Iterator[str]:
    """Texts at any depth of a value that have expressions, in no order."""
    todo: list[Json] = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, str) and has_expression(value):
            yield value


def holds_expression(value: Json) -> bool:
    """Whether an expression stands in a value, at any depth."""
    return any(True for _ in texts_with_expressions(value))


def parse_expression(text: str) -> Expression:
    """Parse a text and refuse everything but allowed expressions.

    Raises ExpressionError, never a RecursionError: size, tokens and depth are bounded before and after parsing.
    """
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise ExpressionError(
            "expression_limit", f"a text with expressions has at most {MAX_EXPRESSION_CHARACTERS:,} characters"
        )
    try:
        for count, (_, token, _) in enumerate(_environment.lex(text)):
            if token in _BLOCK_TOKENS:
                raise ExpressionError(
                    "expression_unsafe", "statements ({% ... %}) are not allowed, only expressions", "write {{ ... }}"
                )
            if count > MAX_EXPRESSION_TOKENS:
                raise ExpressionError("expression_limit", f"an expression has at most {MAX_EXPRESSION_TOKENS:,} tokens")
        body = _environment.parse(text).body
    except TemplateSyntaxError as error:
        raise ExpressionError(
            "expression_syntax", f"not a valid expression: {(error.message or 'syntax error')[:200]}"
        ) from None
    except RecursionError:
        raise ExpressionError("expression_limit", "the expression is nested too deeply") from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, ExpressionError):
            raise
        raise ExpressionError("expression_syntax", "a number in the expression is too long") from None
    parts: list[nodes.Expr] = []
    for node in body:
        if not isinstance(node, nodes.Output):
            raise ExpressionError(
                "expression_unsafe", "statements ({% ... %}) are not allowed, only expressions", "write {{ ... }}"
            )
        parts.extend(node.nodes)
    for part in parts:
        _check_structure(part)
    # The line end of a YAML block around it is not meant.
    trimmed = text.strip("\r\n")
    if trimmed.startswith("{{") and trimmed.endswith("}}"):
        inner = [part for part in parts if not isinstance(part, nodes.TemplateData) or part.data.strip("\r\n")]
        if len(inner) == 1 and not isinstance(inner[0], nodes.TemplateData):
            return Expression(parts=tuple(inner), whole=True)
    return Expression(parts=tuple(parts), whole=False)


def split_expressions(text: str) -> list[tuple[bool, str]]:
    """The parts of a text in order: (whether it is an expression, its text without the braces).

    Raises ExpressionError where parse_expression does.
    """
    if parse_expression(text).whole:
        text = text.strip("\r\n")
    parts: list[tuple[bool, str]] = []
    for _, kind, value in _environment.lex(text):
        if kind == "data":
            parts.append((False, value))
        elif kind == "variable_begin":
            parts.append((True, ""))
        elif parts and parts[-1][0] and kind != "variable_end" and not kind.startswith("comment"):
            parts[-1] = (True, parts[-1][1] + value)
    return parts


def walk(root: nodes.Node) -> Iterator[tuple[nodes.Node, tuple[nodes.Node, ...]]]:
    """All nodes under one, with the chain of their parents (nearest last); iterative, so depth cannot hurt."""
    todo: list[tuple[nodes.Node, tuple[nodes.Node, ...]]] = [(root, ())]
    while todo:
        node, parents = todo.pop()
        yield node, parents
        below = (*parents, node)
        todo.extend((child, below) for child in node.iter_child_nodes())


def find_references(text: str, *, names: Set[str] = frozenset(), secrets_allowed: bool = False) -> Findings:
    """Check one text in its place and collect the steps, inputs and secrets that it names.

    `names` are the names that this place sees beside those that all expressions see.
    """
    findings = Findings()
    try:
        expression = parse_expression(text)
    except ExpressionError as error:
        findings.problems.append(error.as_problem())
        return findings
    known = CONTEXT_NAMES | names | ({"secrets"} if secrets_allowed else frozenset())
    for part in expression.parts:
        for node, parents in walk(part):
            if isinstance(node, nodes.Name):
                _check_name(node, parents, known, findings)
    return findings


def _check_structure(root: nodes.Node) -> None:
    """Allow-listed nodes, filters, tests and methods only; raises ExpressionError at the first other one."""
    todo: list[tuple[nodes.Node, int, bool]] = [(root, 1, False)]
    while todo:
        node, depth, called = todo.pop()
        if depth > MAX_EXPRESSION_DEPTH:
            raise ExpressionError(
                "expression_limit", f"an expression is nested at most {MAX_EXPRESSION_DEPTH} levels deep"
            )
        if isinstance(node, nodes.Filter):
            _allow("filter", node.name, FILTERS)
        elif isinstance(node, nodes.Test):
            _allow("test", node.name, TESTS)
        elif isinstance(node, nodes.Call):
            _check_call(node)
            todo.append((node.node, depth + 1, True))
            todo.extend((child, depth + 1, False) for child in (*node.args, *node.kwargs))
            continue
        elif isinstance(node, nodes.Name):
            if node.ctx != "load" or node.name.startswith("__") or node.name == "self":
                raise ExpressionError("expression_unsafe", f"the name {node.name[:60]!r} is not allowed")
        elif isinstance(node, nodes.Const) and isinstance(node.value, float) and not math.isfinite(node.value):
            raise ExpressionError("expression_syntax", "a number in the expression is too large")
        elif not isinstance(node, _PLAIN_NODES):
            raise ExpressionError("expression_unsafe", f"{type(node).__name__} is not allowed in an expression")
        if isinstance(node, nodes.Filter | nodes.Test) and (node.dyn_args is not None or node.dyn_kwargs is not None):
            raise ExpressionError("expression_unsafe", "arguments cannot be unpacked with * or **")
        if isinstance(node, nodes.Filter | nodes.Test):
            _check_named(node.kwargs)
        if isinstance(node, nodes.Getattr):
            _check_attribute(node.attr, called=called)
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            _check_attribute(node.arg.value, called=False)
        todo.extend((child, depth + 1, False) for child in node.iter_child_nodes())


def _check_call(node: nodes.Call) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise ExpressionError("expression_unsafe", "arguments cannot be unpacked with * or **")
    _check_named(node.kwargs)
    if not isinstance(node.node, nodes.Getattr):
        name = f" {node.node.name[:60]!r}" if isinstance(node.node, nodes.Name) else ""
        raise ExpressionError(
            "expression_unsafe", f"the function{name} is not allowed; only methods of values can be called"
        )


def _check_named(arguments: Iterable[nodes.Keyword | nodes.Pair]) -> None:
    """Named arguments that Python would refuse when it compiles what Jinja made of them."""
    names: set[str] = set()
    for argument in arguments:
        name = str(argument.key)
        if name in names:
            raise ExpressionError("expression_syntax", f"the argument {name[:60]!r} is given twice")
        if name.startswith("__"):
            raise ExpressionError("expression_unsafe", f"the argument {name[:60]!r} is not allowed")
        names.add(name)


def _check_attribute(name: str, *, called: bool) -> None:
    # Fields such as `_id` are data. Only doubled underscores reach into Python, and the evaluator looks up
    # keys, never attributes, so this refusal is the first of two.
    if name.startswith("__"):
        raise ExpressionError("expression_unsafe", f"the attribute {name[:60]!r} is not allowed")
    if called:
        _allow("method", name, METHODS)


def _allow(kind: str, name: str, allowed: Set[str]) -> None:
    if name not in allowed:
        hint = did_you_mean(name, allowed)
        raise ExpressionError("expression_unsafe", f"the {kind} {name[:60]!r} is not allowed in an expression", hint)


def _check_name(name: nodes.Name, parents: tuple[nodes.Node, ...], known: Set[str], findings: Findings) -> None:
    if name.name not in known:
        if name.name == "secrets":
            findings.add("secret_misuse", f"secrets can be used {PLACED_NAMES['secrets']}")
        elif name.name in PLACED_NAMES:
            findings.add("expression_name", f"{name.name!r} can be used {PLACED_NAMES[name.name]}")
        else:
            findings.add(
                "expression_name", f"the name {name.name[:60]!r} is not known here", did_you_mean(name.name, known)
            )
        return
    if name.name not in ("steps", "input", "secrets", "trigger"):
        return
    member = _member(parents[-1]) if parents else None
    if name.name == "trigger":
        if member == "body":
            findings.add("expression_reference", *NO_BODY)
        return
    if name.name == "input":
        is_called = len(parents) > 1 and isinstance(parents[-2], nodes.Call) and parents[-2].node is parents[-1]
        if member is not None and not is_called:  # what is called is a method
            findings.inputs.add(member)
    elif name.name == "steps":
        if member is None:
            findings.add("expression_reference", "name one step: steps.ID or steps['ID']")
        else:
            findings.steps.add(member)
    elif member is None:
        findings.add("secret_misuse", "name one secret: secrets.NAME")
    else:
        findings.secrets.add(member)
        _check_secret_use(parents, findings)


def _member(node: nodes.Node) -> str | None:
    """The literal key that a node takes from the value under it, if it is one."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        return node.arg.value
    return None


def _check_secret_use(parents: tuple[nodes.Node, ...], findings: Findings) -> None:
    """An expression sees a placeholder, so computing with it would give a wrong value without a word."""
    below: nodes.Node = parents[-1]
    for node in reversed(parents[:-1]):
        carried = isinstance(node, _SECRET_CARRIERS) or (isinstance(node, nodes.CondExpr) and below is not node.test)
        if not carried:
            findings.add(
                "secret_misuse", "a secret can only be put in as it is; filters, methods and operators cannot see it"
            )
            return
        below = node
