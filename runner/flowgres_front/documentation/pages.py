"""What a model has to read to author and run workflows: pages of the language, and examples, as they are shipped."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

LANGUAGE = "flowgres_definitions"
EXAMPLES = "flowgres_examples"
SCHEMA = "definition.schema.json"
_MEDIA_TYPES = {".md": "text/markdown", ".yaml": "application/yaml", ".json": "application/schema+json"}
_FIRST = ("REFERENCE.md", "GRAPH.md")


@dataclass(frozen=True, slots=True)
class Page:
    """A file that is served: where, what it is called, and its first sentence."""

    path: str
    title: str
    says: str
    media_type: str
    file: Traversable

    def content(self) -> bytes:
        """The text of the file."""
        return self.file.read_bytes()


@functools.cache
def language_pages() -> tuple[Page, ...]:
    """The pages of the language: every Markdown file beside its description, the reference first."""
    found = [item for item in files(LANGUAGE).iterdir() if item.name.endswith(".md")]
    found.sort(key=lambda item: (_FIRST.index(item.name) if item.name in _FIRST else len(_FIRST), item.name))
    return tuple(_page(item, item.name.lower()) for item in found)


@functools.cache
def schema_page() -> Page:
    """The JSON Schema of definitions."""
    file = files(LANGUAGE) / SCHEMA
    return Page(
        SCHEMA, "JSON Schema of definitions", "Every key with its type, bounds and default", _media_type(SCHEMA), file
    )


@functools.cache
def example_pages() -> tuple[Page, ...]:
    """The workflow and the machine of every example, with what the first lines of its README say."""
    found = []
    for folder in sorted(files(EXAMPLES).iterdir(), key=lambda item: item.name):
        readme = folder / "README.md"
        given = [file for name in ("workflow.yaml", "machine.yaml") if (file := folder / name).is_file()]
        for file in given if readme.is_file() else []:
            told = _page(readme, "")
            name = folder.name if file is given[0] else f"{folder.name}_machine"
            path = f"examples/{name}.yaml"
            found.append(Page(path, name, told.says, _media_type(path), file))
    return tuple(found)


@functools.cache
def pages_by_path() -> dict[str, Page]:
    """All of them, by their path."""
    return {page.path: page for page in (*language_pages(), schema_page(), *example_pages())}


def llms_text(*, base: str, api_address: str) -> str:
    """llms.txt (llmstxt.org): a title, a summary, and lists of links. `base` stands before each path of ours."""

    def links(pages: tuple[Page, ...]) -> str:
        return "\n".join(f"- [{page.title}]({base}/llms/{page.path}): {page.says}" for page in pages)

    return f"""\
# flowgres

> A workflow engine inside PostgreSQL, served by PostgREST. A workflow is a YAML or JSON file of steps; an execution of
> it, and each of its steps, is a row. Or it is a file of states, a machine that rows of an application move through.

To author a workflow, read the reference, write the file, and check it, then import and run it. Every call carries
`X-API-Key: fg_live_...`; a body is JSON, but for an import, which takes YAML too.

1. Check: `POST {api_address}/rpc/validate_workflow`, `{{"definition": {{...}}}}`. It names every error with its path.
2. Import: `POST {base}/workflows`, the file as it is.
3. Run: `POST {api_address}/rpc/start_execution`, `{{"workflow": "NAME", "input": {{...}}}}`.
4. Look: `POST {api_address}/rpc/get_execution`, `{{"execution_id": "..."}}`, until its status is completed, failed or
   cancelled.
5. Where it does not move: `GET {api_address}/execution_why?execution_id=eq....` says why, and which call helps.

A state machine is checked and imported the same way. Then:

1. Start an instance: `POST {api_address}/rpc/start_workflow`, `{{"workflow_name": "NAME", "entity_table": "orders",
   "entity_id": "4711"}}`. It answers the instance's id.
2. Ask where it may go: `POST {api_address}/rpc/get_transitions`, `{{"instance_id": "..."}}`.
3. Move it: `POST {api_address}/rpc/execute_transition`, `{{"instance_id": "...", "to_state": "..."}}`.
4. Look: `GET {api_address}/entity_workflows?entity_id=eq.4711`, and
   `GET {api_address}/workflow_history?entity_workflow_instance_id=eq....`.

## The language

{links((*language_pages(), schema_page()))}

## The API

- [OpenAPI 3.1]({base}/openapi.json): functions and routes with their errors
- [PostgREST's document]({api_address}/): views with their columns and filters, for the key that asks
- [mcp.json]({base}/mcp.json): how a client of the Model Context Protocol is set up

## Examples

{links(example_pages())}
"""


def _page(file: Traversable, path: str) -> Page:
    """Title and first sentence of a Markdown file."""
    title, _, rest = file.read_text(encoding="utf-8").partition("\n")
    paragraphs = (part.strip() for part in re.split(r"\n\s*\n", rest))
    first = next((part for part in paragraphs if part and part[0] not in "#`|<!-"), "")
    sentence = re.split(r"(?<=[.:])\s", " ".join(first.split()), maxsplit=1)[0].rstrip(".:")
    # Links of the page lead nowhere from here.
    return Page(
        path,
        title.lstrip("# ").strip(),
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", sentence),
        _media_type(file.name),
        file,
    )


def _media_type(name: str) -> str:
    return _MEDIA_TYPES[name[name.rindex(".") :]]
