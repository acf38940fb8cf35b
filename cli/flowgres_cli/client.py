"""HTTP to PostgREST and to the front, with every failure turned into a CliError that says what to do."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn

import httpx

from flowgres_cli import __version__
from flowgres_cli.config import Config
from flowgres_cli.errors import (
    AuthError,
    CliError,
    ConflictError,
    InvalidDefinitionError,
    NotFoundError,
    UnreachableError,
    UsageProblemError,
)

Json = Any
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
# PostgREST's own words for "the database is not there".
_NOT_READY_CODES = frozenset({"PGRST000", "PGRST001", "PGRST002", "PGRST003"})
_DEFINITION_CODES = frozenset(
    {"invalid_definition", "definition_invalid", "invalid_yaml", "inline_secret", "definition_too_large"}
)


class RawJson(str):
    """JSON text that goes over the wire as it is, so that numbers keep every digit."""

    __slots__ = ()


class Client:
    """One connection pool for both addresses of a server. A context manager."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._headers = {"User-Agent": f"flowgres/{__version__}", **_credentials(config)}
        self._pools: dict[bool, httpx.Client] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def select(self, view: str, parameters: Mapping[str, str | int] | None = None) -> list[dict[str, Json]]:
        """Rows of a view, by PostgREST's filters."""
        answer = self._api("GET", f"/{view}", params=dict(parameters or {}))
        if not isinstance(answer, list):
            raise self._not_flowgres(self._api_url)
        return answer

    def call(self, function: str, arguments: Mapping[str, Json] | None = None) -> Json:
        """The JSON that a function of flowgres_api returns. An argument may be RawJson."""
        return self._api(
            "POST", f"/rpc/{function}", content=_encode(arguments or {}), headers={"Content-Type": "application/json"}
        )

    def front(
        self,
        method: str,
        path: str,
        *,
        json_body: Json = None,
        content: bytes | None = None,
        content_type: str | None = None,
        parameters: Mapping[str, str] | None = None,
        accept_status: frozenset[int] = frozenset(),
    ) -> Json:
        """What the front answers; `accept_status` are statuses beyond 2xx whose body is wanted."""
        headers = {"Accept": "application/json"}
        if json_body is not None:
            content, content_type = json.dumps(json_body).encode(), "application/json"
        if content_type is not None:
            headers["Content-Type"] = content_type
        base = self._front_url
        response = self._send(
            base, method, path, name="front", content=content, headers=headers, params=dict(parameters or {})
        )
        if response.is_success or response.status_code in accept_status:
            return self._body(response, base)
        self._refuse(response, base, "front")

    def server_time(self) -> str | None:
        """The Date header of PostgREST's answer."""
        response = self._send(self._api_url, "POST", "/rpc/health", name="API", headers={})
        date: str | None = response.headers.get("Date")
        return date

    def _api(self, method: str, path: str, **arguments: Any) -> Json:
        base = self._api_url
        arguments["headers"] = {"Accept": "application/json", **arguments.get("headers", {})}
        response = self._send(base, method, path, name="API", **arguments)
        if response.is_success:
            return self._body(response, base)
        self._refuse(response, base, "API")

    @property
    def _api_url(self) -> str:
        return self.config.api_url or _missing("the API", "FLOWGRES_API_URL", "--api-url")

    @property
    def _front_url(self) -> str:
        return self.config.front_url or _missing("the front", "FLOWGRES_FRONT_URL", "--front-url")

    def _send(
        self, base: str, method: str, path: str, *, name: str, headers: Mapping[str, str], **arguments: Any
    ) -> httpx.Response:
        pool = self._pool(base)
        try:
            return pool.request(method, base + path, headers={**self._headers, **headers}, **arguments)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise UsageProblemError(
                f"{base!r} is no http address: {error}", hint="Give it as http://host:port."
            ) from error
        except httpx.TimeoutException as error:
            raise UnreachableError(
                f"the {name} at {base} did not answer in time",
                hint="It hangs like this while its database is missing. `flowgres doctor` looks closer.",
            ) from error
        except httpx.TransportError as error:
            raise UnreachableError(
                f"cannot reach the {name} at {base}: {_reason(error)}", hint=_start_hint(name)
            ) from error

    def _pool(self, base: str) -> httpx.Client:
        is_local = _is_loopback(base)
        if is_local not in self._pools:
            # A proxy of the environment is for the network, never for this machine.
            self._pools[is_local] = httpx.Client(timeout=TIMEOUT, trust_env=not is_local)
        return self._pools[is_local]

    def _body(self, response: httpx.Response, base: str) -> Json:
        if not response.content:
            return None
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise self._not_flowgres(base) from error

    def _not_flowgres(self, base: str) -> UnreachableError:
        return UnreachableError(
            f"what answers at {base} is not flowgres",
            hint="Check FLOWGRES_API_URL and FLOWGRES_FRONT_URL, or the profile.",
        )

    def _refuse(self, response: httpx.Response, base: str, name: str) -> NoReturn:
        problem = _problem(response)
        status = response.status_code
        is_front = response.headers.get("Content-Type", "").startswith("application/problem+json")
        if problem and is_front != (name == "front"):
            raise UnreachableError(
                f"what answers at {base} is {'the front' if is_front else 'PostgREST'}, not the {name}",
                hint="Are FLOWGRES_API_URL and FLOWGRES_FRONT_URL mixed up?",
            )
        if not problem:
            if status in (502, 503, 504):
                raise UnreachableError(
                    f"the {name} at {base} is not ready ({status})", hint="`flowgres doctor` looks closer."
                )
            if status in (401, 403):
                raise AuthError(f"the {name} at {base} refused the credentials ({status})", hint=self._auth_hint())
            raise self._not_flowgres(base)
        code = str(problem.get("code") or status)
        message = str(problem.get("message") or problem.get("detail") or problem.get("title") or f"status {status}")
        hint = str(problem["hint"]) if problem.get("hint") else None
        errors = problem.get("errors") or _listed(problem.get("details"))
        if errors:
            if code in _DEFINITION_CODES:
                message = f"the definition has {len(errors)} error{'s' * (len(errors) != 1)}"
                hint = None
            # The sentence goes on with the first of them; here all are told, a line each.
            message = "".join((message.partition(": ")[0], *(f"\n  {_error_line(one)}" for one in errors)))
        elif isinstance(problem.get("details"), str) and problem["details"] not in ("", message):
            message += f" ({problem['details']})"
        if code in _NOT_READY_CODES or status in (502, 503, 504):
            raise UnreachableError(f"the {name} at {base} is not ready: {message}", code=code, hint=hint)
        if code == "PGRST202":
            raise UnreachableError(
                f"the {name} at {base} does not know this call: {message}",
                code=code,
                hint="The server may be older than this command line: `flowgres db upgrade`, then `flowgres doctor`.",
            )
        kind = _kind_of(status, code)
        if kind is AuthError:
            hint = " ".join(filter(None, (hint if self._has_credentials else None, self._auth_hint())))
        if status == 429 and response.headers.get("Retry-After"):
            hint = f"Try again in {response.headers['Retry-After']} s."
        raise kind(message, code=code, hint=hint)

    @property
    def _has_credentials(self) -> bool:
        return bool(self.config.api_key or self.config.token)

    def _auth_hint(self) -> str:
        if self.config.withheld is not None:
            return f"No credentials were sent: {self.config.withheld}. Give those of this server, or its own profile."
        if not self._has_credentials:
            return "No credentials were sent: set FLOWGRES_API_KEY (or FLOWGRES_TOKEN), or name a profile."
        source = self.config.sources.get("api_key") or self.config.sources.get("token") or "the call"
        return f"The credentials came from: {source}."


