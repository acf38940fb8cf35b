"""The command `flowgres`. Only click is imported before the command is known."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from flowgres_cli import __version__
from flowgres_cli.errors import CliError
from flowgres_cli.output import say
from flowgres_cli.session import output_option, server_options

# Section -> command -> module of flowgres_cli.commands and the name in it.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "demo": ("stack", "demo"),
        "dev": ("stack", "dev"),
        "doctor": ("doctor", "doctor"),
    },
    "Author": {
        "validate": ("author", "validate"),
        "import": ("author", "import_definitions"),
        "schema": ("author", "schema"),
        "graph": ("graph", "graph"),
        "test": ("test", "test"),
        "backtest": ("backtest", "backtest"),
    },
    "Run": {
        "run": ("run", "run"),
        "logs": ("executions", "logs"),
        "signal": ("signals", "signal"),
        "approve": ("approvals", "approve"),
        "reject": ("approvals", "reject"),
        "mcp": ("mcp", "mcp"),
    },
    "Inspect": {
        "workflows": ("workflows", "workflows"),
        "executions": ("executions", "executions"),
        "steps": ("steps", "steps"),
        "approvals": ("approvals", "approvals"),
        "instances": ("instances", "instances"),
        "tasks": ("tasks", "tasks"),
        "signals": ("signals", "signals"),
        "schedules": ("schedules", "schedules"),
        "events": ("events", "events"),
        "webhooks": ("webhooks", "webhooks"),
        "errors": ("errors", "errors"),
        "notifications": ("notifications", "notifications"),
    },
    "Admin": {
        "tenants": ("tenants", "tenants"),
        "keys": ("keys", "keys"),
        "token": ("keys", "token"),
        "secrets": ("secrets", "secrets"),
        "limits": ("limits", "limits"),
        "triggers": ("triggers", "triggers"),
        "db": ("database", "db"),
        "runner": ("runner", "runner"),
    },
}
_LOCATIONS = {name: location for section in SECTIONS.values() for name, location in section.items()}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_LOCATIONS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        location = _LOCATIONS.get(cmd_name)
        if location is None:
            return None
        module = importlib.import_module(f"flowgres_cli.commands.{location[0]}")
        command: click.Command = getattr(module, location[1])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _LOCATIONS:
            import difflib

            near = difflib.get_close_matches(args[0], _LOCATIONS, n=1)
            suggestion = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{suggestion}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in SECTIONS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                if command is not None:
                    rows.append((name, command.get_short_help_str(limit=formatter.width)))
            with formatter.section(section):
                formatter.write_dl(rows, col_max=16)


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 invalid definition, 5 auth, 6 conflict, "
    "7 execution failed, 8 cancelled, 9 unreachable, 124 wait timed out, 130 interrupted. "
    'Completion: eval "$(_FLOWGRES_COMPLETE=bash_source flowgres)".',
)
@click.version_option(__version__, prog_name="flowgres", message="%(prog)s %(version)s")
@server_options
@output_option
def cli() -> None:
    """Workflows inside PostgreSQL, served by PostgREST.

    Two commands to begin with:

    \b
      flowgres demo                 see an execution, nothing stays behind
      flowgres dev workflow.yaml    a private server for this folder
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; what the user can cause never shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character gets an escape for it, not a crash.
            stream.reconfigure(errors="backslashreplace")
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments), prog_name="flowgres", standalone_mode=False
        )
        # click returns the code of ctx.exit() instead of raising it.
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        code = 0
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        code = 130
    except Exception as error:
        code = report(error)
    sys.exit(code)


def report(error: Exception) -> int:
    """Say what went wrong on stderr, and return the exit code."""
    try:
        return _report(error)
    except BrokenPipeError:
        return 1


def _report(error: Exception) -> int:
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, CliError):
        return _show(error.message, code=error.code, where=error.where, hint=error.hint, exit_code=error.exit_code)
    # Errors of the stack and of the migrator are made for people too; they carry a code and a hint.
    hint = getattr(error, "hint", None)
    message = getattr(error, "message", None)
    if isinstance(message, str) and isinstance(getattr(error, "code", None), str):
        return _show(message, code=error.code, hint=hint, exit_code=int(getattr(error, "exit_code", 1)))  # type: ignore[attr-defined]
    if isinstance(error, OSError):
        return _show(str(error), exit_code=1)
    if os.environ.get("FLOWGRES_DEBUG"):
        raise error
    return _show(
        f"internal error: {type(error).__name__}: {error}",
        hint="This is a fault of flowgres. FLOWGRES_DEBUG=1 shows where; please report it with that.",
        exit_code=1,
    )


def _show(
    message: str, *, exit_code: int, code: str | None = None, where: str | None = None, hint: str | None = None
) -> int:
    place = f"{where}: " if where else ""
    say(f"error: {place}{message}" + (f" [{code}]" if code else ""))
    if hint:
        say(f"  hint: {hint}")
    return exit_code


def _silence_stdout() -> None:
    """Point stdout at nothing, or the interpreter complains about the broken pipe when it flushes at exit."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)


if __name__ == "__main__":
    main()
