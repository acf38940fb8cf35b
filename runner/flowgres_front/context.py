"""What the routes share: settings, budgets, the pool, the reading processes, and who is asking."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any

from starlette.requests import Request

from flowgres_front.bodies import BodyLimits, check_declared_size, read_body, read_object
from flowgres_front.budget import ANONYMOUS, Budget, Party, Shares
from flowgres_front.credentials import Credentials, read_credentials, require_credentials
from flowgres_front.database import Caller, Database, Identity, Trace
from flowgres_front.documentation.documents import Documents
from flowgres_front.metrics.scrape import Scrapes
from flowgres_front.parties import Parties
from flowgres_front.probes import Health
from flowgres_front.readers import Readers
from flowgres_front.settings import FrontSettings
from flowgres_front.streams.watcher import Watcher
from flowgres_front.visits import visit_of
from flowgres_front.webhooks.receiving import Webhooks
from flowgres_process.secret_keys import SecretKeys

_MIB = 1 << 20
_WAIT_SECONDS = 3.0
_READING_WAIT_SECONDS = 10.0
READERS = 2
_MOST_TRACE = 1_000
PARSED_AT_ONCE_BYTES = 64 << 10
"""Longer bodies are taken apart outside of the loop."""


class Front:
    """One running front: its settings, its keys, its pool, and how much of all that one party may take."""

    def __init__(self, settings: FrontSettings) -> None:
        self.settings = settings
        self.database = Database(settings)
        self.health = Health(settings, self.database)
        self.scrapes = Scrapes(self.database)
        self.documents = Documents(settings, self.database)
        self.readers = Readers(READERS)
        self.secret_keys = SecretKeys(settings.secret_key, settings.previous_secret_key)
        self.parties = Parties()
        body, pool = settings.max_body_bytes, settings.pool_size
        self.requests = Budget("requests", Shares(whole=256, tenant=32, anonymous=64))
        # Bodies are kept once, as bytes; what they are made into lives in the reading processes.
        self.bytes = Budget(
            "bytes of bodies",
            Shares(whole=max(16 * _MIB, 4 * body), tenant=max(4 * _MIB, body), anonymous=_MIB // 4),
            wait_seconds=_WAIT_SECONDS,
        )
        # One connection is always left for /health.
        self.transactions = Budget(
            "transactions",
            Shares(whole=pool - 1, tenant=max(1, pool // 2), anonymous=max(1, pool // 4)),
            wait_seconds=_WAIT_SECONDS,
        )
        # A tenant that imports one definition after the other leaves a reader for the next tenant.
        self.reading = Budget(
            "definitions", Shares(whole=READERS, tenant=1, anonymous=0), wait_seconds=_READING_WAIT_SECONDS
        )
        self.webhooks = Webhooks(
            settings,
            database=self.database,
            keys=self.secret_keys,
            bodies=self.bytes,
            transactions=self.transactions,
            reading=self.read,
        )

        # Whoever waits holds a connection of its own and nothing else, and may do so for hours.
        self.streams = Budget("streams and waiting calls", Shares(whole=640, tenant=256, anonymous=0))
        # When a front or a proxy was restarted all come back at once, and a browser gives up at the first refusal.
        self.openings = Budget(
            "streams being opened", Shares(whole=640, tenant=256, anonymous=256), wait_seconds=_WAIT_SECONDS
        )
        self.watcher = Watcher(settings, self.database, self.transactions)

    async def open(self) -> None:
        """Open the pool, and have a reading process at hand."""
        self.readers.prepare()
        await self.database.open()

    async def close(self) -> None:
        """End what runs beside the requests, then close the pool."""
        await self.health.close()
        await self.watcher.close()
        await self.webhooks.close()
        await self.scrapes.close()
        await self.documents.close()
        await self.readers.close()
        await self.database.close()

    async def read(self, job: str, party: Party, body: bytes, arguments: dict[str, Any]) -> tuple[Any, bytes]:
        """Have a reading process look at a body, at the expense of a party; see `reading.JOBS`."""
        async with self.reading.take(party):
            return await self.readers.run(job, body, arguments)

    def limits(self, most_bytes: int) -> BodyLimits:
        """What a route takes that says how many bytes are enough for it; the operator's limit holds as well."""
        return BodyLimits(bytes=min(most_bytes, self.settings.max_body_bytes), seconds=self.settings.body_seconds)

    @asynccontextmanager
    async def visitor(
        self, request: Request, credentials: Credentials | None = None, *, under: Budget | None = None
    ) -> AsyncIterator[Visitor]:
        """Whoever sent the request, by its headers or the `credentials` that are given; counts as under way meanwhile.

        `under` is the budget that it counts in, in the place of `requests`.

        Refuses what is no credential without asking anybody.
        """
        known = require_credentials(credentials or read_credentials(request, self.settings))
        party = self.parties.party_of(known)
        async with (under or self.requests).take(party), AsyncExitStack() as holding:
            yield Visitor(self, request, known, party, holding)

    async def stranger_object(self, request: Request, limits: BodyLimits) -> dict[str, Any]:
        """The body of somebody whose credentials stand in it, as a JSON object; at the expense of all strangers."""
        async with self.requests.take(ANONYMOUS), AsyncExitStack() as holding:
            raw = await read_body(request, limits, budget=self.bytes, party=ANONYMOUS, holding=holding)
        return read_object(request, raw, limits)


