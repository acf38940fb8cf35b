"""GET /docs, /openapi.json, /llms.txt and /mcp.json: for everybody, the same for all."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowgres_front.context import front_of
from flowgres_front.describing import Answer, Parameter, Schema, describe, json_object
from flowgres_front.documentation.documents import OPENAPI_TYPE
from flowgres_front.documentation.pages import llms_text, pages_by_path
from flowgres_front.documentation.prepared import Prepared
from flowgres_front.problems import Problem

TOPIC = "Documentation"
_TEXT: Schema = {"type": "string"}
_UNCHANGED = Answer("The client has it already (If-None-Match)")
# What the page is made of: the file, and its media type. Those of Swagger UI are compressed as they are kept.
_PARTS = {
    "swagger-ui-bundle.js": ("vendor/swagger-ui-bundle.js.gz", "text/javascript"),
    "swagger-ui.css": ("vendor/swagger-ui.css.gz", "text/css"),
    "page.js": ("page/page.js", "text/javascript"),
    "page.css": ("page/page.css", "text/css"),
}


@describe(
    "The OpenAPI document of functions and front",
    topic=TOPIC,
    answers={
        200: Answer("OpenAPI 3.1", {OPENAPI_TYPE: json_object({"openapi": _TEXT, "paths": {"type": "object"}})}),
        304: _UNCHANGED,
    },
    is_public=True,
)
async def show_openapi(request: Request) -> Response:
    """This document. It is made of the database's catalogue, and anew every minute."""
    document = await front_of(request).documents.openapi(request.app.routes)
    return document.answer(request)


@describe(
    "Swagger UI",
    topic=TOPIC,
    answers={200: Answer("The page", {"text/html": _TEXT}), 304: _UNCHANGED},
    is_public=True,
)
async def show_page(request: Request) -> Response:
    """A page to read both documents of the API in, and to try its calls; it needs nothing from elsewhere."""
    return _page(front_of(request).documents.api_address).answer(request)


@describe(
    "A part of the page",
    topic=TOPIC,
    answers={
        200: Answer("The file", {"text/javascript": _TEXT, "text/css": _TEXT}),
        304: _UNCHANGED,
    },
    errors={404: ["page_not_found"]},
    parameters=[Parameter("name", "path", "The name of the file", {"type": "string", "examples": sorted(_PARTS)})],
    is_public=True,
)
async def show_part(request: Request) -> Response:
    """Scripts and styles of Swagger UI and of the page around it."""
    name = request.path_params["name"]
    if name not in _PARTS:
        raise _not_found()
    return _part(name).answer(request)


@describe(
    "llms.txt",
    topic=TOPIC,
    answers={200: Answer("Markdown", {"text/markdown": _TEXT}), 304: _UNCHANGED},
    is_public=True,
)
async def show_llms(request: Request) -> Response:
    """What a model has to read to author and run workflows, as a list of links (llmstxt.org)."""
    base, api_address = _addresses(request)
    return Prepared.of(llms_text(base=base, api_address=api_address).encode(), "text/markdown").answer(request)


@describe(
    "A page for models",
    topic=TOPIC,
    answers={
        200: Answer(
            "The page",
            {"text/markdown": _TEXT, "application/yaml": _TEXT, "application/schema+json": {"type": "object"}},
        ),
        304: _UNCHANGED,
    },
    errors={404: ["page_not_found"]},
    parameters=[Parameter("path", "path", "As llms.txt names it", {"type": "string", "examples": ["reference.md"]})],
    is_public=True,
)
async def show_llms_page(request: Request) -> Response:
    """The reference of the language and other pages, the JSON Schema of definitions, and examples."""
    path = request.path_params["path"]
    if path not in pages_by_path():
        raise _not_found()
    return _prepared_page(path).answer(request)


@describe(
    "mcp.json",
    topic=TOPIC,
    answers={
        200: Answer("A configuration", {"application/json": json_object({"mcpServers": {"type": "object"}})}),
        304: _UNCHANGED,
    },
    is_public=True,
)
async def show_mcp(request: Request) -> Response:
    """How a client of the Model Context Protocol starts `flowgres mcp` for this server; the key is yours to fill in."""
    base, api_address = _addresses(request)
    server = {
        "command": "flowgres",
        "args": ["mcp"],
        "env": {"FLOWGRES_API_URL": api_address, "FLOWGRES_FRONT_URL": base, "FLOWGRES_API_KEY": "fg_live_..."},
    }
    text = json.dumps({"mcpServers": {"flowgres": server}}, indent=2) + "\n"
    return Prepared.of(text.encode(), "application/json").answer(request)


def _addresses(request: Request) -> tuple[str, str]:
    """The front's address as its clients know it, or else as this one wrote it; and PostgREST's."""
    front = front_of(request)
    base = front.settings.public_url or str(request.base_url).rstrip("/")
    api_address = front.documents.api_address
    return base, base + api_address if api_address.startswith("/") else api_address


@functools.cache
def _page(api_address: str) -> Prepared:
    """The page, which may load its own parts, and call this server and PostgREST."""
    place = urlsplit(api_address)
    called = f" {place.scheme}://{place.netloc}" if place.netloc else ""
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{called};"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    html = (files(__package__ or "") / "page" / "index.html").read_bytes()
    return Prepared.of(html, "text/html", {"Content-Security-Policy": policy})


@functools.cache
def _part(name: str) -> Prepared:
    file, media_type = _PARTS[name]
    content = files(__package__ or "").joinpath(*file.split("/")).read_bytes()
    return (Prepared.of_compressed if file.endswith(".gz") else Prepared.of)(content, media_type)


@functools.cache
def _prepared_page(path: str) -> Prepared:
    page = pages_by_path()[path]
    return Prepared.of(page.content(), page.media_type)


def _not_found() -> Problem:
    return Problem(
        404, "page_not_found", "there is no such page", hint="GET /llms.txt and GET /docs name those there are."
    )


ROUTES = [
    Route("/docs", show_page, methods=["GET"]),
    Route("/docs/{name}", show_part, methods=["GET"]),
    Route("/llms.txt", show_llms, methods=["GET"]),
    Route("/llms/{path:path}", show_llms_page, methods=["GET"]),
    Route("/mcp.json", show_mcp, methods=["GET"]),
    Route("/openapi.json", show_openapi, methods=["GET"]),
]
