"""What the server refuses, said as commands: every hint that speaks of the API has one here, where there is one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flowgres_cli.errors import (
    AuthError,
    CliError,
    ConflictError,
    InvalidDefinitionError,
    NotFoundError,
    UsageProblemError,
)
from flowgres_cli.main import cli
from flowgres_cli.refusals import COMMANDS, advice, details_text, kind_of, refusal
from flowgres_definitions.description import description_text

ROOT = Path(__file__).parents[2]
# A view or function of the API, a call of HTTP or of a function, JSON to send.
OF_THE_API = re.compile(r"(^|[\s(])/[a-z_]+|\b(GET|POST|PUT|PATCH|DELETE)\b|\b\w+_\w+\(|flowgres\.\w|\bp_\w+|\{\"")
# For callers that are no command line (requests that it never sends, runners), or about what has no command yet.
NOT_OURS = {
    "argument_invalid", "front_only", "read_only", "isolation_refused", "runner_not_registered", "metadata_invalid",
    "invalid_credentials", "definition_invalid", "object_expected", "login_not_mappable",
    "setting_not_found", "entities_invalid", "overrides_invalid",
}  # fmt: skip


def _hints() -> Iterator[tuple[str, str]]:
    """Code and hint of every refusal in the SQL, and of every problem of a definition."""
    refused = re.compile(r"p_code => '(\w+)'(?:(?!p_code).)*?p_hint => ([^\n]*)", re.DOTALL)
    for path in sorted((ROOT / "database" / "schema").rglob("*.sql")):
        for code, hint in refused.findall(path.read_text()):
            yield code, " ".join(re.findall(r"'((?:[^']|'')*)'", hint))
    for code, hint in re.findall(r'"x-code": "(\w+)".*?"x-hint": "((?:[^"\\]|\\.)*)"', description_text(), re.DOTALL):
        yield code, hint


def test_hints_of_the_api_are_commands_here() -> None:
    found = list(_hints())
    assert len(found) > 60
    of_the_api = {code for code, hint in found if OF_THE_API.search(hint)}
    assert {"workflow_not_found", "secret_not_found", "tenant_required", "inline_secret"} <= of_the_api
    assert of_the_api - NOT_OURS <= set(COMMANDS)


def test_every_code_of_the_table_is_one_that_the_server_has() -> None:
    texts = "".join(path.read_text() for path in (ROOT / "database" / "schema").rglob("*.sql"))
    texts += "".join(path.read_text() for path in (ROOT / "runner").rglob("*.py")) + description_text()
    assert {code for code in COMMANDS if not re.search(rf"['\"]{code}['\"]", texts)} == set()


@pytest.mark.parametrize("code", sorted(COMMANDS))
def test_commands_of_the_table_exist(code: str) -> None:
    for text in re.findall(r"flowgres ([a-z][^`;.,]*)", advice(code, None, {"workflow": "w", "name": "n"}) or ""):
        words = shlex.split(text)
        command: click.Command = cli
        while isinstance(command, click.Group) and words:
            found = command.get_command(click.Context(command), words[0])
            assert found is not None, text
            command, words = found, words[1:]
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, text


def test_arguments_of_the_call_stand_in_the_command() -> None:
    assert advice("version_not_found", None, {"workflow": "ship it"}) == (
        "List them with: flowgres workflows versions 'ship it'"
    )
    assert advice("version_not_found", None, {}) == "List them with: flowgres workflows versions NAME"
    assert advice("version_not_found", None, {"workflow": "a\nb"}) == "List them with: flowgres workflows versions NAME"
    assert advice("unheard_of", "Do this.") == "Do this."


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "invalid_credentials", AuthError),
        (403, "insufficient_role", AuthError),
        (404, "workflow_not_found", NotFoundError),
        (409, "last_admin_key", ConflictError),
        (422, "idempotency_key_reused", ConflictError),
        (422, "input_invalid", UsageProblemError),
        (400, "argument_invalid", UsageProblemError),
        (413, "payload_too_large", UsageProblemError),
        (422, "definition_invalid", InvalidDefinitionError),
        (400, "PGRST100", CliError),
        (429, "rate_limited", CliError),
        (500, "internal_error", CliError),
    ],
)
def test_status_and_code_say_how_the_command_ends(status: int, code: str, kind: type[CliError]) -> None:
    assert kind_of(status, code) is kind
    assert type(refusal(status, code, "no")) is kind


@pytest.mark.parametrize(
    ("details", "text"),
    [
        (None, ""),
        ("inputs.x", "inputs.x"),
        ('{"instance_id": "01a2", "rows": 3, "states": ["a", "b"], "none": null}', "instance_id: 01a2, rows: 3"),
        ('{"cut', '{"cut'),
    ],
)
def test_details_are_words(details: str | None, text: str) -> None:
    assert details_text(details) == text
