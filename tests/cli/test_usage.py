"""What the command line says before it talks to anybody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from flowgres_cli.main import SECTIONS, cli

from .conftest import Flowgres


def _commands(group: click.Group, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*prefix, name))
        else:
            yield (*prefix, name)


ALL_COMMANDS = sorted(_commands(cli))


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(command: tuple[str, ...]) -> None:
    answer = CliRunner().invoke(cli, [*command, "--help"], prog_name="flowgres")
    assert answer.exit_code == 0
    assert "Example" in answer.output
    assert f"flowgres {' '.join(command)}" in " ".join(answer.output.split())


def test_commands_of_this_version_are_complete() -> None:
    expected = """dev demo doctor validate import schema graph test run logs token signal
        db.install db.upgrade db.roles db.status db.sql db.adopt
        db.functions.list db.functions.allow db.functions.remove
        tenants.register tenants.list tenants.logins.add tenants.logins.list tenants.logins.remove
        tenants.show tenants.suspend tenants.restore tenants.delete tenants.purge tenants.export tenants.verify
        keys.create keys.list keys.rotate keys.revoke secrets.set secrets.list secrets.delete
        workflows.list workflows.show workflows.versions workflows.activate workflows.deactivate workflows.delete
        executions.list executions.show executions.events executions.cancel executions.watch executions.retry
        executions.why signals.list
        executions.pause executions.resume executions.update
        workflows.pause workflows.resume tenants.pause tenants.resume
        executions.replay executions.fork executions.diff backtest
        approve reject approvals.list
        steps.show steps.retry steps.skip steps.complete steps.fail steps.cancel steps.update
        mcp schedules.list schedules.preview schedules.pause schedules.resume schedules.trigger schedules.backfill
        events.emit events.list triggers.list triggers.install triggers.remove
        webhooks.list webhooks.show webhooks.rotate webhooks.send webhooks.deliveries webhooks.redeliver
        notifications.list notifications.set notifications.delete notifications.deliveries notifications.redeliver
        tasks.list tasks.show tasks.queues limits.list limits.set limits.delete
        instances.list instances.show instances.start instances.transition instances.history
        instances.verify instances.export instances.migrate
        runner.start runner.list errors"""
    assert {".".join(command) for command in ALL_COMMANDS} == set(expected.split())


def test_help_groups_commands_by_purpose() -> None:
    answer = CliRunner().invoke(cli, ["--help"])
    assert answer.exit_code == 0
    assert all(f"{section}:" in answer.output for section in SECTIONS)


def test_start_imports_click_and_nothing_else_of_weight() -> None:
    program = (
        "import sys, flowgres_cli.main\n"
        "heavy = {'httpx', 'rich', 'psycopg', 'yaml', 'jsonschema', 'jinja2', 'asyncio', 'flowgres_definitions'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_of_all_commands_imports_nothing_of_weight() -> None:
    program = (
        "import sys\n"
        "from flowgres_cli.main import cli\n"
        "cli.get_help(__import__('click').Context(cli))\n"
        "heavy = {'httpx', 'rich', 'psycopg', 'yaml', 'jsonschema', 'jinja2', 'asyncio', 'flowgres_definitions'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version(flowgres: Flowgres) -> None:
    answer = flowgres("--version")
    assert (answer.code, answer.out.split()[0]) == (0, "flowgres")


def test_mistyped_command_is_a_usage_error_with_a_suggestion(flowgres: Flowgres) -> None:
    answer = flowgres("worflows", "list")
    assert answer.code == 2
    assert "Did you mean 'workflows'?" in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "x", "--timeout", "soon"),
        ("run", "x", "--priority", "10"),
        ("executions", "show", "not-an-id"),
        ("executions", "list", "--status", "done"),
        ("workflows", "list", "-o", "xml"),
        ("validate",),
        ("validate", "no-such-file.yaml"),
        ("db", "status"),
        ("dev", "no-such-file.yaml"),
        ("graph",),
        ("graph", "no-such-file.yaml"),
        ("graph", "x", "--format", "png"),
    ],
    ids=" ".join,
)
def test_wrong_call_is_exit_2(flowgres: Flowgres, arguments: tuple[str, ...]) -> None:
    answer = flowgres(*arguments)
    assert answer.code == 2
    assert answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "x"),
        ("workflows", "list"),
        ("executions", "list"),
        ("token", "--api-key", "fg_live_x"),
        ("secrets", "list"),
        ("graph", "x"),
        ("runner", "list"),
        ("tenants", "register", "acme"),
    ],
    ids=" ".join,
)
def test_server_that_is_not_there_is_exit_9_with_a_way_out(flowgres: Flowgres, arguments: tuple[str, ...]) -> None:
    # Port 1 is reserved, and nobody listens there.
    answer = flowgres(*arguments, FLOWGRES_API_URL="http://127.0.0.1:1", FLOWGRES_FRONT_URL="http://127.0.0.1:1")
    assert answer.code == 9
    assert "hint:" in answer.err
    assert "127.0.0.1:1" in answer.err


@pytest.mark.parametrize("url", ["ftp://host", "not a url", "http://[::1", "http://host:port"])
def test_address_that_is_none_is_exit_2(flowgres: Flowgres, url: str) -> None:
    answer = flowgres("workflows", "list", "--api-url", url)
    assert answer.code == 2
    assert url in answer.err


@pytest.mark.parametrize("key", ["fg live x", "schlüssel", "a\nb"])
def test_key_with_impossible_characters_is_exit_5_and_not_echoed(flowgres: Flowgres, key: str) -> None:
    answer = flowgres("workflows", "list", FLOWGRES_API_KEY=key)
    assert answer.code == 5
    assert key not in answer.err


def test_key_and_token_together_are_exit_5(flowgres: Flowgres) -> None:
    answer = flowgres("workflows", "list", FLOWGRES_API_KEY="k", FLOWGRES_TOKEN="t")
    # One source names one of them: the first wins within the environment, so nothing ambiguous is sent.
    assert answer.code == 5


def test_database_that_is_not_there_is_an_error_without_traceback(flowgres: Flowgres) -> None:
    answer = flowgres("db", "status", "--dsn", "postgresql://nobody@127.0.0.1:1/none")
    assert answer.code == 9
    assert "hint:" in answer.err


def test_connection_string_that_is_none_is_exit_2(flowgres: Flowgres) -> None:
    answer = flowgres("db", "status", "--dsn", "no connection string")
    assert answer.code == 2


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://owner:s3cret@word@127.0.0.1:1/db",
        "postgresql://owner:s3cret/word@127.0.0.1:1/db",
        "postgresql://owner:s3cret#word@127.0.0.1:1/db",
        "postgresql://owner:s3cret%zzword@127.0.0.1:1/db",
        "postgresql://owner:s3cret word@127.0.0.1:1/db",
        "postgresql://owner:s3cret?word@127.0.0.1:1/db",
        "postgresql:/owner:s3cretword@127.0.0.1:1/db",
        "host=127.0.0.1 password=s3cret word",
    ],
)
@pytest.mark.parametrize("command", [("db", "status"), ("tenants", "register", "acme")], ids=" ".join)
def test_password_of_a_malformed_connection_string_is_not_echoed(
    flowgres: Flowgres, dsn: str, command: tuple[str, ...]
) -> None:
    for answer in (flowgres(*command, "--dsn", dsn), flowgres(*command, DATABASE_URL=dsn)):
        assert answer.code != 0
        assert "s3cret" not in answer.err + answer.out
        assert "word@127" not in answer.err + answer.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(flowgres: Flowgres, shell: str) -> None:
    answer = flowgres(_FLOWGRES_COMPLETE=f"{shell}_source")
    assert answer.code == 0
    assert "_FLOWGRES_COMPLETE" in answer.out


def test_completion_knows_commands_and_options(flowgres: Flowgres) -> None:
    commands = flowgres(_FLOWGRES_COMPLETE="bash_complete", COMP_WORDS="flowgres work", COMP_CWORD="1")
    assert "workflows" in commands.out
    options = flowgres(_FLOWGRES_COMPLETE="bash_complete", COMP_WORDS="flowgres run x --wat", COMP_CWORD="3")
    assert "--watch" in options.out


def test_broken_pipe_is_quiet(flowgres: Flowgres) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -m flowgres_cli db sql | head -n 1'],
        capture_output=True,
        text=True,
        env=flowgres.environment,
        cwd=flowgres.folder,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout


def test_runner_start_without_a_database_says_so(flowgres: Flowgres) -> None:
    answer = flowgres("runner", "start")
    assert answer.code == 2
    assert "DATABASE_URL" in answer.err
