"""The locks of an upgrade: one upgrade at a time, and none that a caller could wait for in a circle.

Callers lock views and tables as their queries name them, in any order. An upgrade that takes strong locks one by one,
as its files need them, would sooner or later hold what a caller wants and wait for what that caller holds, and after
`deadlock_timeout` PostgreSQL ends one of the two. So the door is closed first: callers enter by a shared lock
(flowgres.enter), the upgrade waits for those inside, and whoever comes waits outside and holds nothing. Then all strong
locks are taken before the first file runs, within half of that time: runners and logins that know no door have not
waited long enough by then to look for a circle, and from then on the upgrade waits for nobody.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flowgres_cli.bundle import SqlFile
from flowgres_cli.ledger import MigrationError, Problem, Status
from flowgres_cli.statements import ADVISORY_LOCK

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

# A lock that only we can take: an advisory one is anybody's, and a login that holds it would shut out all tenants.
_DOOR = "lock table flowgres.door in access exclusive mode"
_OWNER_OF_DOOR = """
select pg_get_userbyid(c.relowner) from pg_catalog.pg_class as c
where c.oid = to_regclass('flowgres.door') and pg_has_role(c.relowner, 'MEMBER')
"""

_T = TypeVar("_T")
_VIEW = re.compile(r"^create or replace view (flowgres(?:_api)?\.\w+)", re.MULTILINE)
_NAME = re.compile(r"\bflowgres(?:_api)?\.\w+")
# Views before what they are made of, as callers meet them. The differences' own views are nobody else's.
_RELATIONS = """
select
  pg_get_userbyid(c.relowner),
  -- LOCK TABLE of a view would lock all that it reads, too.
  format(
    case c.relkind
      when 'v' then 'alter view %%I.%%I reset (check_option)' else 'lock table %%I.%%I in access exclusive mode'
    end,
    n.nspname, c.relname)
from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where c.oid = any(array(select to_regclass(u.name) from unnest(%s::text[]) as u (name)))
  and c.relkind in ('v', 'r', 'p') and right(c.relname, 12) <> '_differences' and pg_has_role(c.relowner, 'MEMBER')
order by c.relkind <> 'v', c.relname <> 'executions', c.oid
"""


class UpgradeBlockedError(MigrationError):
    """Other sessions held the locks for too long; nothing changed, try again."""


class Blocked(Exception):
    """A lock was not granted; the transaction was rolled back and may be tried again."""


def until_granted(attempt: Callable[[], _T], deadline: float) -> _T:
    """Repeat an attempt that other sessions' locks forbade, with growing pauses, until the deadline."""
    pause = 0.1
    while True:
        try:
            return attempt()
        except Blocked as error:
            if time.monotonic() + pause > deadline:
                raise UpgradeBlockedError(
                    "upgrade_blocked",
                    f"The upgrade did not get its locks in time: {error}",
                    hint="Another upgrade or a long transaction holds them (see pg_stat_activity). Try again.",
                ) from error
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def take_turn(connection: Connection, function: str) -> None:
    """Be the only upgrade, by one of PostgreSQL's functions for advisory locks."""
    # Tried, not waited for: a waiting session's snapshot would stall a concurrent index build of the one that holds it.
    row = connection.execute(f"select {function}({ADVISORY_LOCK})").fetchone()
    if row is None or not row[0]:
        raise Blocked("another upgrade is under way")


@contextlib.contextmanager
def translated_locks() -> Iterator[None]:
    """Turn a lock that was not granted into Blocked."""
    from psycopg import errors

    try:
        yield
    except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
        raise Blocked(str(error).strip()) from error


def lock_ahead(connection: Connection, names: Collection[str], lock_timeout_seconds: float) -> None:
    """Take the strong locks of these views and tables, where they exist already, in the transaction of the upgrade.

    Raises LockNotAvailable when that takes longer than half of deadlock_timeout; `lock_timeout_seconds` is for the
    first, while nothing is held.
    """
    from psycopg import errors

    relations = connection.execute(_RELATIONS, [sorted(names)]).fetchall() if names else []
    budget = connection.execute(
        "select setting::float / 2000 from pg_catalog.pg_settings where name = 'deadlock_timeout'"
    ).fetchone() or (0.5,)
    deadline = None
    door = connection.execute(_OWNER_OF_DOOR).fetchone()
    if relations and door is not None:
        relations = [(door[0], _DOOR), *relations]
    for owner, statement in relations:
        seconds = lock_timeout_seconds if deadline is None else deadline - time.monotonic()
        limit = f"{max(round(seconds * 1000), 1)}ms"
        connection.execute("select set_config('lock_timeout', %s, true), set_config('role', %s, true)", [limit, owner])
        # Where even the owner lost its rights nobody is at work.
        with contextlib.suppress(errors.InsufficientPrivilege), connection.transaction():
            connection.execute(statement)
        if statement != _DOOR:
            deadline = deadline or time.monotonic() + float(budget[0])
    limit = f"{round(lock_timeout_seconds * 1000)}ms"
    connection.execute("select set_config('lock_timeout', %s, true), set_config('role', 'none', true)", [limit])


def changed_relations(found: Status) -> set[str]:
    """Names of what the pending files may lock strongly, up to the next one that runs outside a transaction.

    A schema file replaces its views. A migration may do anything with whatever it names.
    """
    names: set[str] = set()
    for file in found.pending:
        if not file.is_transactional:
            return names
        names |= set(_NAME.findall(_code(file)))
    for file in found.changed:
        names |= set(_VIEW.findall(file.text))
    return names


def mended_relations(problems: Sequence[Problem]) -> set[str]:
    """Names of the tables and views whose owners or policies differ."""
    return {p.object.partition(" ")[2] for p in problems if p.object.startswith(("table ", "view "))}


def _code(file: SqlFile) -> str:
    return re.sub(r"--[^\n]*|\$\$.*?\$\$", "", file.text, flags=re.DOTALL)
