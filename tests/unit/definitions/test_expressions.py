"""Which expressions are allowed, and what they refer to."""

from __future__ import annotations

import time

import pytest

from flowgres_definitions.expressions import ExpressionError, find_references, has_expression, parse_expression


def code_of(text: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    return caught.value.code


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("{{ a }}", True),
        ("{{- a -}}", True),
        ("{{a}}", True),
        (" {{ a }}", False),
        ("{{ a }}\n", True),
        ("\n{{ a }}\r\n", True),
        ("{{ a }} \n", False),
        ("{{ a }}\n{{ b }}\n", False),
        ("{{ a }}{{ b }}", False),
        ("{{ '}}' }}", True),
        ("{{ {'a': {'b': 1}} }}", True),
        ("{# x #}{{ a }}", False),
        ("x {{ a }}", False),
    ],
)
def test_whole_value_is_exactly_one_expression(text: str, whole: bool) -> None:
    assert parse_expression(text).whole is whole


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{% set x = 1 %}", "expression_unsafe"),
        ("{% raw %}x{% endraw %}", "expression_unsafe"),
        ("{{ a.b() }}", "expression_unsafe"),
        ("{{ a() }}", "expression_unsafe"),
        ("{{ a['b']() }}", "expression_unsafe"),
        ("{{ a.upper(*x) }}", "expression_unsafe"),
        ("{{ a | join(**x) }}", "expression_unsafe"),
        ("{{ a.__class__ }}", "expression_unsafe"),
        ("{{ a['__class__'] }}", "expression_unsafe"),
        ("{{ __a }}", "expression_unsafe"),
        ("{{ a | safe }}", "expression_unsafe"),
        ("{{ a is callable }}", "expression_unsafe"),
        ("{{ a", "expression_syntax"),
        ("{{ }}", "expression_syntax"),
        ("{{ a b }}", "expression_syntax"),
        ("{{ 1" + "0" * 5000 + " }}", "expression_syntax"),
        ("{{ " + "(" * 1500 + "1" + ")" * 1500 + " }}", "expression_limit"),
        ("{{ " + "not " * 1500 + "a }}", "expression_limit"),
        ("{{ " + "- " * 1500 + "1 }}", "expression_limit"),
        ("{{ a" + ".b" * 70 + " }}", "expression_limit"),
        ("{{ " + " + ".join("1" * 100) + " }}", "expression_limit"),
        ("{{ '" + "x" * 17_000 + "' }}", "expression_limit"),
        ("{{ 1" + "if 1 else 1" * 900 + " }}", "expression_limit"),
    ],
)
def test_text_is_refused_with_code(text: str, code: str) -> None:
    started = time.process_time()

    assert code_of(text) == code
    assert time.process_time() - started < 1


def test_constants_are_not_computed() -> None:
    started = time.process_time()

    assert find_references("{{ 'a' * 10**10 }}{{ 9**9**9 }}").problems == []
    assert time.process_time() - started < 0.1


def test_misspelt_filter_gets_a_suggestion() -> None:
    (problem,) = find_references("{{ input.a | uper }}").problems

    assert problem.hint == 'Did you mean "upper"?'


def test_steps_and_secrets_are_collected() -> None:
    findings = find_references("{{ steps.a.output ~ steps['b'].error }} {{ secrets.K }}", secrets_allowed=True)

    assert (findings.steps, findings.secrets, findings.problems) == ({"a", "b"}, {"K"}, [])


def test_names_in_plain_text_and_in_quotes_are_no_references() -> None:
    assert find_references("steps.a {{ 'steps.b' }}").steps == set()


@pytest.mark.parametrize("text", ["{{ steps }}", "{{ steps[input.x] }}", "{{ steps | length }}", "{{ steps[0] }}"])
def test_steps_are_named_one_by_one(text: str) -> None:
    assert [problem.code for problem in find_references(text).problems] == ["expression_reference"]


@pytest.mark.parametrize("name", ["item", "item_index", "response", "output", "error", "env", "request"])
def test_names_are_known_only_in_their_place(name: str) -> None:
    text = f"{{{{ {name} }}}}"

    assert [problem.code for problem in find_references(text).problems] == ["expression_name"]
    assert find_references(text, names=frozenset({name})).problems == []


@pytest.mark.parametrize(
    "text",
    [
        "{{ secrets.K }}",
        "Bearer {{ secrets.K }}",
        "{{ 'Bearer ' ~ secrets['K'] }}",
        "{{ secrets.A if input.x else secrets.B }}",
        "{{ {'key': secrets.K, 'all': [secrets.K]} }}",
    ],
)
def test_secret_can_be_put_in_as_it_is(text: str) -> None:
    assert find_references(text, secrets_allowed=True).problems == []
    assert {problem.code for problem in find_references(text).problems} == {"secret_misuse"}


@pytest.mark.parametrize(
    "text",
    [
        "{{ secrets }}",
        "{{ secrets[input.name] }}",
        "{{ secrets.K | upper }}",
        "{{ secrets.K[0] }}",
        "{{ secrets.K[::-1] }}",
        "{{ secrets.K.upper() }}",
        "{{ secrets.K == 'x' }}",
        "{{ secrets.K + 'x' }}",
        "{{ 1 if secrets.K else 2 }}",
        "{{ secrets.K.nested }}",
        "{{ [secrets.K] | join }}",
    ],
)
def test_secret_cannot_be_computed_with(text: str) -> None:
    codes = {problem.code for problem in find_references(text, secrets_allowed=True).problems}

    assert codes == {"secret_misuse"}


@pytest.mark.parametrize(("text", "found"), [("a {b} c", False), ("{{ a }}", True), ("{% a %}", True), ("{# a", True)])
def test_only_texts_with_markers_are_expressions(text: str, found: bool) -> None:
    assert has_expression(text) is found