class Visitor:
    """The sender of one request. Its credentials are worth something once SQL has said so."""

    def __init__(
        self, front: Front, request: Request, credentials: Credentials, party: Party, holding: AsyncExitStack
    ) -> None:
        self._front = front
        self._request = request
        self._credentials = credentials
        self._holding = holding
        self.party = party
        self._identity: Identity | None = None

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        """A transaction as the sender. Raises what psycopg raises, SQL's refusal of the credentials included."""
        front = self._front
        async with (
            front.transactions.take(self.party),
            front.database.caller(self._credentials, trace=_trace_of(self._request)) as caller,
        ):
            if self.party == ANONYMOUS:
                # What comes next is at the expense of its tenant.
                await self._learn(caller)
            try:
                yield caller
            finally:
                # Nothing else than who it is has to be known of one who is refused something.
                if caller.is_known:
                    await self._learn(caller)

    async def _learn(self, caller: Caller) -> None:
        if self._identity is None:
            self._identity = await caller.identity()
            self.party = self._identity.tenant_id
            self._front.parties.learn(self._credentials, self.party)
            visit_of(self._request).is_proven = True

    @property
    def lifetime_seconds(self) -> float:
        """For how long the credentials are good at most, as far as they say so themselves."""
        claims = self._credentials.claims
        return math.inf if not claims else max(0.0, float(claims["exp"]) - time.time())

    async def identity(self) -> Identity:
        """Who the sender is, by SQL."""
        if self._identity is None:
            async with self.caller() as caller:
                await self._learn(caller)
        assert self._identity is not None  # noqa: S101 - the transaction set it, or was refused
        return self._identity

    async def body(self, limits: BodyLimits) -> bytes:
        """All of the body, at the expense of the sender's tenant for as long as the request is under way.

        Nothing of it is read before SQL has known the sender at least once, or when its declared size is too much.
        """
        check_declared_size(self._request, limits)
        if self.party == ANONYMOUS:
            await self.identity()
        return await read_body(self._request, limits, budget=self._front.bytes, party=self.party, holding=self._holding)

    async def object(self, limits: BodyLimits) -> dict[str, Any]:
        """The body as a JSON object."""
        return await self.parse(await self.body(limits), limits)

    async def parse(self, raw: bytes, limits: BodyLimits) -> dict[str, Any]:
        """A body as a JSON object; what is long is looked at by a reading process first."""
        if len(raw) > PARSED_AT_ONCE_BYTES:
            await self.read("object", raw, **asdict(limits))
        return read_object(self._request, raw, limits)

    async def read(self, job: str, body: bytes, **arguments: Any) -> tuple[Any, bytes]:
        """Have a reading process look at a body; see `reading.JOBS`."""
        return await self._front.read(job, self.party, body, arguments)


def _trace_of(request: Request) -> Trace:
    """What the sender says of the trace that it is in; a header that is repeated is one with commas."""
    traceparent, tracestate = (",".join(request.headers.getlist(name)) for name in ("traceparent", "tracestate"))
    # What is none is nothing to complain of; SQL knows it, where it can be written down at all.
    return _plain(traceparent), _plain(tracestate)


def _plain(text: str) -> str:
    return text if text.isascii() and len(text) <= _MOST_TRACE else ""


def front_of(request: Request) -> Front:
    """The front that serves this request."""
    front = request.app.state.front
    assert isinstance(front, Front)  # noqa: S101 - create_app put it there
    return front
