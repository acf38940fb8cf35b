"""Calls to steps that wait for them: at whose expense they are read."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from flowgres_front.budget import ANONYMOUS, Budget, Shares
from flowgres_front.context import Front
from flowgres_front.routes.callbacks import ROUTES
from flowgres_front.settings import FrontSettings
from flowgres_front.visits import Visit
from flowgres_process.callbacks import CallbackPlace, Callbacks
from flowgres_process.secret_keys import SecretKeys

KEY = "a" * 64
PLACE = CallbackPlace(str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), 3, -1, 0, 1)


async def test_strangers_keep_no_genuine_call_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    front = Front(FrontSettings(dsn="", jwt_secret="", secret_key=KEY))
    front.requests = Budget("requests", Shares(whole=2, tenant=1, anonymous=1))

    async def taken(query: str, **values: Any) -> dict[str, str]:
        return {"outcome": "taken"}

    monkeypatch.setattr(front.database, "own", taken)
    app = Starlette(routes=ROUTES)
    app.state.front = front

    async def visited(scope: Scope, receive: Receive, send: Send) -> None:
        scope["flowgres.visit"] = Visit()
        await app(scope, receive, send)

    transport = httpx.ASGITransport(app=visited)
    async with (
        front.requests.take(ANONYMOUS),
        httpx.AsyncClient(transport=transport, base_url="http://front") as client,
    ):
        answer = await client.post(f"/callbacks/{Callbacks(SecretKeys(KEY)).token(PLACE)}", json={"paid": True})
    assert (answer.status_code, answer.json()) == (202, {"status": "taken"})
