"""Why a request brought no usable answer, as one exception inside this package and one value outside.

    HttpError
      SsrfBlockedError     the address may not be called; never retried

Inside, an exception leaves the depth of aiohttp in one step; `Client.request` turns it into the value `Failure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowgres_runner.errors import AttemptError


@dataclass(frozen=True, slots=True)
class Failure:
    """No usable answer.

    `error_class` decides about retries: `timeout`, `connect`, `429`, `5xx` are worth one; `http_status`, `tls` and
    `validation` are not. `status` is the last status seen, `url` the last address, without user, query and secrets.
    """

    code: str
    message: str
    error_class: str
    retry_after_seconds: float | None = None
    details: Mapping[str, str | int] | None = None
    status: int | None = None
    url: str = ""
    duration_ms: float = 0.0


@dataclass(eq=False)
class HttpError(AttemptError):
    """A request failed for a reason that has a code. The fields are those of `Failure`."""

    error_class: str = "validation"
    retry_after_seconds: float | None = None
    details: dict[str, str | int] | None = None
    status: int | None = None


_ALLOWING = (
    "Only public addresses are called. The runner's operator may allow this host by HTTP_ALLOWED_HOSTS, or all private"
    " ones by HTTP_ALLOW_PRIVATE_NETWORKS=true; on your own machine: flowgres dev --allow-private-networks."
)


class SsrfBlockedError(HttpError):
    """The egress policy refuses this address; nothing was sent to it.

    An operator could have allowed it (`is_allowable`), unless it hides its host.
    """

    def __init__(self, why: str, *, is_allowable: bool = False) -> None:
        super().__init__(
            code="ssrf_blocked",
            message=f"refused to connect: {why}",
            details={"hint": _ALLOWING} if is_allowable else None,
        )
