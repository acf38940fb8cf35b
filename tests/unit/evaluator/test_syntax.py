"""Texts that are no expressions, in a process that can open no file: each is told in a sentence, with its code."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgres_definitions.expressions import find_references
from flowgres_runner.evaluator import EvaluatorPool, RenderFailed, RenderJob
from tests.unit.evaluator.test_round_trip import loop_and_pool

__all__ = ["loop_and_pool"]

NOT_VALID = [
    "{{ a b }}",
    "{{}}",
    "{{ 1 | }}",
    "{{ (1 }}",
    "{{ {{ 1 }} }}",
    "{# open",
    "{{ '\\xZZ' }}",
    "{{ '\\N{NO SUCH NAME}' }}",
    "{{ 1e400 }}",
    "{{ " + "9" * 5_000 + " }}",
    "{{ 0777 }}",
    "{{ input.text.split(sep='a', sep='b') }}",
    "{{ 1 | default(default_value=1, default_value=2) }}",
    "{{ 1 is divisibleby(num=1, num=2) }}",
    "{{ input.items | map('default', x=1, y=2, x=3) }}",
]
NOT_ALLOWED = ["{{ 1 | default(__debug__=1) }}", "{{ 1 | default(**{'a': 1}) }}", "{{ f(x=1) }}", "{% raw %}"]
TOO_LARGE = [
    "{{ " + "(" * 199 + "1" + ")" * 199 + " }}",
    "{{ 1" + " + 1" * 3_000 + " }}",
    "{{ input" + ".a" * 100 + " }}",
]
_CODES = {
    **dict.fromkeys(NOT_VALID, "expression_syntax"),
    **dict.fromkeys(NOT_ALLOWED, "expression_unsafe"),
    **dict.fromkeys(TOO_LARGE, "expression_limit"),
}
_WORDS = """
( ) [ ] { } , : . | ~ + - % < = 1 0 $ ` ! @ ? ; # ** // == in not is and or if else 1e5 1_0 0x1 0_7 'a' '\\' None input
input.n default round(2) center(width=1) sort( map( a= a=1 b=2 width=1 *a **a defined divisibleby(1) é ª ＡＢ class
lambda import self loop super() __x .items() .split( .get(1) {{ }} {% %} {# #} "\u2028"
"""
_TOKENS = st.sampled_from(_WORDS.split())


@pytest.mark.parametrize("text", _CODES, ids=range(len(_CODES)))
async def test_text_that_cannot_be_compiled_has_a_code_and_a_sentence(pool: EvaluatorPool, text: str) -> None:
    (answer,) = await pool.render([RenderJob(text, {"place": text}, {"input": {}})])

    assert isinstance(answer, RenderFailed)
    assert answer.code == _CODES[text]
    assert re.match(r"place: .*\w+ .+", answer.message)
    # The check of a definition says the same, before anything runs.
    assert [problem.code for problem in find_references(text).problems] == [answer.code]


@settings(max_examples=150, deadline=None)
@given(words=st.lists(st.lists(_TOKENS, min_size=1, max_size=12), min_size=8, max_size=8))
def test_nothing_that_is_compiled_needs_what_the_process_cannot_open(
    loop_and_pool: tuple[asyncio.AbstractEventLoop, EvaluatorPool], words: list[list[str]]
) -> None:
    loop, pool = loop_and_pool
    texts = [f"{{{{ {' '.join(tokens)} }}}}" for tokens in words]

    answers = loop.run_until_complete(pool.render([RenderJob(text, text, {"input": {"n": 1}}) for text in texts]))

    for text, answer in zip(texts, answers, strict=True):
        if isinstance(answer, RenderFailed):
            assert " " in answer.message, text
            assert not re.search(r"OSError|ImportError|ModuleNotFoundError|SyntaxError", answer.message), text
