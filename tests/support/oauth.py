"""A local OAuth2 server for client credentials, and the API that takes its tokens; to be the behaviour of a `Peer`."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_plus

from tests.support.behaviours import Received, answer

if TYPE_CHECKING:
    from tests.support.peers import Peer


@dataclass
class OAuthServer:
    """`/token` gives tokens to the client, anything else takes those that are `valid`.

    `refusal` is what `/token` answers instead: status and body.
    """

    client_id: str = "shop"
    client_secret: str = "hunter2/ü secret"
    expires_in: object = 3600
    refusal: tuple[int, bytes] | None = None
    delay_seconds: float = 0.0
    given: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    valid: set[str] = field(default_factory=set)
    is_open: bool = True

    async def __call__(self, peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        """Answer a request."""
        if request.path != "/token":
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            told = json.dumps({"head": request.head.decode(), "body": request.body.decode("latin-1")}).encode()
            writer.write(answer(told, status=200 if token in self.valid else 401))
            return
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        given = self._credentials(request, form)
        self.asked.append(form | {"client": given[0]})
        await asyncio.sleep(self.delay_seconds)
        if self.refusal is not None:
            writer.write(answer(self.refusal[1], status=self.refusal[0], headers={"Retry-After": "7"}))
        elif given != (self.client_id, self.client_secret) or form.get("grant_type") != "client_credentials":
            why = json.dumps({"error": "invalid_client", "error_description": f"not {given[1]}"})
            writer.write(answer(why.encode(), status=401))
        else:
            # A token that tells the client's name, as many do.
            name = base64.urlsafe_b64encode(f'{{"azp":"{self.client_id}"}}'.encode()).decode().rstrip("=")
            token = f"token{len(self.given)}.{name}.s1gn4ture"
            self.given.append(token)
            if self.is_open:
                self.valid.add(token)
            told = json.dumps({"access_token": token, "token_type": "bearer", "expires_in": self.expires_in}).encode()
            writer.write(answer(told))

    @staticmethod
    def _credentials(request: Received, form: dict[str, str]) -> tuple[str, str]:
        if "client_secret" in form:
            return form.pop("client_id"), form.pop("client_secret")
        pair = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
        name, _, secret = pair.partition(":")
        return unquote_plus(name), unquote_plus(secret)
