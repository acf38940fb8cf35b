"""The front's way to the database: whatever fails, and wherever, the next caller of a connection is itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowgres_front.credentials import Credentials
from flowgres_front.database import Database as FrontDatabase
from flowgres_front.problems import Problem, from_database
from flowgres_front.settings import FrontSettings
from tests.front.conftest import TenantKeys
from tests.support.database import Database
from tests.support.pooler import pooling
from tests.support.runner import wait_for
from tests.support.server import JWT_SECRET

WHO = (
    "select jsonb_build_object('role', current_user, 'tenant', nullif(current_setting('flowgres.tenant_id', true), ''),"
    " 'actor', nullif(current_setting('flowgres.actor', true), ''), 'limit', current_setting('statement_timeout'))"
)
NOBODY = {"role": "flowgres_front", "tenant": None, "actor": None, "limit": "15s"}
CALLERS_SECONDS = 7
PID = "select pg_backend_pid()"


@asynccontextmanager
async def opened(
    dsn: str, *, pool_size: int = 1, statement_seconds: float = CALLERS_SECONDS
) -> AsyncIterator[FrontDatabase]:
    """With one connection, so that the next caller gets that of the one before."""
    database = FrontDatabase(
        FrontSettings(dsn=dsn, jwt_secret=JWT_SECRET, pool_size=pool_size, statement_seconds=statement_seconds)
    )
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(module_database: Database) -> AsyncIterator[FrontDatabase]:
    async with opened(module_database.dsn("front")) as database:
        yield database


@pytest.fixture
def notes(module_database: Database) -> Iterator[TenantKeys]:
    """A table that members write to, whose rows are refused at the commit when they say so; or end their session."""
    with module_database.connect() as db:
        db.run("create table public.notes (note text)")
        db.run("grant select, insert on public.notes to flowgres_member")
        db.run(
            "create function public.judge() returns trigger language plpgsql security definer as $$ begin"
            " if new.note = 'refused' then raise exception 'no' using errcode = 'P0001'; end if;"
            " if new.note = 'ended' then perform pg_terminate_backend(pg_backend_pid()); end if; return null; end; $$"
        )
        db.run(
            "create constraint trigger judge after insert on public.notes deferrable initially deferred"
            " for each row execute function public.judge()"
        )
        yield TenantKeys(db)
        db.run("drop table public.notes; drop function public.judge();")


def key(text: str) -> Credentials:
    return Credentials(api_key=text)


async def who(database: FrontDatabase) -> Any:
    """What the connection is when it is nobody's."""
    row = await database.own(f"{WHO} as found")
    return row and row["found"]


async def write(
    database: FrontDatabase, credentials: Credentials, *statements: LiteralString, at_once: bool = False
) -> None:
    """Run them; with `at_once` the last one goes together with the commit."""
    async with database.caller(credentials) as caller:
        for statement in statements[: -1 if at_once else None]:
            await caller.call(statement)
        if at_once:
            await caller.last(statements[-1])


both_ends = pytest.mark.parametrize("at_once", [False, True], ids=["commit apart", "commit at once"])


ENDED = "insert into public.notes values ('ended') returning note"
NOTE = "insert into public.notes values ('kept') returning note"


@both_ends
@pytest.mark.parametrize(
    ("statements", "state"),
    [
        (("select 1 / 0", NOTE), "22012"),
        ((NOTE, "select 1 / 0"), "22012"),
        ((NOTE, "insert into public.notes values ('refused') returning note"), "P0001"),
        ((NOTE, "select flowgres.find_webhook(null, 'a', 'b')"), "42501"),
        ((NOTE, "select no_such_column"), "42703"),
    ],
)
async def test_call_that_fails_anywhere_leaves_nothing_behind(
    database: FrontDatabase, notes: TenantKeys, statements: tuple[LiteralString, ...], state: str, at_once: bool
) -> None:
    for _ in range(3):  # prepared, too
        with pytest.raises(psycopg.Error) as caught:
            await write(database, key(notes.member), *statements, at_once=at_once)
        assert caught.value.sqlstate == state
        assert await who(database) == NOBODY
    assert notes.db.value("select count(*) from public.notes") == 0


