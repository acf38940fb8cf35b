"""flowgres backtest: recorded executions on another version of their workflow."""

from __future__ import annotations

import click

from flowgres_cli.session import Session, output_option, pass_session, server_options


@click.command(
    epilog="Examples: flowgres backtest order-pipeline --file order.yaml · "
    "flowgres backtest order-pipeline --version 4 --last 20 -o json",
)
@click.argument("workflow")
@click.option("--version", type=click.IntRange(min=1), help="This version, a draft as well; otherwise the newest.")
@click.option("--file", metavar="FILE", help="The definition in this file.")
@click.option(
    "--last", type=click.IntRange(1, 1000), default=100, show_default=True, help="So many executions, newest first."
)
@click.option("--since", metavar="TIME", help="Only those created since then, as 2026-11-01 or 2026-11-01T12:00:00Z.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Real time that those which began together may take.",
)
@click.option(
    "--database-url",
    metavar="DSN",
    help="A server on which a database is made and dropped, by a login that may; without it a private PostgreSQL.",
)
@server_options
@output_option
@pass_session
def backtest(
    session: Session,
    workflow: str,
    version: int | None,
    file: str | None,
    last: int,
    since: str | None,
    timeout_seconds: float,
    database_url: str | None,
) -> None:
    """Run recorded executions of WORKFLOW on another version, and report what differs.

    Steps that compute do so again; those that wait or send are answered what they were answered then. Nothing is sent
    anywhere, and time is virtual. Compared are status, error, branches, steps and output. Exit code 0 when all are the
    same, 1 when one differs or none could be judged.
    """
    from flowgres_cli.errors import CliError, UsageProblemError
    from flowgres_cli.output import clean, say
    from flowgres_cli.testing.backtesting import DIFFERS, SAME, UNKNOWN, Verdict, find_ended, read_draft
    from flowgres_cli.testing.backtesting import backtest as run_backtest

    if version is not None and file is not None:
        raise UsageProblemError("--version and --file are two drafts", hint="Give one of them.")
    output = session.output

    def show(verdict: Verdict) -> None:
        if not output.is_table:
            return
        output.line(f"{verdict.verdict:<8}{verdict.execution_id}  version {verdict.version}")
        for one in verdict.differences:
            if one["recorded"] is None and one["now"] is None:
                output.line(f"  {clean(str(one['what']))}")
            else:
                output.line(clean(f"  {one['what']}: {one['recorded']} | {one['now']}"))
        for sentence in (*verdict.reasons, *verdict.notes):
            output.line(f"  {clean(sentence)}")

    draft = read_draft(session.client, workflow, version=version, file=file)
    ids = find_ended(session.client, workflow, last=last, since=since)
    verdicts = run_backtest(
        session.client, draft, ids, timeout_seconds=timeout_seconds, database_url=database_url, on_verdict=show
    )
    if not output.is_table:
        output.rows([verdict.row for verdict in verdicts], (), id_field="execution_id")
    counts = {word: sum(one.verdict == word for one in verdicts) for word in (SAME, DIFFERS, UNKNOWN)}
    say(f"{draft.name}: " + ", ".join(f"{count} {word}" for word, count in counts.items()))
    if counts[UNKNOWN] == len(verdicts):
        raise CliError("no execution could be judged", code="nothing_judged")
    if counts[DIFFERS]:
        click.get_current_context().exit(1)
