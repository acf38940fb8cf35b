"""What expressions mean: values, types, undefined fields, allowed operations. In this process: no limits are needed."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from flowgres_definitions.language import FILTERS, METHODS, TESTS
from flowgres_runner.evaluator.methods import _TEXTS, ALLOWED_FILTERS, ALLOWED_TESTS, AS_INTEGER, AS_TEXT
from flowgres_runner.evaluator.sandbox import NOT_TAKEN, Template, encode_result
from flowgres_runner.evaluator.values import RenderError

CONTEXT: dict[str, Any] = {
    "input": {
        "items": [{"sku": "b", "n": 1}, {"sku": "a", "n": 2}],
        "count": 3,
        "text": "a,b",
        "flag": True,
        "nothing": None,
        "_id": "x1",
        "keys": "field",
    },
    "steps": {"a": {"output": {"v": 41}}, "b": {"output": None}},
    "secrets": {"KEY": "placeholder-93bd"},
}


def render(template: Any, context: dict[str, Any] | None = None, when: str | None = None) -> Any:
    value = Template(template, when).evaluate(CONTEXT if context is None else context)
    return None if value is NOT_TAKEN else json.loads(encode_result(value, 262_144))


def failure(template: Any, context: dict[str, Any] | None = None) -> RenderError:
    with pytest.raises(RenderError) as caught:
        render(template, context)
    return caught.value


VALUES = {"none": "null", "true": "true", "[1, none, {'a': false}]": '[1, null, {"a": false}]', "1e16 / 1": str(10**16)}
_OF_TEXT = {
    "{V} ": "V ",
    "{{{{ ({V}) ~ '' }}}}": "V",
    "{{{{ ({V}) | string }}}}": "V",
    "{{{{ [{V}, 'x'] | join('-') }}}}": "V-x",
    "{{{{ ['x', 'y'] | join({V}) }}}}": "xVy",
    "{{{{ '-'.join([{V}]) }}}}": "V",
    "{{{{ '%s|%5.1f' % ({V}, 2) }}}}": "V|  2.0",
    "{{{{ '%(a)s' % {{'a': {V}}} }}}}": "V",
    "{{{{ ({V}) | upper | lower }}}}": "V",
    "{{{{ [{V}] | map('lower') | first }}}}": "V",
    "{{{{ ({V}) | replace('zz', '') }}}}": "V",
    "{{{{ 'zz' | replace('zz', {V}) }}}}": "V",
    "{{{{ 'zz' | replace(old='zz', new={V}) }}}}": "V",
    "{{{{ ({V}) | trim }}}}": "V",
    "{{{{ ({V}) | indent(2) }}}}": "V",
    "{{{{ ({V}) | truncate(99) }}}}": "V",
    "{{{{ ({V}) | wordwrap(99) }}}}": "V",
    "{{{{ ({V}) | center(3) }}}}": "V",
    "{{{{ {{'k': {V}}} | urlencode }}}}": "k=U",
    "{{{{ ({V}) | urlencode }}}}": "U",
    "{{{{ ({V}) | tojson }}}}": "V",
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("template", _OF_TEXT)
def test_whatever_takes_a_text_takes_json_for_one(template: str, value: str) -> None:
    text = "{{ " + value + " }} " if template == "{V} " else template.format(V=value)
    written = VALUES[value]
    assert render(text) == _OF_TEXT[template].replace("V", written).replace(
        "U", quote_plus(written) if "k=" in _OF_TEXT[template] else quote(written)
    )


def test_every_filter_of_text_is_among_those() -> None:
    for name in FILTERS - {"capitalize", "title", "wordcount"}:
        assert name not in _TEXTS or any(f"| {name}" in template for template in _OF_TEXT), name
    assert render("{{ none | capitalize }}{{ true | title }}{{ none | wordcount }}") == "NullTrue1"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ none + 'a' }}", "null"),
        ("{{ {} + 1 }}", "object"),
        ("{{ '%d' % none }}", "number"),
        ("{{ '%r' % 'a' }}", "%s"),
        ("{{ 'a' + 1 }} {{ 1e308 * 10 }}", "text"),
        ("x{{ 'inf' | float }}", "finite"),
        ("x{{ 1e308 * 10 }}", "finite"),
    ],
)
def test_errors_speak_of_the_kinds_of_json(template: str, message: str) -> None:
    told = failure(template).message.partition(" in {{")[0].partition(" in x{{")[0]
    assert message in told
    assert not re.search(r"NoneType|\b(str|dict|bool|int|float|tuple)\b", told)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ steps.a.output.v + 1 }}", 42),
        ("{{- steps.a.output.v -}}", 41),
        ("{{ input.items | length }}", 2),
        ("{{ input.items }}", CONTEXT["input"]["items"]),
        ("{{ input.flag }}", True),
        ("{{ input.nothing }}", None),
        ("{{ {'a': [1, (2, 3)]} }}", {"a": [1, [2, 3]]}),
        ("{{ input._id }}", "x1"),
        ("{{ input['count'] }}", 3),
        ("{{ input.items[0].sku }}", "b"),
        ("{{ input.items[::-1][0].sku }}", "a"),
        (" {{ input.count }}", " 3"),
        # Integers of any size, and integral numbers where an integer is asked for.
        ("{{ 9223372036854775807 + 1 }}", 9223372036854775808),
        (f"{{{{ {10**400} + 1 }}}}", 10**400 + 1),
        (f"{{{{ {10**400} * 7 }}}}", 7 * 10**400),
        ("{{ 10**300 // 3 }} {{ 10**300 }}", f"{10**300 // 3} {10**300}"),
        ("{{ input.items[2 / 2].sku }}", "a"),
        ("{{ 'abcdef'[: 4 / 2] }}", "ab"),
        ("{{ 'ab' * (4 / 2) }}", "abab"),
        ("{{ [1, 2, 3, 4] | batch(4 / 2) }}", [[1, 2], [3, 4]]),
        ("{{ 'a' | center(6 / 2) }}{{ 'aaaa' | truncate(length=8 / 2, end='') }}", " a aaaa"),
        ("{{ 1.25 | round(2 / 2) }}{{ '%d' % (4 / 2) }}{{ '1'.zfill(6 / 2) }}", "1.22001"),
        ("{{ (10 / 2) is integer }}{{ 5.5 is integer }}{{ true is number }}", "truefalsefalse"),
        # The line end of a YAML block.
        ("{{ input.count }}\n", 3),
        ("{{ input.count }} \n", "3 \n"),
        ("{{ input.count }}{{ input.count }}", "33"),
        ("n={{ input.count }}; {{ input.flag }}", "n=3; true"),
        ("{{ input.items | map(attribute='sku') }}", ["b", "a"]),
        ("{{ input.items | sort(attribute='n', reverse=true) | map(attribute='n') | list }}", [2, 1]),
        ("{{ input.items | groupby('sku') | map(attribute='grouper') }}", ["a", "b"]),
        ("{{ input.items | sum(attribute='n') }}", 3),
        ("{{ input.text.split(',') }}", ["a", "b"]),
        ("{{ {'a': 1}.items() }}", [["a", 1]]),
        ("{{ {'a': 1} | items }}", [["a", 1]]),
        ("{{ {'a': 1}.get('b', 2) }}", 2),
        ("{{ input | tojson | length > 10 }}", True),
        ("{{ '<é>' | tojson }}", '"<é>"'),
        ("{{ '007' }}", "007"),
        ("{{ '%03d' % 7 }}", "007"),
        ("{{ 'x' if input.flag else 'y' }}", "x"),
        ("{{ ('x' if false) | default('none') }}", "none"),
        ("{# a note #}{{ input.count }}", "3"),
        ("plain", "plain"),
        ({"a": ["{{ input.count }}", {"{{ b }}": 1}]}, {"a": [3, {"{{ b }}": 1}]}),
        ("{{ secrets.KEY }}", "placeholder-93bd"),
        ("Bearer {{ secrets.KEY }}", "Bearer placeholder-93bd"),
    ],
)
def test_template_renders_to_value(template: Any, value: Any) -> None:
    rendered = render(template)

    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ input.nope | default('x') }}",
        "{{ input.nope.deeper[3].still | default('x') }}",
        "{{ steps.b.output.decision | default('x') }}",
        "{{ nowhere.at.all | d('x') }}",
        "{{ input.items[9] | default('x') }}",
        "{{ input.values | default('x') }}",
        "{{ 'x' if input.nope is not defined else 'y' }}",
    ],
)
def test_default_covers_what_is_missing(template: str) -> None:
    assert render(template) == "x"


@pytest.mark.parametrize(
    "template",
    [
        "{{ input.nope }}",
        "{{ input.nope.deeper }}",
        "a {{ input.nope }}",
        "{{ [input.nope] }}",
        "{{ {'a': input.nope} }}",
        "{{ not input.nope }}",
        "{{ input.nope == 1 }}",
        "{{ input.nope and true }}",
        "{{ 'a' ~ input.nope }}",
        "{{ input.nope | upper }}",
        "{{ input.nope.upper() }}",
        "{{ [input.nope] | tojson }}",
        "{{ input.items | map(attribute='nope') }}",
    ],
)
def test_undefined_fails_and_names_the_field_alone(template: str) -> None:
    error = failure(template)

    assert error.code == "expression_undefined"
    assert "'nope'" in error.message
    assert "a,b" not in error.message


@pytest.mark.parametrize("template", ["{{ 'a' if false }}", "x{{ 'a' if false }}"])
def test_inline_if_without_else_is_undefined(template: str) -> None:
    assert failure(template).code == "expression_undefined"


def test_missing_secrets_are_a_misuse() -> None:
    assert failure("{{ secrets.KEY }}", {"input": {}}).code == "secret_misuse"


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{ 1 / 0 }}", "expression_error"),
        ("{{ 'a' + 1 }}", "expression_error"),
        ("{{ input.items() }}", "expression_error"),
        ("{{ {1: 2} }}", "expression_error"),
        ("{{ 'nan' | float }}", "expression_error"),
        ("{{ 1e308 * 10 }}", "expression_error"),
        ("{{ (-8) ** 0.5 }}", "expression_error"),
        ("{{ '\\0' }}", "expression_error"),
        ("{{ '\\ud800' }}", "expression_error"),
        ("{{ 9 ** 9000 }}", "expression_limit"),
        ("{{ 'a' * 10**9 }}", "expression_limit"),
        ("{{ ('a' * 200000) ~ ('b' * 200000) }}", "expression_limit"),
        ("{{ 'x' | center(10**9) }}", "expression_limit"),
        ("{{ 'x'.zfill(10**9) }}", "expression_limit"),
        ("{{ '%99999d' % 1 }}", "expression_limit"),
        ("{% if true %}a{% endif %}", "expression_unsafe"),
        ("{% raw %}{{ secrets }}{% endraw %}", "expression_unsafe"),
        ("{{ ''.__class__ }}", "expression_unsafe"),
        ("{{ self }}", "expression_unsafe"),
        ("{{ input.items.append(1) }}", "expression_unsafe"),
        ("{{ range(3) }}", "expression_unsafe"),
        ("{{ input | attr('x') }}", "expression_unsafe"),
        ("{{ input | map('attr', 'x') }}", "expression_error"),
        ("{{ 1 + }}", "expression_syntax"),
        ("{{ 1e999 }}", "expression_syntax"),
    ],
)
def test_template_fails_with_code(template: str, code: str) -> None:
    assert failure(template).code == code


def test_error_names_the_place_in_the_template() -> None:
    assert failure({"a": ["x", "{{ input.nope }}"]}).message.startswith("a[1]: ")


def test_results_are_data_and_never_rendered_again() -> None:
    assert render("{{ input.t }}", {"input": {"t": "{{ 7 * 7 }}"}}) == "{{ 7 * 7 }}"


@pytest.mark.parametrize(("when", "value"), [("{{ input.flag }}", 3), ("{{ input.count == 4 }}", None)])
def test_when_decides_first(when: str, value: Any) -> None:
    assert render("{{ input.count }}", when=when) == value


@pytest.mark.parametrize("when", ["{{ 1 }}", "{{ 'true' }}", "{{ none }}", "true", "{{ input.items }}"])
def test_when_must_be_boolean(when: str) -> None:
    with pytest.raises(RenderError) as caught:
        render("x", when=when)

    assert caught.value.code == "expression_not_boolean"


def test_deep_results_are_refused() -> None:
    deep: Any = 1
    for _ in range(70):
        deep = [deep]

    assert failure("{{ input.deep }}", {"input": {"deep": deep}}).code == "expression_limit"


def test_allow_lists_are_served_completely() -> None:
    assert set(ALLOWED_FILTERS) == FILTERS | {f"@{name}" for name in METHODS} | {AS_TEXT, AS_INTEGER}
    assert set(ALLOWED_TESTS) == TESTS


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ none }} {{ true }} {{ false }}", "null true false"),
        ("{{ 'a' ~ none ~ true ~ 1 ~ 1.5 }}", "anulltrue11.5"),
        ("it is {{ input.mixed }}", 'it is {"a": [1, null, true, "é\'\\""]}'),
        ("{{ [none, true, [false], 'x'] | join(', ') }}", "null, true, [false], x"),
        ("{{ input.rows | join('-', attribute='k') }}", "1-null"),
        ("{{ none | string }}", "null"),
        ("{{ input.mixed | string }}", '{"a": [1, null, true, "é\'\\""]}'),
    ],
)
def test_values_within_texts_are_written_as_in_json(template: str, text: str) -> None:
    context = {"input": {"mixed": {"a": [1, None, True, "é'\""]}, "rows": [{"k": 1}, {"k": None}]}}
    assert Template(template, None).evaluate(context) == text


def test_variables_of_one_expression_are_unknown_to_the_next() -> None:
    assert render(["{{ input.count }}", "{{ result | default('none') }}"]) == [3, "none"]
