"""What stands and what does not: the database and the engine in it, PostgREST, runners, schedules, history."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from psycopg import Error as DatabaseError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from flowgres_front.database import Database
from flowgres_front.looks import Look
from flowgres_front.problems import Problem
from flowgres_front.settings import FrontSettings
from flowgres_postgres import state_of_sqlstate

NOT_INSTALLED = "not_installed"
PROBE_SECONDS = 3.0
LATE_SECONDS = 60.0
"""Schedules fire and changes of tables are taken within a second; what is so late is seen to by nobody."""
DYING_COUNT = 10
"""Expression processes that may die within a minute: an expression that takes too much ends one, and is marked."""
_SENTENCES: dict[str, dict[str, str]] = {
    "database": {"": "The front cannot work with the database; the status says why."},
    "postgrest": {"": "PostgREST does not answer: views and functions cannot be called."},
    "runners": {
        "none": "No runner lives: calls are accepted, and wait for one.",
        "copy": "The database is a copy that nobody has adopted, so runners refuse it.",
    },
    "listeners": {"deaf": "Runners have lost their LISTEN connection: they look once a second, so starts are later."},
    "evaluators": {
        "failing": "Runners cannot start a process for expressions: steps that have any do not go on there.",
        "dying": "Processes for expressions die again and again: the expressions take too much, or memory lacks.",
    },
    "schedules": {"late": "Schedules are due, and no runner fires them."},
    "slas": {"late": "Instances of state machines are due, and no runner moves them on."},
    "changes": {"late": "Changes of tables wait, and start nothing: flowgres.table_changes grows."},
    "history": {"period_missing": "No partition is there for new executions; they go to the default one."},
}
"""What it means when the status of a component is not ok, by the status."""


class Health:
    """Looks at what the front needs: once for all who ask at the same time, and not again for a second."""

    def __init__(self, settings: FrontSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._look = Look(self._state)
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """End a look that is under way, and close the client."""
        self._look.close()
        if self._client is not None:
            await self._client.aclose()

    async def state(self) -> dict[str, Any]:
        """The members of the answer."""
        return await self._look.result()

    async def _state(self) -> dict[str, Any]:
        (engine, problem), postgrest = await asyncio.gather(self._probe_engine(), self._probe_postgrest())
        runners = engine.get("live_runners") if engine else None
        components = {
            "database": {"status": "ok" if engine is not None else self._word_of(problem)},
            "postgrest": {"status": postgrest},
            **(_of_engine(engine) if engine is not None else {}),
        }
        for name, component in components.items():
            if component["status"] not in ("ok", "not_configured"):
                sentences = _SENTENCES[name]
                component["message"] = sentences.get(component["status"]) or sentences[""]
        status = "ok"
        if any(component["status"] not in ("ok", "not_configured") for component in components.values()):
            status = "degraded"
        if engine is None or postgrest == "unreachable":
            status = "unavailable"
        return {
            "status": status,
            "database": components["database"]["status"],
            "postgrest": postgrest,
            "runners": runners,
            "version": engine.get("version") if engine else None,
            "lag_seconds": engine.get("lag_seconds") if engine else None,
            "is_copy": engine.get("is_copy") if engine else None,
            "unserved_types": engine.get("unserved_types") if engine else None,
            "components": components,
        }

    def _word_of(self, problem: str) -> str:
        """What is wrong with the database: what it refuses, else why it cannot be reached."""
        trouble = self._database.trouble
        code = problem or (trouble.code if trouble is not None else "")
        return code if code and code != "database_unreachable" else "unreachable"

    async def _probe_engine(self) -> tuple[dict[str, Any] | None, str]:
        """What the engine says of itself, or None when it cannot be asked; with the code of what it refuses, if any."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                # Somebody else's schema of our name looks like rights that are missing.
                row = await self._database.own(
                    "select exists (select from pg_catalog.pg_namespace where nspname = 'flowgres_api') as is_ours"
                )
                if not row or not row["is_ours"]:
                    return None, NOT_INSTALLED
                row = await self._database.own("select flowgres.installation_health() as found")
        except Problem as problem:
            return None, problem.code
        except DatabaseError as error:
            state = state_of_sqlstate(error.sqlstate)
            return None, state.code if state is not None else ""
        except (PoolTimeout, PoolClosed, TooManyRequests, TimeoutError):
            return None, ""
        return (row["found"] if row else {}), ""

    async def _probe_postgrest(self) -> str:
        """`ok`, `unreachable`, or `not_configured` when nobody told the front where PostgREST is.

        The admin port's /ready is asked when it is known; else the function that every caller may call.
        """
        settings = self._settings
        if settings.api_admin_url:
            url = f"{settings.api_admin_url}/ready"
        elif settings.api_url:
            url = f"{settings.api_url}/rpc/health"
        else:
            return "not_configured"
        try:
            # Made once: it reads all certificates of the machine.
            self._client = self._client or httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False)
            answer = await self._client.get(url)
        except httpx.HTTPError:
            return "unreachable"
        return "ok" if answer.is_success else "unreachable"


def _of_engine(engine: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What has to go on by itself. `status` is ok, or the word for what is wrong."""
    runners, is_copy = engine.get("live_runners") or 0, engine.get("is_copy")
    unserved = engine.get("unserved_types") or []
    deaf = engine.get("deaf_runners") or 0
    failing, died = engine.get("runners_without_evaluators") or 0, engine.get("evaluators_died_lately") or 0
    changes = engine.get("changes_lag_seconds") or 0
    late = engine.get("schedule_lag_seconds") or 0
    slas = engine.get("sla_lag_seconds") or 0
    ahead = engine.get("history_ahead_seconds") or 0
    return {
        "runners": {"status": "copy" if is_copy else "ok" if runners else "none", "live": runners},
        "listeners": {"status": "deaf" if deaf else "ok", "deaf": deaf},
        "evaluators": {
            "status": "failing" if failing else "dying" if died >= DYING_COUNT else "ok",
            "runners_without": failing,
            "died_last_minute": died,
        },
        "queue": {"status": "ok", "lag_seconds": engine.get("lag_seconds"), "unserved_types": unserved},
        "schedules": {"status": "late" if late > LATE_SECONDS else "ok", "lag_seconds": late},
        "slas": {"status": "late" if slas > LATE_SECONDS else "ok", "lag_seconds": slas},
        "changes": {"status": "late" if changes > LATE_SECONDS else "ok", "lag_seconds": changes},
        # Without a period executions go to the default partition: they run, and retention is dearer.
        "history": {"status": "ok" if ahead > 0 else "period_missing", "ahead_seconds": ahead},
    }
