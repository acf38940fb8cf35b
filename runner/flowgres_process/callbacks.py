"""Addresses at which a step waits to be called: runners make them, the front reads them.

The token names the step, and has a stamp of 256 bits that only who has FLOWGRES_SECRET_KEY can make. So nothing has to
be stored before the request is sent that carries it, and a token that was made up costs the database nothing. It is the
same for all attempts of the step: a receiver that has taken an earlier one, whose answer was lost, calls what it has.
"""

from __future__ import annotations

import base64
import binascii
import struct
import uuid
from dataclasses import dataclass

from flowgres_process.secret_keys import SecretKeys

_PLACE = struct.Struct("!16s16sHiIH")
_STAMP_BYTES = 32
TOKEN_CHARACTERS = (_PLACE.size + _STAMP_BYTES) * 4 // 3 + 1


@dataclass(frozen=True, slots=True)
class CallbackPlace:
    """Which step is called: `iteration` is -1 for none, `round` 0 in the first one or without any."""

    tenant_id: str
    execution_id: str
    step_index: int
    iteration: int
    round: int
    generation: int


class Callbacks:
    """Makes and reads tokens. `public_url` is where the front is found from outside."""

    def __init__(self, keys: SecretKeys, public_url: str = "") -> None:
        self._keys = keys
        self._public_url = public_url.rstrip("/")

    @property
    def is_ready(self) -> bool:
        """Whether there are addresses: a key, and where the front is found."""
        return self._keys.current_id is not None and bool(self._public_url)

    def url(self, place: CallbackPlace) -> str:
        """The address of a step; "" when there is none."""
        return f"{self._public_url}/callbacks/{self.token(place)}" if self.is_ready else ""

    def token(self, place: CallbackPlace) -> str:
        """The token of a step."""
        data = _PLACE.pack(
            uuid.UUID(place.tenant_id).bytes,
            uuid.UUID(place.execution_id).bytes,
            place.step_index,
            place.iteration,
            place.round,
            place.generation,
        )
        return base64.urlsafe_b64encode(data + self._keys.stamp(data)).rstrip(b"=").decode()

    def secret(self, place: CallbackPlace) -> str:
        """The end of the token, without which the rest of it says where the step is, and lets nobody call it."""
        return self.token(place)[-(-_PLACE.size * 4 // 3) :]

    def read(self, token: str) -> CallbackPlace | None:
        """Which step a token is of; None when nobody has made it."""
        try:
            whole = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)) if len(token) <= TOKEN_CHARACTERS else b""
        except (ValueError, binascii.Error):
            return None
        data, stamp = whole[: _PLACE.size], whole[_PLACE.size :]
        if len(stamp) != _STAMP_BYTES or not self._keys.is_stamp(data, stamp):
            return None
        tenant, execution, *rest = _PLACE.unpack(data)
        return CallbackPlace(str(uuid.UUID(bytes=tenant)), str(uuid.UUID(bytes=execution)), *rest)
