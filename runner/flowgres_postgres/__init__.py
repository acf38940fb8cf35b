"""What a PostgreSQL says when it cannot be used: a code, a sentence and a hint, for all of ours that connect to one."""

from __future__ import annotations

from flowgres_postgres.states import OLDEST_SERVER, State, state_of_connect, state_of_server, state_of_sqlstate

__all__ = ["OLDEST_SERVER", "State", "state_of_connect", "state_of_server", "state_of_sqlstate"]
