"""What HTTP.md shows is run as it stands there, against servers that speak the real protocols."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.authority import Authority
from tests.support.behaviours import Received, answer
from tests.support.oauth import OAuthServer
from tests.support.peers import Peer, serving

from .conftest import Flowgres

PAGE = (Path(__file__).parents[2] / "runner/flowgres_definitions/HTTP.md").read_text()
BLOCKS = dict(
    zip(
        ("oauth2", "certificate", "multipart", "linked", "cursor", "record"),
        re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL),
        strict=True,
    )
)
AUTHORITY = Authority()
CLIENT = AUTHORITY.sign("shop")
SECRETS = {
    "SHOP_SECRET": "hunter2-of-the-shop", "BANK_CERTIFICATE": CLIENT.certificate, "BANK_KEY": CLIENT.key,
    "BANK_CA": AUTHORITY.pem,
}  # fmt: skip
OAUTH = OAuthServer(client_secret=SECRETS["SHOP_SECRET"])


async def serve(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """All of api.example and bank.example."""
    first = request.query.get("cursor") is None and "page" not in request.query
    if request.path in ("/token", "/orders"):
        await OAUTH(peer, request, writer)
    elif request.path == "/invoice.pdf":
        writer.write(answer(b"%PDF-\xff" * 20_000, content_type="application/pdf"))
    elif request.path == "/linked":
        links = {"Link": '<?page=2>; rel="next"'} if first else {}
        writer.write(answer(b"[1,2]" if first else b"[3]", headers=links))
    elif request.path == "/cursor":
        writer.write(answer(json.dumps({"rows": [1] if first else [2], "next": "abc" if first else None}).encode()))
    elif request.path == "/balance":
        writer.write(answer(b'{"balance":7}'))
    else:
        writer.write(answer(json.dumps({"sent": len(request.body)}).encode()))


@pytest.fixture(scope="module")
def run(
    live: Flowgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], tuple[dict[str, Any], list[Any]]]]:
    folder = tmp_path_factory.mktemp("page")
    for name, value in SECRETS.items():
        assert live("secrets", "set", name, stdin=value).code == 0
    with serving(serve) as api, serving(serve, tls=AUTHORITY.server(folder, demands=True)) as bank:

        def run(name: str) -> tuple[dict[str, Any], list[Any]]:
            text = BLOCKS[name].replace("https://api.example", api.url).replace("https://bank.example", bank.url)
            steps = yaml.safe_load(text)
            last = steps[-1]["id"]
            path = folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump({"name": f"page-{name}", "steps": steps}))
            imported = live("import", str(path))
            assert (imported.code, imported.json[0]["warnings"]) == (0, []), imported.err
            execution = live("run", f"page-{name}", "--wait").json
            shown = live("executions", "show", execution["execution_id"]).json
            assert shown["status"] == "completed", shown
            output = next(step["output"] for step in shown["steps"] if step["step"] == last)
            attempts = live("executions", "show", execution["execution_id"], "--step", last).json
            assert not [value for value in SECRETS.values() if value in json.dumps(attempts)]
            return output, attempts

        yield run


def test_token_is_got_and_sent(run: Any) -> None:
    output, _ = run("oauth2")
    assert output["status"] == 200
    assert OAUTH.asked[0]["scope"] == "orders:read"


def test_certificate_is_shown(run: Any) -> None:
    output, _ = run("certificate")
    assert output["body"] == {"balance": 7}


def test_file_of_an_earlier_step_is_sent_on(run: Any) -> None:
    output, _ = run("multipart")
    assert output["body"]["sent"] > 120_000


@pytest.mark.parametrize(("name", "items"), [("linked", [1, 2, 3]), ("cursor", [1, 2])])
def test_all_pages_are_read(run: Any, name: str, items: list[int]) -> None:
    output, attempts = run(name)
    assert output["items"] == items
    assert len(attempts) == 2


def test_attempt_that_succeeded_is_kept(run: Any) -> None:
    _, (attempt,) = run("record")
    assert attempt["detail"]["request"]["body"] == '{"key":"***","order":"1001"}'
    assert attempt["detail"]["response"]["status"] == 200