@both_ends
async def test_refused_caller_is_told_why_and_runs_nothing(
    database: FrontDatabase, notes: TenantKeys, at_once: bool
) -> None:
    stranger = key(notes.member[:-1] + ("0" if notes.member[-1] != "0" else "1"))
    # As a member first, so that the same connection has been one.
    await write(database, key(notes.member), NOTE, at_once=at_once)
    for _ in range(3):
        with pytest.raises(psycopg.Error) as caught:
            await write(database, stranger, NOTE, at_once=at_once)
        assert from_database(caught.value).code == "invalid_credentials"
        with pytest.raises(psycopg.Error) as caught:
            async with database.caller(stranger):
                pass
        assert from_database(caught.value).code == "invalid_credentials"
        assert await who(database) == NOBODY
    assert notes.db.value("select count(*) from public.notes") == 1


@both_ends
async def test_caller_that_could_not_be_limited_runs_nothing(
    module_database: Database, notes: TenantKeys, at_once: bool
) -> None:
    async with opened(module_database.dsn("front"), statement_seconds=-1) as database:
        with pytest.raises(psycopg.Error) as caught:
            await write(database, key(notes.member), NOTE, at_once=at_once)
        assert caught.value.sqlstate == "22023"
        assert await who(database) == NOBODY
    assert notes.db.value("select count(*) from public.notes") == 0


async def test_error_of_the_block_rolls_back(database: FrontDatabase, notes: TenantKeys) -> None:
    async def change_mind() -> None:
        async with database.caller(key(notes.member)) as caller:
            await caller.call(NOTE)
            raise LookupError

    with pytest.raises(LookupError):
        await change_mind()
    assert await who(database) == NOBODY
    assert notes.db.value("select count(*) from public.notes") == 0


async def test_error_that_the_block_swallows_does_not_commit(database: FrontDatabase, notes: TenantKeys) -> None:
    async def go_on() -> None:
        async with database.caller(key(notes.member)) as caller:
            await caller.call(NOTE)
            for statement in ("select 1 / 0", NOTE):
                with pytest.raises(psycopg.Error):
                    await caller.call(statement)

    with pytest.raises(psycopg.Error):
        await go_on()
    assert await who(database) == NOBODY
    assert notes.db.value("select count(*) from public.notes") == 0