def _missing(what: str, variable: str, flag: str) -> NoReturn:
    raise UsageProblemError(
        f"the address of {what} is not known",
        hint=f"Set {variable}, or give {flag}: the default is another server than the one that was named.",
    )


def _kind_of(status: int, code: str) -> type[CliError]:
    if code in _DEFINITION_CODES:
        return InvalidDefinitionError
    if status in (401, 403):
        return AuthError
    if status == 404:
        return NotFoundError
    if status == 409 or code.startswith("idempotency"):
        return ConflictError
    return CliError


def _problem(response: httpx.Response) -> Mapping[str, Json]:
    """The JSON error of PostgREST, or of RFC 9457; empty when the answer is none of ours."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    is_ours = isinstance(body, dict) and any(name in body for name in ("code", "message", "detail", "title"))
    return body if is_ours else {}


def _listed(details: Json) -> list[Json]:
    """The errors of a definition, which the database writes as a JSON array into the details."""
    if not isinstance(details, str) or not details.startswith("[{"):
        return []
    try:
        found = json.loads(details)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _error_line(error: Json) -> str:
    if not isinstance(error, dict):
        return str(error)
    line, column = error.get("line"), error.get("column")
    place = ":".join(str(part) for part in (line, column) if part)
    parts = (place, error.get("path"), error.get("message") or error.get("code"))
    text = ": ".join(str(part) for part in parts if part)
    return f"{text} ({error['hint']})" if error.get("hint") else text


def _encode(arguments: Mapping[str, Json]) -> bytes:
    parts = [
        f"{json.dumps(name)}: {value if isinstance(value, RawJson) else json.dumps(value, allow_nan=False)}"
        for name, value in arguments.items()
    ]
    return f"{{{', '.join(parts)}}}".encode("utf-8", errors="surrogatepass")


def _credentials(config: Config) -> dict[str, str]:
    if config.api_key is not None and config.token is not None:
        raise AuthError(
            "both an API key and a token are given",
            hint="The server refuses two; unset FLOWGRES_API_KEY or FLOWGRES_TOKEN.",
        )
    value = (config.api_key or config.token or "").strip()
    if not value:
        return {}
    if not value.isascii() or not value.isprintable() or " " in value:
        raise AuthError(
            "the API key or token has characters that none can have", hint="Was it cut or pasted with its label?"
        )
    return {"X-API-Key": value} if config.api_key else {"Authorization": f"Bearer {value}"}


def _is_loopback(url: str) -> bool:
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False


def _reason(error: httpx.TransportError) -> str:
    text = str(error)
    return text.split("] ", 1)[-1] if text else type(error).__name__


def _start_hint(name: str) -> str:
    variable = "FLOWGRES_API_URL" if name == "API" else "FLOWGRES_FRONT_URL"
    return f"Start one with `flowgres dev`, or set {variable} (or a profile) to where it runs."
