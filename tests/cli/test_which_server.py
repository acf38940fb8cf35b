"""Which server is meant, and whether what answers is one: before anything is sent to it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from flowgres_cli.client import Client
from flowgres_cli.config import Config
from flowgres_cli.errors import CliError, NotFoundError, UnreachableError, UsageProblemError
from flowgres_cli.identity import installation_of
from tests.support.api import Api
from tests.support.database import Database

from .conftest import Flowgres

KEY = "fg_live_" + "1" * 32 + "_" + "2" * 64
ANSWERS = {
    "a page": (200, "text/html", b"<h1>It works</h1>"),
    "JSON of somebody": (200, "application/json", b'{"status": "ok", "version": "1"}'),
    "a list": (200, "application/json", b"[]"),
    "JSON 404": (404, "application/json", b'{"message": "Not Found", "code": "not_found"}'),
    "a login page": (401, "text/html", b"who are you"),
    "another PostgREST": (
        404,
        "application/json",
        b'{"code": "PGRST202", "message": "no function", "details": null, "hint": null}',
    ),
}


class Stranger:
    """A web server that is none of ours; `headers` are those that it was sent."""

    def __init__(self, status: int, kind: str, body: bytes) -> None:
        headers: list[dict[str, str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name is the library's
                headers.append({name.lower(): value for name, value in self.headers.items()})
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.headers = headers
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextmanager
def _serving(name: str) -> Iterator[Stranger]:
    server = Stranger(*ANSWERS[name])
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()


@pytest.fixture(params=ANSWERS, ids=str)
def stranger(request: pytest.FixtureRequest) -> Iterator[Stranger]:
    with _serving(request.param) as server:
        yield server


def _config(url: str, *, database: str | None = None) -> Config:
    return Config(
        api_url=url, front_url=url, api_key=KEY, token=None, output=None, profile=None, sources={}, database=database
    )


def test_stranger_is_recognised_and_gets_no_credentials(stranger: Stranger) -> None:
    with Client(_config(stranger.url)) as client:
        for call in (
            lambda: client.call("start_execution", {"workflow": "x"}),
            lambda: client.select("executions"),
            lambda: client.front("POST", "/token"),
        ):
            with pytest.raises(UnreachableError, match=r"what answers|the PostgREST at") as refused:
                call()
            assert "the default, as none was named" in refused.value.message
            assert "FLOWGRES_API_URL" in (refused.value.hint or "")
    assert stranger.headers
    assert not [sent for sent in stranger.headers if {"x-api-key", "authorization"} & sent.keys()]


@pytest.mark.parametrize("command", [("run", "x"), ("tenants", "register", "x"), ("token",), ("import", "x.yaml")])
def test_commands_end_with_9_at_a_stranger(flowgres: Flowgres, command: tuple[str, ...]) -> None:
    (flowgres.folder / "x.yaml").write_text("name: x\nsteps:\n  - {id: a, type: log, config: {message: x}}\n")
    with _serving("a page") as server:
        answer = flowgres(*command, FLOWGRES_API_URL=server.url, FLOWGRES_FRONT_URL=server.url, FLOWGRES_API_KEY=KEY)
    assert answer.code == 9, answer.err
    assert f"what answers at {server.url} is not flowgres" in answer.err


def test_database_and_api_say_the_same_of_their_installation(
    module_api: Api, module_database: Database, database: Database
) -> None:
    told = module_api.rpc("health").json()["installation"]
    # No right on anything of flowgres is needed, so that every login can be asked.
    assert {installation_of(module_database.dsn(role), where="x") for role in (None, "runner", "sql")} == {told}
    assert installation_of(database.dsn(), where="x") != told
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute("drop schema flowgres_api cascade")
    with pytest.raises(NotFoundError):
        installation_of(database.dsn(), where="x")


def test_default_server_has_to_be_the_one_of_the_environments_database(
    module_api: Api, module_database: Database, database: Database
) -> None:
    with Client(_config(module_api.url, database=module_database.dsn())) as client:
        assert client.installation() == module_api.rpc("health").json()["installation"]
    with Client(_config(module_api.url, database=database.dsn())) as client:
        with pytest.raises(UsageProblemError, match="not the installation that DATABASE_URL names") as refused:
            client.call("register_tenant", {"name": "x"})
        assert refused.value.code == "wrong_server"
    nowhere = "postgresql://x@127.0.0.1:1/x"
    with Client(_config(module_api.url, database=nowhere)) as client, pytest.raises(CliError, match="DATABASE_URL"):
        client.installation(is_strict=True)
    with Client(_config(module_api.url, database=nowhere)) as client:
        # What has credentials of its own goes on.
        assert client.installation()


def test_named_address_is_no_matter_of_the_environments_database(
    anonymous: Flowgres, database: Database, module_database: Database
) -> None:
    doctor = anonymous("doctor", DATABASE_URL=database.dsn())
    findings = {finding["check"]: finding for finding in doctor.json}
    assert findings["installation"]["result"] == "problem"
    assert doctor.code == 1
    assert "installation" not in {
        finding["check"] for finding in anonymous("doctor", DATABASE_URL=module_database.dsn()).json
    }
    # Refused by the server and not by us: it was named.
    assert "registration_disabled" in anonymous("tenants", "register", "x", DATABASE_URL=database.dsn()).err