@both_ends
async def test_call_that_is_given_up_leaves_nothing_behind(
    database: FrontDatabase, notes: TenantKeys, at_once: bool
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await write(database, key(notes.member), NOTE, "select pg_sleep(30)", at_once=at_once)
    assert await who(database) == NOBODY
    assert notes.db.value("select count(*) from public.notes") == 0


@both_ends
async def test_statements_have_their_time(module_database: Database, notes: TenantKeys, at_once: bool) -> None:
    async with opened(module_database.dsn("front"), statement_seconds=0.2) as database:
        with pytest.raises(psycopg.errors.QueryCanceled):
            await write(database, key(notes.member), NOTE, "select pg_sleep(30)", at_once=at_once)
    assert notes.db.value("select count(*) from public.notes") == 0


async def test_each_caller_of_a_connection_is_itself(
    database: FrontDatabase, module_database: Database, notes: TenantKeys
) -> None:
    other = TenantKeys(notes.db)
    callers = {
        notes.member: ("flowgres_member", notes.tenant_id),
        other.viewer: ("flowgres_viewer", other.tenant_id),
        other.member: ("flowgres_member", other.tenant_id),
        notes.admin: ("flowgres_admin", notes.tenant_id),
    }
    for _ in range(4):
        for text, (role, tenant_id) in callers.items():
            async with database.caller(key(text)) as caller:
                seen = await caller.call(WHO)
                identity = await caller.identity()
                tenants = await caller.rows("select tenant_id from flowgres_api.tenants")
            assert (seen["role"], seen["tenant"], seen["limit"]) == (role, tenant_id, f"{CALLERS_SECONDS}s")
            assert (identity.role, identity.tenant_id, identity.actor) == (role, tenant_id, seen["actor"])
            assert [str(row["tenant_id"]) for row in tenants] == [tenant_id]
        # Prepared by those who may.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await write(database, key(other.viewer), NOTE)
        await write(database, key(other.member), NOTE)
        async with database.caller(None) as caller:
            assert (await caller.call(WHO))["role"] == "flowgres_anon"


async def test_connection_that_ended_in_the_pool_is_not_given_to_anybody(
    database: FrontDatabase, notes: TenantKeys
) -> None:
    for _ in range(3):
        row = await database.own(f"{PID} as pid")
        assert row is not None
        notes.db.run("select pg_terminate_backend(%s, 10000)", row["pid"])
        await write(database, key(notes.member), NOTE)
    assert notes.db.value("select count(*) from public.notes") == 3


async def test_connection_that_ends_under_a_call_fails_it_and_no_other(
    database: FrontDatabase, notes: TenantKeys
) -> None:
    async with database.caller(key(notes.member)) as caller:
        pid = await caller.call(PID)
    call = asyncio.create_task(write(database, key(notes.member), NOTE, "select pg_sleep(30)"))
    sleeping = "select exists (select from pg_stat_activity where pid = %s and wait_event = 'PgSleep')"
    await asyncio.to_thread(wait_for, lambda: notes.db.value(sleeping, pid))
    notes.db.run("select pg_terminate_backend(%s, 10000)", pid)
    with pytest.raises(psycopg.OperationalError) as caught:
        await call
    assert from_database(caught.value).code == "database_unreachable"
    await write(database, key(notes.member), NOTE)
    assert notes.db.value("select count(*) from public.notes") == 1


@both_ends
async def test_nobody_is_told_that_nothing_has_happened_when_the_confirmation_was_lost(
    database: FrontDatabase, notes: TenantKeys, at_once: bool
) -> None:
    with pytest.raises(Problem) as caught:
        await write(database, key(notes.member), ENDED, at_once=at_once)
    assert (caught.value.status, caught.value.code) == (503, "outcome_unknown")
    assert "Retry-After" not in caught.value.headers
    await write(database, key(notes.member), NOTE, at_once=at_once)


async def test_plan_of_before_an_upgrade_fails_once(database: FrontDatabase, notes: TenantKeys) -> None:
    async def read() -> Any:
        async with database.caller(key(notes.member)) as caller:
            return await caller.row("select * from public.notes")

    await write(database, key(notes.member), NOTE)
    assert await read() == {"note": "kept"}
    notes.db.run("alter table public.notes add column more integer")
    with pytest.raises(Problem) as caught:
        await read()
    assert caught.value.code == "database_unreachable"
    assert await read() == {"note": "kept", "more": None}


async def test_call_takes_two_ways_to_the_database_or_one(
    database: FrontDatabase, notes: TenantKeys, tmp_path: Path
) -> None:
    """One for its answer, one for the commit: however much has to be said before."""
    async with database.caller(key(notes.member)) as caller:
        await caller.call(NOTE)
        connection = caller._connection

    @contextmanager
    def traced(sent: list[str]) -> Iterator[None]:
        with (tmp_path / "trace").open("w+") as trace:
            connection.pgconn.trace(trace.fileno())
            yield
            connection.pgconn.untrace()
            trace.seek(0)
            lines = [line.split("\t") for line in trace.read().splitlines()]
            sent += [line[3].strip() for line in lines if line[1] == "F"]

    sent: list[str] = []
    with traced(sent):
        async with database.caller(key(notes.member)) as caller:
            await caller.call(NOTE)
            await caller.identity()
    # After the last one there is nothing: a pooler would give its session away for that.
    assert [kind for kind in sent if kind in ("Sync", "Query")] == ["Sync", "Sync"]
    assert sent[-1] == "Sync"
    assert sent.count("Execute") == 5  # begin, limits, caller, call, commit

    await write(database, key(notes.member), NOTE, at_once=True)
    at_once: list[str] = []
    with traced(at_once):
        async with database.caller(key(notes.member)) as caller:
            assert await caller.last(NOTE) == {"note": "kept"}
            await caller.identity()
    assert [kind for kind in at_once if kind in ("Sync", "Query")] == ["Sync"]
    assert at_once.count("Execute") == 5

    # A pooler would give its session away for a Flush that comes after it.
    connection.prepare_threshold = None
    pooled: list[str] = []
    with traced(pooled):
        await write(database, key(notes.member), NOTE, at_once=True)
    assert [kind for kind in pooled if kind in ("Sync", "Query")] == ["Sync", "Query"]
    assert pooled[-1] == "Query"


async def test_pooler_that_changes_sessions_changes_no_caller(module_database: Database, notes: TenantKeys) -> None:
    parts = conninfo_to_dict(module_database.dsn("front"))
    other = TenantKeys(notes.db)
    with pooling(host=str(parts["host"]), port=int(str(parts["port"]))) as port:
        through = make_conninfo("", **{**parts, "port": port})
        async with opened(through, pool_size=4) as database:

            async def call(keys: TenantKeys) -> None:
                async with database.caller(key(keys.member)) as caller:
                    seen = await caller.call(WHO)
                    await caller.call(NOTE)
                assert seen["tenant"] == keys.tenant_id

            for _ in range(5):
                await asyncio.gather(*(call(keys) for keys in (notes, other, notes, other)))
                assert await who(database) == NOBODY
    assert notes.db.value("select count(*) from public.notes") == 20
