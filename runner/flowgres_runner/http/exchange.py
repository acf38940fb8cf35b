"""The state of one request on its way through redirects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin

from flowgres_runner.http.failures import Failure, HttpError
from flowgres_runner.http.headers import basic_authorization, check_headers
from flowgres_runner.http.tls import Identity
from flowgres_runner.http.transport import Answer
from flowgres_runner.http.urls import Target, parse
from flowgres_runner.payloads.masks import masker
from flowgres_runner.payloads.texts import ReadBody
from flowgres_runner.timing import REAL_TIME, Timing

MAX_REQUEST_BYTES = 5 << 20
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_CREDENTIALS = frozenset(("authorization", "cookie", "x-api-key", "x-auth-token", "api-key"))


def is_success(status: int) -> bool:
    """Whether a status is 2xx, which a request expects unless told otherwise."""
    return 200 <= status < 300


@dataclass(slots=True)
class Request:
    """What to send. `credentials` names (lower case) further headers that must not follow to another origin.

    `hidden` are values besides the secrets that no record of the request shows. `max_response_bytes` may be less than
    the client takes anyway. `identity` follows to no other origin either.

    `reads_as` is how the body of the answer is read: `auto` (by its content type), `json`, `text` or `bytes`.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    follow_redirects: bool = True
    is_expected: Callable[[int], bool] = is_success
    credentials: frozenset[str] = frozenset()
    reads_as: str = "auto"
    hidden: tuple[str, ...] = ()
    max_response_bytes: int | None = None
    identity: Identity | None = None


@dataclass(slots=True)
class Response:
    """An answer with an expected status. Secrets are masked; `url` is the last address without its query."""

    status: int
    headers: dict[str, str]
    body: ReadBody
    url: str
    duration_ms: float
    header_values: dict[str, list[str]] = field(default_factory=dict)


class Exchange:
    """A request, aimed: where it goes next, with which method, headers and body.

    Of its answer there are `status` and `answered` (headers), and what was `received` of a body that is none to go on
    with.
    """

    __slots__ = (
        "_started",
        "_timing",
        "answered",
        "body",
        "headers",
        "identity",
        "mask",
        "method",
        "received",
        "request",
        "secrets",
        "status",
        "target",
    )

    def __init__(self, request: Request, secrets: tuple[str, ...], timing: Timing = REAL_TIME) -> None:
        self._timing = timing
        self._started = timing.monotonic()
        self.secrets = secrets
        self.request = request
        self.mask = masker(secrets)
        self.method = request.method
        self.body = request.body
        self.headers: dict[str, str] = {}
        self.target: Target | None = None
        self.identity = request.identity
        self.status: int | None = None
        self.answered: dict[str, str] = {}
        self.received: bytes | None = None

    def aim(self, own_headers: Mapping[str, str]) -> Target:
        """Parse the address and check what will be sent; raises HttpError before anything is."""
        request = self.request
        target = self.target = parse(request.url)
        if request.identity is not None and target.scheme != "https":
            raise HttpError("config_invalid", "certificates are for addresses that begin with https://")
        check_headers(request.headers)
        if request.body is not None and len(request.body) > MAX_REQUEST_BYTES:
            raise HttpError("request_too_large", f"the body is larger than {MAX_REQUEST_BYTES} bytes")
        given = {name.lower(): value for name, value in request.headers.items()}
        if target.user is not None:
            given.setdefault("authorization", basic_authorization(*target.user))
        self.headers = {**own_headers, **given}
        authorization = given.get("authorization", "")
        if self.mask and authorization[:6].lower() == "basic ":
            # User and password in base64 together hide the password from the other masks.
            self.secrets = (*self.secrets, authorization[6:].strip())
            self.mask = masker(self.secrets)
        return target

    def location(self, answer: Answer) -> str | None:
        """Where an answer redirects to, when it is to be followed."""
        request = self.request
        if answer.status not in _REDIRECTS or not request.follow_redirects or request.is_expected(answer.status):
            return None
        return answer.headers.get("location")

    def redirect(self, status: int, location: str) -> Target:
        """Aim at a redirect's address.

        Another origin gets no credentials: headers known as such, named by the request, or holding a secret. A body
        that holds one is not sent on at all.
        """
        old = self.target
        if old is None:
            raise RuntimeError("redirected before it was aimed")
        new = self.target = parse(urljoin(str(old.url), location))
        if (status == 303 and self.method != "HEAD") or (status in (301, 302) and self.method == "POST"):
            self.method, self.body = "GET", None
            self.headers = {name: value for name, value in self.headers.items() if not name.startswith("content-")}
        if new.origin != old.origin:
            self.identity = None
            dropped = _CREDENTIALS | self.request.credentials
            self.headers = {
                name: value
                for name, value in self.headers.items()
                if name not in dropped and not self.mask.found_in(value)
            }
            if self.mask.found_in(self.body):
                raise HttpError("redirect_refused", "a redirect would send a secret of the body to another origin")
        return new

    @property
    def shown(self) -> str:
        """The present address without user, query and secrets."""
        return self.mask.text(self.target.shown) if self.target is not None else ""

    def response(self, answer: Answer, body: ReadBody) -> Response:
        """The result of a good answer."""
        mask = self.mask
        headers, values = answer.headers, answer.header_values
        if mask:
            headers = {mask.text(name): mask.text(value) for name, value in headers.items()}
            values = {mask.text(name): [mask.text(value) for value in several] for name, several in values.items()}
        return Response(answer.status, headers, body, self.shown, self._elapsed_ms(), values)

    def failure(self, error: HttpError) -> Failure:
        """The result of an error."""
        shown = self.shown
        return Failure(
            code=error.code,
            message=self.mask.text(f"{self.method} {shown}: {error.message}" if shown else error.message),
            error_class=error.error_class,
            retry_after_seconds=error.retry_after_seconds,
            details=error.details,
            status=error.status,
            url=shown,
            duration_ms=self._elapsed_ms(),
        )

    def _elapsed_ms(self) -> float:
        return round((self._timing.monotonic() - self._started) * 1000, 3)
