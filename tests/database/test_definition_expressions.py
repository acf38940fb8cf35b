"""The syntax of expressions in SQL, beside the judge in Python: it refuses nothing that the judge accepts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import psycopg
import pytest

from flowgres_definitions import language
from flowgres_definitions.expressions import find_references, has_expression
from tests.support.database import Database
from tests.support.definitions import Author, log_step, workflow
from tests.support.expressions import Writer

SEEDS = range(8)
TEXTS_OF_A_SEED = 400
HOSTILE = {
    "ones": "{{ " + "1+" * 8_000 + "1 }}",
    "expressions": "{{x}}" * 3_200,
    "quotes": "{{'\\'" * 3_200,
    "brackets": "{{ " + "(" * 8_000,
    "nested": "{{ " + "[" * 90 + "1," * 1_900 + "]" * 90 + " }}",
    "openings": "{{" * 8_000,
    "comments": "{#" * 8_000,
    "tests": "{{ a " + "is not " * 2_300 + "}}",
    "dots": "{{ a" + ". " * 8_000 + "}}",
    "spaces": "{{ a is" + " " * 16_000 + "}}",
    "many names": "{{x}}",
    "many faults": "{{1 a}}",
}


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def judged(text: str) -> set[str]:
    """The codes of the judge, apart from those about secrets, which SQL finds elsewhere."""
    if not has_expression(text):
        return set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in quotes that mean nothing
        return {problem.code for problem in find_references(text).problems} - {"secret_misuse"}


def said(author: Author, texts: list[str]) -> list[set[str]]:
    """The codes of SQL for each of some texts, in definitions of a hundred."""
    found: list[set[str]] = [set() for _ in texts]
    for start in range(0, len(texts), 100):
        definition = workflow(log_step("a", config={"message": texts[start : start + 100]}))
        for problem in author.db.value("select flowgres.check_expressions(p_definition => %s::jsonb)", definition):
            place = int(problem["path"].removeprefix("steps[0].config.message[").removesuffix("]"))
            found[start + place].add(problem["code"])
    return found


@pytest.mark.parametrize("kind", ["filters", "tests", "methods", "names"])
def test_both_know_the_same_words(author: Author, kind: str) -> None:
    known = {
        "filters": language.FILTERS, "tests": language.TESTS, "methods": language.METHODS,
        "names": language.CONTEXT_NAMES,
    }  # fmt: skip
    assert set(author.db.value(f"select flowgres.expression_{kind}()")) == known[kind]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_refused_that_the_judge_accepts_and_little_is_missed(author: Author, seed: int) -> None:
    writer = Writer(seed)
    texts = [writer.text() for _ in range(TEXTS_OF_A_SEED)]
    in_sql, in_python = said(author, texts), [judged(text) for text in texts]
    assert [text for text, sql, python in zip(texts, in_sql, in_python, strict=True) if sql and not python] == []
    refused = [(sql, python) for sql, python in zip(in_sql, in_python, strict=True) if python]
    assert TEXTS_OF_A_SEED // 3 < len(refused) < TEXTS_OF_A_SEED * 3 // 4, (
        "sound and broken texts are both worth having"
    )
    missed = sum(not sql for sql, _ in refused)
    assert missed / len(refused) < 0.06, "foreign letters and objects in objects in objects are left to the judge"
    other = sum(bool(sql) and sql != python for sql, python in refused)
    assert other / len(refused) < 0.06, "a broken text may be broken in two ways"


def test_every_sound_expression_of_the_writer_is_accepted(author: Author) -> None:
    writer = Writer(99)
    texts = [writer.whole() for _ in range(TEXTS_OF_A_SEED)]
    sound = [text for text in texts if not judged(text)]
    assert len(sound) > TEXTS_OF_A_SEED // 2
    assert [text for text, codes in zip(sound, said(author, sound), strict=True) if codes] == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts_are_read_in_bounded_time(author: Author, kind: str) -> None:
    text = HOSTILE[kind]
    count = min((1 << 20) // len(text), 60_000)
    definition = workflow(log_step("a", config={"message": [f"{number}{text}" for number in range(count)]}))
    author.db.run("set statement_timeout to '10s'")
    try:
        errors = author.db.value("select flowgres.check_expressions(p_definition => %s::jsonb)", definition)
    finally:
        author.db.run("reset statement_timeout")
    assert len(errors) <= 200


def test_import_that_is_refused_names_every_expression_and_changes_nothing(author: Author) -> None:
    author.import_(workflow(log_step("a")))
    broken = workflow(log_step("a", config={"message": "{{ input. }}"}), log_step("b", when="{{ inptu.x }}"))
    with pytest.raises(psycopg.Error) as caught:
        author.import_(broken)
    assert (caught.value.sqlstate, caught.value.diag.constraint_name) == ("FG422", "definition_invalid")
    details = author.db.value("select %s::jsonb", caught.value.diag.message_detail)
    expected = {"steps[0].config.message": "expression_syntax", "steps[1].when": "expression_name"}
    assert {error["path"]: error["code"] for error in details} == expected
    assert author.errors(broken) == expected
    assert author.db.value("select latest_version from flowgres.workflows where tenant_id = %s", author.tenant_id) == 1


def test_hints_say_what_was_meant(author: Author) -> None:
    definition = workflow(
        log_step("a", config={"message": ["{{ inptu.x }}", "{{ input.x | uper }}", "{{ input['x }}"]})
    )
    hints = [error.get("hint") for error in author.check(definition)["errors"]]
    assert hints == [
        'Did you mean "input"?',
        'Did you mean "upper"?',
        "An expression ends with }}, and the quotes and brackets in it are closed.",
    ]
