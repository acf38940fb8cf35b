"""flowgres test: cases of workflows, on the real engine."""

from __future__ import annotations

import click

from flowgres_cli.session import Session, pass_session, server_options

FORMATS = ("text", "tap", "junit", "json")


@click.command(
    epilog="Examples: flowgres test workflows/ · flowgres test order.test.yaml -k refund · "
    "flowgres test . --format junit --output-file report.xml · flowgres test --record EXECUTION",
)
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("-k", "chosen", metavar="TEXT", help="Run only the cases that have this text in their names.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Form of the results."
)
@click.option("--output-file", "target", metavar="FILE", help="Write the results to this file instead of stdout.")
@click.option("--fail-fast", "stops_at_failure", is_flag=True, help="Stop at the first case that fails.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Real time that a case may take.",
)
@click.option(
    "--database-url",
    metavar="DSN",
    help="A server on which a database is made and dropped, by a login that may; without it a private PostgreSQL.",
)
@click.option(
    "--record", "recorded", metavar="EXECUTION", help="Write a file of cases from this execution of a server."
)
@click.option(
    "--workflow", metavar="FILE", help="With --record: the workflow's file; otherwise it is looked for, or written."
)
@server_options
@pass_session
def test(
    session: Session,
    paths: tuple[str, ...],
    recorded: str | None,
    workflow: str | None,
    chosen: str | None,
    form: str,
    target: str | None,
    stops_at_failure: bool,
    timeout_seconds: float,
    database_url: str | None,
) -> None:
    """Run cases of workflows: *.test.yaml, with mocked answers and a virtual clock.

    PATH is a file of cases, or a directory, walked for *.test.yaml. They run at the same time, on the real engine in a
    throw-away database; nothing is sent anywhere, and a delay of days takes no time. A file looks like this:

    \b
      workflow: order.yaml
      cases:
        - name: a large order is reviewed
          input: {amount: 500}
          mocks:
            - {step: charge, status: 200, body: {id: ch_1}}
          expect:
            status: completed
            branches: {check_amount: "true"}
            requests: [{step: charge, method: POST, json: {amount: 500}}]

    `flowgres schema --tests` prints all that may stand there. Exit code 1 when a case failed, 4 when a file or a
    workflow is invalid.
    """
    from flowgres_cli.errors import UsageProblemError

    if recorded is not None:
        _record(session, paths, recorded, workflow, target)
        return
    if workflow is not None:
        raise UsageProblemError("--workflow goes with --record", hint="The file of cases names its workflow.")
    from flowgres_cli.testing.course import run_files

    if not paths:
        raise UsageProblemError("name a file of cases, or a folder", hint="flowgres test .")
    run_files(
        paths,
        chosen=chosen,
        form=form,
        target=target,
        stops_at_failure=stops_at_failure,
        timeout_seconds=timeout_seconds,
        database_url=database_url,
    )


def _record(session: Session, paths: tuple[str, ...], recorded: str, workflow: str | None, target: str | None) -> None:
    from flowgres_cli.errors import UsageProblemError
    from flowgres_cli.executions import execution_id
    from flowgres_cli.testing.keeping import record_execution

    if paths:
        raise UsageProblemError("--record writes a file, and runs none", hint="Leave out the paths.")
    target = None if target == "-" else target
    text = record_execution(session.client, execution_id(recorded), workflow=workflow, target=target)
    if text:
        session.output.line(text.rstrip())
