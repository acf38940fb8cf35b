"""The OpenAPI document of this front: made once for all who ask, and anew when it has grown old."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute

from flowgres_front.database import Database
from flowgres_front.documentation.document import openapi_document
from flowgres_front.documentation.prepared import Prepared
from flowgres_front.settings import FrontSettings

OPENAPI_TYPE = "application/openapi+json"
_FRESH_SECONDS = 60.0
"""An upgrade of the database changes functions while the front goes on."""


class Documents:
    """Reads the functions from the catalogue, at most one reading at a time and one in a minute, however many ask."""

    def __init__(self, settings: FrontSettings, database: Database) -> None:
        self.api_address = public_api_address(settings)
        self._front_address = settings.public_url or "/"
        self._database = database
        self._made: asyncio.Task[Prepared] | None = None
        self._made_at = 0.0

    async def openapi(self, routes: Iterable[BaseRoute]) -> Prepared:
        """The document, with these routes. Raises what the database raises."""
        now = asyncio.get_running_loop().time()
        task = self._made
        is_old = task is None or (task.done() and (now - self._made_at >= _FRESH_SECONDS or _has_failed(task)))
        if task is None or is_old:
            self._made_at = now
            task = self._made = asyncio.create_task(self._make(list(routes)))
        # Whoever asked first may go away; the reading goes on for the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End a reading that is under way."""
        if self._made is not None:
            self._made.cancel()

    async def _make(self, routes: list[BaseRoute]) -> Prepared:
        async with self._database.caller(None) as caller:
            found = await caller.call(
                "select jsonb_build_object('version', flowgres.version(), 'functions', flowgres.described_functions())"
            )
        functions: Mapping[str, Any] = found["functions"]
        document = openapi_document(
            routes,
            functions,
            version=str(found["version"]),
            api_address=self.api_address,
            front_address=self._front_address,
        )
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return Prepared.of(text.encode(), OPENAPI_TYPE)


def public_api_address(settings: FrontSettings) -> str:
    """Where clients find PostgREST: below the public address, as a proxy puts both under one; else where we find it."""
    if settings.public_url:
        return f"{settings.public_url}/api"
    return settings.api_url or "/api"


def _has_failed(task: asyncio.Task[Prepared]) -> bool:
    return task.cancelled() or task.exception() is not None
