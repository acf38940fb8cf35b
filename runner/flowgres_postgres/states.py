"""The states of a database that keep us from working, told from what libpq and the server say.

A failed connect has no SQLSTATE in libpq, only a text, so that is read; of a server that speaks another language than
English the text itself is told, as `database_unreachable`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

OLDEST_SERVER = 150000

Kind = Literal["away", "login", "missing", "state"]
"""`away`: nobody answers, or not yet. `login`: credentials or a right are lacking. `missing`: what was named is not
there. `state`: it answers, and is not what we need."""


@dataclass(frozen=True, slots=True)
class State:
    """Why a database cannot be used: a stable code, a sentence, and what to do."""

    code: str
    message: str
    hint: str
    kind: Kind = "state"


# Pattern of what libpq says -> code, sentence (with the groups of the pattern), hint, kind. The first that fits counts.
_CONNECT: tuple[tuple[str, State], ...] = (
    (
        r'authentication failed for user "(?P<login>[^"]*)"',
        State(
            "login_refused",
            "the database refuses the login {login}: the password is wrong, or there is no such login",
            "Check user and password of the connection string; flowgres db install sets those of its own logins.",
            "login",
        ),
    ),
    (
        r"no password supplied|SASL authentication failed|password authentication failed",
        State(
            "login_refused",
            "the database wants a password for this login",
            "Put it into the connection string, or into ~/.pgpass.",
            "login",
        ),
    ),
    (
        r"no pg_hba.conf entry",
        State(
            "login_refused",
            "the server lets this login in from nowhere, or not from this address or without TLS",
            "Add a line to its pg_hba.conf, or set sslmode in the connection string.",
            "login",
        ),
    ),
    (
        r'role "(?P<login>[^"]*)" (?:does not exist|is not permitted to log in)|no such user(?:: (?P<login2>\S+))?',
        State(
            "login_refused",
            "the database knows no login {login}",
            "Check the user of the connection string; flowgres db install makes the logins of flowgres.",
            "login",
        ),
    ),
    (
        r'permission denied for database "(?P<name>[^"]*)"',
        State(
            "connect_refused",
            "this login may not connect to the database {name}",
            "Its owner says: grant connect on database {name} to LOGIN;",
            "login",
        ),
    ),
    (
        r'database "(?P<name>[^"]*)" is not currently accepting connections',
        State(
            "connect_refused",
            "the database {name} accepts no connections",
            "A superuser says: alter database {name} with allow_connections true;",
        ),
    ),
    (
        r'database "(?P<name>[^"]*)" does not exist|no such database(?:: (?P<name2>\S+))?',
        State(
            "database_missing",
            "there is no database {name} on this server",
            "Check its name, or create it: flowgres db install --create-database",
            "missing",
        ),
    ),
    (
        r"too many clients|too many connections|remaining connection slots|no more connections allowed",
        State(
            "connections_exhausted",
            "the server has no connection left",
            "Close some, raise max_connections (or the limit of the login or database), or put a pooler before it.",
        ),
    ),
    (
        r"starting up|shutting down|in recovery mode|not yet accepting connections",
        State(
            "database_starting",
            "the server is starting or stopping",
            "Wait for it; its own log says why it takes long.",
            "away",
        ),
    ),
    (
        r"session is read-only|server is in hot standby mode",
        State(
            "database_read_only",
            "the database only reads: this server is a standby, or default_transaction_read_only is on",
            "Name the primary in the connection string, or: alter database NAME reset default_transaction_read_only;",
        ),
    ),
    (
        r"server does not support SSL|SSL (?:error|SYSCALL)|certificate",
        State(
            "tls_failed",
            "no encrypted connection to the database could be made: {text}",
            "Look at sslmode and sslrootcert of the connection string.",
            "away",
        ),
    ),
    (
        r"unsupported startup parameter|server_login_retry|query_wait_timeout|pgbouncer|client_login_timeout",
        State(
            "pooler_refused",
            "the pooler before the database refuses: {text}",
            "Look into its log; DATABASE_DIRECT_URL names the database itself.",
            "away",
        ),
    ),
)

_BY_SQLSTATE: dict[str, State] = {
    "25006": State(
        "database_read_only",
        "the database only reads: this server is a standby, or default_transaction_read_only is on",
        "Name the primary in the connection string, or: alter database NAME reset default_transaction_read_only;",
    ),
    "53100": State("disk_full", "the disk of the database is full", "Free or add space; nothing is damaged by it."),
    "53200": State("memory_exhausted", "the server has no memory left", "Look at its work_mem and its other programs."),
    "53300": State(
        "connections_exhausted",
        "the server has no connection left",
        "Close some, raise max_connections (or the limit of the login or database), or put a pooler before it.",
    ),
    "58030": State("disk_failed", "the disk of the database cannot be read or written", "The server's log says more."),
    **{
        sqlstate: State(
            "not_installed",
            "flowgres is not installed in this database, or in an older version",
            "Run: flowgres db install",
            "missing",
        )
        for sqlstate in ("3F000", "42P01", "42883")
    },
}
_PREFIXES: tuple[tuple[str, State], ...] = (
    (
        "57P",
        State("database_starting", "the server is starting or stopping", "Wait for it; its own log says why.", "away"),
    ),
    (
        "08",
        State(
            "database_unreachable",
            "the connection to the database broke",
            "Is PostgreSQL running, and is its address right?",
            "away",
        ),
    ),
)


def state_of_connect(text: str) -> State:
    """What a failed connect means, by libpq's text."""
    one_line = " ".join(text.split()).removeprefix("connection failed: ")
    # The last of several addresses that were tried says it.
    for pattern, state in _CONNECT:
        found = re.search(pattern, one_line, re.IGNORECASE)
        if found:
            return _filled(state, found, one_line)
    return State(
        "database_unreachable",
        f"the database does not answer: {one_line}",
        "Is PostgreSQL running, and does the connection string name its host and port?",
        "away",
    )


def state_of_sqlstate(sqlstate: str | None) -> State | None:
    """What the SQLSTATE of a statement says about the database; None when it speaks of the statement alone."""
    if sqlstate is None:
        return None
    found = _BY_SQLSTATE.get(sqlstate)
    return found or next((state for prefix, state in _PREFIXES if sqlstate.startswith(prefix)), None)


def state_of_server(server_version: int, spelled: str | None) -> State | None:
    """What the version of a server says, as libpq counts it (150004); None when it is new enough."""
    if server_version >= OLDEST_SERVER:
        return None
    return State(
        "postgres_too_old",
        f"flowgres needs PostgreSQL 15 or newer, and this server is {spelled or server_version // 10000}",
        "Upgrade the server, or choose another one.",
    )


def _filled(state: State, found: re.Match[str], text: str) -> State:
    groups = found.groupdict()
    words = {
        "login": groups.get("login") or groups.get("login2") or "of the connection string",
        "name": groups.get("name") or groups.get("name2") or "of the connection string",
        "text": text,
    }
    # Names come from outside: put in, and not read as a format.
    return State(state.code, _put(state.message, words), _put(state.hint, words), state.kind)


def _put(sentence: str, words: dict[str, str]) -> str:
    return re.sub(r"\{(login|name|text)\}", lambda match: words[match[1]], sentence)
