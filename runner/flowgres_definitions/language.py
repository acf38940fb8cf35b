"""The words of expressions and the limits of definitions. Small: the evaluator's processes import it."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MAX_TEXT_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64
MAX_STEPS: Final = 50
MAX_NUMBER_CHARACTERS: Final = 320
"""Longer than any finite double written out; longer literals are mistakes or attacks."""

CONTEXT_NAMES: Final = frozenset({"input", "trigger", "steps", "execution", "workflow", "tenant", "instance"})
"""Names that every expression sees. PLACED_NAMES depend on the place."""

PLACED_NAMES: Final = {
    "item": "only in a step with `foreach`",
    "item_index": "only in a step with `foreach`",
    "callback": "only in the configuration of an http step with `callback`",
    "previous": "only in a step with `repeat`",
    "round": "only in a step with `repeat`",
    "response": "only in the `output` or `repeat` of an http step",
    "output": "only in the `output` or `repeat` of a step",
    "error": "only in the steps of `on_failure`",
    "secrets": "only in what an http step sends (url, headers, query, json, body, form, auth), "
    "or where a step type of a package takes them",
}

FILTERS: Final = _words(
    "abs batch capitalize center count d default dictsort filesizeformat first float groupby indent int items join "
    "last length list lower map max min reject rejectattr replace reverse round select selectattr slice sort string "
    "sum title tojson trim truncate unique upper urlencode wordcount wordwrap"
)

TESTS: Final = _words(
    "boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable le lessthan lower "
    "lt mapping ne none number odd sequence string true undefined upper == != < <= > >="
)

METHODS: Final = _words(
    "capitalize casefold center count endswith find get index isalnum isalpha isdecimal isdigit islower isnumeric "
    "isspace istitle isupper items join keys ljust lower lstrip partition removeprefix removesuffix replace rfind "
    "rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper values "
    "zfill"
)
"""Methods of text, lists and objects that an expression may call. They return data and change nothing."""

MAX_EXPRESSION_CHARACTERS: Final = 16_384
"""Of one text that has expressions in it. Jinja's lexer and parser are linear, so this bounds their time."""

MAX_EXPRESSION_TOKENS: Final = 4_000
MAX_EXPRESSION_DEPTH: Final = 60
"""Of the syntax tree. Generated code nests up to three brackets a level and CPython's parser refuses 200."""
