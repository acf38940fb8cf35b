"""Which party a credential belongs to, as far as that is known before the database is asked.

It decides whose share is charged, and nothing else: what a caller may do is asked of SQL every time. So what is known
here may be out of date, and no harm is done: who was revoked is refused as ever, at the expense of its old tenant.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict

from flowgres_front.budget import ANONYMOUS, Party
from flowgres_front.credentials import Credentials

_MOST_REMEMBERED = 10_000


class Parties:
    """Remembers the credentials that SQL took for good, those used last first. Their digests: no key is kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Party] = OrderedDict()

    def party_of(self, credentials: Credentials) -> Party:
        """The tenant that these spoke for before, or ANONYMOUS."""
        digest = _digest(credentials)
        party = self._known.get(digest, ANONYMOUS)
        if party != ANONYMOUS:
            self._known.move_to_end(digest)
        return party

    def learn(self, credentials: Credentials, party: Party) -> None:
        """SQL took these credentials for a tenant's."""
        digest = _digest(credentials)
        self._known[digest] = party
        self._known.move_to_end(digest)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)


def _digest(credentials: Credentials) -> bytes:
    claims = None if credentials.claims is None else json.dumps(credentials.claims, sort_keys=True)
    return hashlib.sha256(json.dumps([credentials.api_key, claims]).encode()).digest()
