"""What is a letter, printable or lower case is ours to say, not a database's locale; other encodings are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from flowgres_cli.migrate import MigrationError, upgrade
from tests.support.database import Database, Db
from tests.support.engine import dag, import_workflow
from tests.support.server import INSTALLER, Server

# Classes of characters and word boundaries of regular expressions, and changes of case, follow the collation.
BY_LOCALE = re.compile(r"\\[wWsSdDmMyY](?![a-z])|\[\[:|\b(?:lower|upper|initcap)\(|\bilike\b|~\*|!~\*", re.IGNORECASE)
SOURCES = """
select p.oid::regprocedure::text as name, p.prosrc as text
from pg_proc as p where p.pronamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace)
union all
select c.oid::regclass::text, pg_get_viewdef(c.oid)
from pg_class as c
where c.relkind = 'v' and c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace)
union all
select c.conrelid::regclass::text || ' ' || c.conname, pg_get_constraintdef(c.oid)
from pg_constraint as c where c.connamespace = 'flowgres'::regnamespace and c.contype = 'c'
"""
# Turkish has a dotless i in lower case and a dotted one in upper case.
TEXTS = [
    "IMPORT It",
    "Üble Sitten ÄÖ",
    "İstanbul",
    "ıI iİ",
    "a\u00a0b",
    "a\u0085b",
    "a\u2028b",
    "naïve",
    "ΣΑΣ",
    "𝐀bc",
    "x\ty",
]
NAMES = ["options", "INFO", "warn", "WARNİNG", "PATCH", "delete"]
EXPRESSIONS = [
    "{{ secrets.KEY }}", "{{ ésecrets.KEY }}", "{{ secretsé.KEY }}", "{{ secrets\u00a0.KEY }}", "{{ secrets.KEYé }}",
    "{{ steps.naïve.output }}", "{{ steps . a\u2003}}", "{{ stepsı.a }}", "{{ input.x is\u00a0defined }}",
]  # fmt: skip
ASKED = [
    ("select flowgres.slug_of(%s)", TEXTS),
    ("select flowgres.require_text('name', %s, 200)", TEXTS),
    ("select flowgres.secret_use(%s)", EXPRESSIONS),
    ("select flowgres.find_names(to_jsonb(%s::text), 'steps')", EXPRESSIONS),
    ("select to_jsonb(r) from flowgres.read_expressions("
     "jsonb_build_array(jsonb_build_object('text', %s::text, 'names', '[\"input\"]'::jsonb))) as r", EXPRESSIONS),
    ("select flowgres.form_word(to_jsonb(%s::text), 'upper')", NAMES),
    ("select flowgres.form_word(to_jsonb(%s::text), 'lower')", NAMES),
    ("select flowgres.normalise_message(%s)", [f"{text}deadbeef1 {text}" for text in TEXTS]),
]  # fmt: skip

KEYS = [("Größe-1", None), ("a\tb", "idempotency_key_invalid"), ("a\u0085b", "idempotency_key_invalid")]


def new_database(server: Server, options: str) -> str:
    name = server.create_database(template="template0")
    server.drop_database(name)
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        statement = sql.SQL("create database {} template template0 owner {} ").format(
            sql.Identifier(name), sql.Identifier(INSTALLER)
        )
        connection.execute(statement + sql.SQL(options))
    return name


@pytest.fixture(scope="module")
def foreign(server: Server) -> Iterator[Database]:
    """A database whose locale is as far from C as this server has one: Turkish by ICU, else another one of UTF-8."""
    with psycopg.connect(server.superuser_dsn) as connection:
        found = connection.execute(
            "select collcollate from pg_collation where collprovider = 'c' and collcollate ilike '%utf%8'"
            " order by collcollate not like 'tr%', collcollate not like 'en%', collcollate limit 1"
        ).fetchone()
    try:
        name = new_database(server, "encoding 'UTF8' locale_provider icu icu_locale 'tr-TR' locale 'C'")
    except psycopg.errors.FeatureNotSupported:
        # Built without ICU, though its catalogue has collations of it.
        name = new_database(server, f"encoding 'UTF8' locale '{found[0] if found else 'C.UTF-8'}'")
    upgrade(server.dsn(name, user=INSTALLER))
    yield Database(name=name, server=server)
    server.drop_database(name)


def answer(db: Db, query: str, text: str) -> Any:
    try:
        return db.value(query, text)
    except psycopg.Error as error:
        return error.sqlstate, error.diag.constraint_name


def test_no_function_view_or_constraint_leaves_it_to_the_locale(db: Db) -> None:
    rows = db.all(SOURCES)
    assert len(rows) > 200
    wrong = [
        f"{row['name']}: {line.strip()[:120]}"
        for row in rows
        for line in row["text"].splitlines()
        if BY_LOCALE.search(line) and 'collate "c"' not in line.lower() and not line.strip().startswith("--")
    ]
    assert wrong == []


@pytest.mark.parametrize(("query", "texts"), ASKED)
def test_answers_are_the_same_in_another_locale(query: str, texts: list[str], db: Db, foreign: Database) -> None:
    with foreign.connect() as other:
        assert [answer(other, query, text) for text in texts] == [answer(db, query, text) for text in texts]


@pytest.mark.parametrize(("key", "code"), KEYS)
def test_printable_is_what_is_no_control(key: str, code: str | None, database: Database, foreign: Database) -> None:
    for where in (database, foreign):
        tenant = where.make_tenant()
        with where.connect() as db:
            import_workflow(db, tenant, dag("work", [{"id": "a"}]))
        with where.as_role("member", tenant_id=tenant.tenant_id) as member:
            query = "select flowgres_api.start_execution(workflow => 'work', idempotency_key => %s)"
            try:
                answered = member.value(query, key)["created"]
            except psycopg.Error as error:
                answered = error.diag.message_primary or ""
            assert (answered is True) if code is None else (code in answered)


@pytest.mark.parametrize("options", ["encoding 'SQL_ASCII' locale 'C'", "encoding 'LATIN1' locale 'C'"])
def test_other_encodings_are_refused(options: str, server: Server) -> None:
    name = new_database(server, options)
    try:
        with pytest.raises(MigrationError) as refused:
            upgrade(server.dsn(name, user=INSTALLER))
        assert refused.value.code == "encoding_refused"
        assert "UTF8" in str(refused.value.hint)
    finally:
        server.drop_database(name)
