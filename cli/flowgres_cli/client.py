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
from flowgres_cli.errors import AuthError, CliError, UnreachableError, UsageProblemError
from flowgres_cli.refusals import DEFINITION_CODES, details_text, error_line, listed_errors, refusal

Json = Any
_JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
_NAME_ONE = "Name the server: --profile, --api-url and --front-url, or FLOWGRES_API_URL and FLOWGRES_FRONT_URL."
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_POSTGREST_KEYS = {"code", "message", "details", "hint"}
# PostgREST's own words for "the database is not there".
_NOT_READY_CODES = frozenset({"PGRST000", "PGRST001", "PGRST002", "PGRST003"})


class RawJson(str):
    """JSON text that goes over the wire as it is, so that numbers keep every digit."""

    __slots__ = ()


class Client:
    """One connection pool for both addresses of a server. A context manager."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._headers = {"User-Agent": f"flowgres/{__version__}"}
        self._credentials = _credentials(config)
        self._pools: dict[bool, httpx.Client] = {}
        self._installation: str | None = None
        self._is_front_known = False

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
            "POST",
            f"/rpc/{function}",
            arguments=arguments or {},
            content=_encode(arguments or {}),
            headers=_JSON_HEADERS,
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
        headers: Mapping[str, str] | None = None,
        is_anonymous: bool = False,
    ) -> Json:
        """What the front answers; `accept_status`: beyond 2xx, whose body is wanted. `is_anonymous`: no credentials."""
        headers = {"Accept": "application/json", **(headers or {})}
        if json_body is not None:
            content, content_type = json.dumps(json_body).encode(), "application/json"
        if content_type is not None:
            headers["Content-Type"] = content_type
        self._recognise_front()
        base = self._front_url
        query = {"params": dict(parameters or {})}
        response = self._send(
            base, method, path, name="front", headers=headers, is_anonymous=is_anonymous, content=content, **query
        )
        if response.is_success or response.status_code in accept_status:
            return self._body(response, base)
        self._refuse(response, base, "front")

    def address_at_front(self, path: str) -> tuple[str, dict[str, str]]:
        """Where somebody else may send a request to the front, and with which headers; refused as `front` refuses."""
        self._recognise_front()
        return self._front_url + path, {**self._headers, **self._credentials}

    def installation(self, *, is_strict: bool = False) -> str:
        """Which installation answers at the address of the API. Refuses what is not flowgres, or not the one meant.

        Where nobody named an address, and the environment names a database, it has to be the installation of that one;
        `is_strict` is for commands that must not go on when the database cannot tell.
        """
        if self._installation is None:
            found = self._identify()
            if self.config.database is not None:
                self._compare(found, self.config.database, is_strict=is_strict)
            self._installation = found
        return self._installation

    def _identify(self) -> str:
        base = self._api_url
        # Without credentials: a stranger is not to have them.
        response = self._send(
            base, "POST", "/rpc/health", name="API", content=b"{}", headers=_JSON_HEADERS, is_anonymous=True
        )
        if _problem(response).get("code") == "PGRST202":
            raise UnreachableError(
                f"the PostgREST at {self.config.server(base)} does not serve flowgres",
                hint="Is it another one, or before `flowgres db upgrade`? " + _NAME_ONE,
            )
        self._require_known(response, base, "API")
        answer = self._body(response, base)
        if not isinstance(answer, dict) or answer.get("engine") != "flowgres":
            raise self._not_flowgres(base)
        return str(answer.get("installation"))

    def _compare(self, found: str, database: str, *, is_strict: bool) -> None:
        from flowgres_cli.identity import installation_of

        try:
            wanted = installation_of(database, where="DATABASE_URL")
        except CliError as error:
            if is_strict:
                error.hint = _NAME_ONE
                raise
            return
        if wanted != found:
            raise UsageProblemError(
                f"{self.config.server(self._api_url)} is not the installation that DATABASE_URL names",
                code="wrong_server",
                hint=_NAME_ONE,
            )

    def _recognise_front(self) -> None:
        """Refuse what answers at the address of the front and is none."""
        if not self._is_front_known:
            base = self._front_url
            response = self._send(base, "GET", "/health", name="front", headers={}, is_anonymous=True)
            # An unhealthy front is one all the same.
            answer = _json(response)
            if not (isinstance(answer, dict) and {"status", "database"} <= answer.keys()):
                self._require_known(response, base, "front")
                raise self._not_flowgres(base)
            self._is_front_known = True

    def _require_known(self, response: httpx.Response, base: str, name: str) -> None:
        """Refuse an answer without credentials that is none of ours, or says that its server is not ready."""
        if response.is_success:
            return
        problem = _problem(response)
        is_mixed_up = problem.keys() >= _POSTGREST_KEYS if name == "front" else _is_front(response)
        if is_mixed_up or problem.get("code") in _NOT_READY_CODES or response.status_code in (502, 503, 504):
            self._refuse(response, base, name)
        raise self._not_flowgres(base)

    def server_time(self) -> str | None:
        """The Date header of PostgREST's answer."""
        response = self._send(self._api_url, "POST", "/rpc/health", name="API", headers={})
        date: str | None = response.headers.get("Date")
        return date

    def _api(self, method: str, path: str, *, arguments: Mapping[str, Json] | None = None, **request: Any) -> Json:
        self.installation()
        base = self._api_url
        request["headers"] = {"Accept": "application/json", **request.get("headers", {})}
        response = self._send(base, method, path, name="API", **request)
        if response.is_success:
            return self._body(response, base)
        self._refuse(response, base, "API", arguments)

    @property
    def _api_url(self) -> str:
        return self.config.api_url or _missing("the API", "FLOWGRES_API_URL", "--api-url")

    @property
    def _front_url(self) -> str:
        return self.config.front_url or _missing("the front", "FLOWGRES_FRONT_URL", "--front-url")

    def _send(
        self,
        base: str,
        method: str,
        path: str,
        *,
        name: str,
        headers: Mapping[str, str],
        is_anonymous: bool = False,
        **arguments: Any,
    ) -> httpx.Response:
        pool = self._pool(base)
        headers = {**self._headers, **({} if is_anonymous else self._credentials), **headers}
        try:
            return pool.request(method, base + path, headers=headers, **arguments)
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
                f"cannot reach the {name} at {self.config.server(base)}: {_reason(error)}", hint=_start_hint(name)
            ) from error

    def _pool(self, base: str) -> httpx.Client:
        is_local = is_loopback(base)
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
            f"what answers at {self.config.server(base)} is not flowgres",
            hint=_NAME_ONE,
        )

    def _refuse(
        self, response: httpx.Response, base: str, name: str, arguments: Mapping[str, Json] | None = None
    ) -> NoReturn:
        problem = _problem(response)
        status = response.status_code
        is_front = _is_front(response)
        if problem and is_front != (name == "front"):
            found = "the front" if is_front else "PostgREST"
            raise UnreachableError(
                f"what answers at {self.config.server(base)} is {found}, not the {name}",
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
        errors = problem.get("errors") or listed_errors(problem.get("details"))
        if errors:
            if code in DEFINITION_CODES:
                message = f"the definition has {len(errors)} error{'s' * (len(errors) != 1)}"
                hint = None
            # The sentence goes on with the first of them; here all are told, a line each.
            message = "".join((message.partition(": ")[0], *(f"\n  {error_line(one)}" for one in errors)))
        elif (details := details_text(problem.get("details"))) and details != message:
            message += f" ({details})"
        if code in _NOT_READY_CODES or status in (502, 503, 504):
            raise UnreachableError(f"the {name} at {base} is not ready: {message}", code=code, hint=hint)
        if code == "PGRST202":
            raise UnreachableError(
                f"the {name} at {base} does not know this call: {message}",
                code=code,
                hint="The server may be older than this command line: `flowgres db upgrade`, then `flowgres doctor`.",
            )
        error = refusal(status, code, message, hint=hint, arguments=arguments)
        if isinstance(error, AuthError):
            error.hint = " ".join(filter(None, (error.hint if self._has_credentials else None, self._auth_hint())))
        if status == 429 and response.headers.get("Retry-After"):
            error.hint = f"Try again in {response.headers['Retry-After']} s."
        raise error

    @property
    def _has_credentials(self) -> bool:
        return bool(self.config.api_key or self.config.token)

    def _auth_hint(self) -> str:
        if self.config.withheld is not None:
            return f"No credentials were sent: {self.config.withheld}. Give those of this server, or its own profile."
        if not self._has_credentials:
            server = self.config.server(self.config.api_url or self._front_url)
            return f"No credentials were sent to {server}: set FLOWGRES_API_KEY (or FLOWGRES_TOKEN), or name a profile."
        source = self.config.sources.get("api_key") or self.config.sources.get("token") or "the call"
        return f"The credentials came from: {source}."


def _missing(what: str, variable: str, flag: str) -> NoReturn:
    raise UsageProblemError(
        f"the address of {what} is not known",
        hint=f"Set {variable}, or give {flag}: the default is another server than the one that was named.",
    )


def _problem(response: httpx.Response) -> Mapping[str, Json]:
    """The JSON error of PostgREST, or of RFC 9457; empty when the answer is none of ours."""
    body = _json(response)
    is_ours = isinstance(body, dict) and any(name in body for name in ("code", "message", "detail", "title"))
    return body if is_ours else {}


def _json(response: httpx.Response) -> Json:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _is_front(response: httpx.Response) -> bool:
    return str(response.headers.get("Content-Type", "")).startswith("application/problem+json")


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


def is_loopback(url: str) -> bool:
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
