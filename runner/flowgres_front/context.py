"""What the routes share: settings, the pool, and who is asking."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from starlette.requests import Request

from flowgres_front.credentials import read_credentials
from flowgres_front.database import Caller, Database
from flowgres_front.settings import FrontSettings
from flowgres_process.secret_keys import SecretKeys


class Front:
    """One running front: its settings, its keys and its pool."""

    def __init__(self, settings: FrontSettings) -> None:
        self.settings = settings
        self.database = Database(settings)
        # Reading a definition is work for a processor; more threads would only take turns.
        self.reading = asyncio.Semaphore(2)
        self.secret_keys = SecretKeys(settings.secret_key, settings.previous_secret_key)

    async def open(self) -> None:
        """Open the pool."""
        await self.database.open()

    async def close(self) -> None:
        """Close the pool."""
        await self.database.close()

    def caller(self, request: Request) -> AbstractAsyncContextManager[Caller]:
        """A transaction as whoever sent the request; refuses forged or expired tokens before touching the database."""
        return self.database.caller(read_credentials(request, self.settings))


def front_of(request: Request) -> Front:
    """The front that serves this request."""
    front = request.app.state.front
    assert isinstance(front, Front)  # noqa: S101 - create_app put it there
    return front
