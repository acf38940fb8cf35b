"""The commands that talk to a server, each as a user calls it, against the real one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Database

from .conftest import Flowgres


def test_registration_is_refused_to_strangers_when_it_is_switched_off(anonymous: Flowgres) -> None:
    answer = anonymous("tenants", "register", "Stranger")
    assert answer.code == 5
    assert "registration_disabled" in answer.err


def test_call_without_credentials_is_exit_5_and_says_what_to_set(anonymous: Flowgres) -> None:
    answer = anonymous("run", "greet")
    assert answer.code == 5
    assert "FLOWGRES_API_KEY" in answer.err


@pytest.mark.parametrize("key", ["fg_live_wrong", "fg_live_" + "0" * 32 + "_" + "0" * 64])
def test_wrong_key_is_exit_5_and_says_where_it_came_from(anonymous: Flowgres, key: str) -> None:
    answer = anonymous("workflows", "list", FLOWGRES_API_KEY=key)
    assert answer.code == 5
    assert "environment" in answer.err
    assert key not in answer.err


def test_run_waits_and_prints_the_result(live: Flowgres) -> None:
    answer = live("run", "greet", "-f", "name=Ann", "-f", "times=2")
    assert answer.code == 0, answer.err
    assert answer.json["status"] == "completed"
    assert answer.json["output"] == {"text": "Hello Ann! Hello Ann! "}


def test_run_takes_json_from_argument_file_and_stdin(live: Flowgres) -> None:
    (live.folder / "in.json").write_text('{"name": "File"}')
    texts = [
        live("run", "greet", "-d", '{"name": "Argument"}').json["output"]["text"],
        live("run", "greet", "-d", "@in.json").json["output"]["text"],
        live("run", "greet", "-d", "-", stdin='{"name": "Pipe"}').json["output"]["text"],
    ]
    assert texts == ["Hello Argument! ", "Hello File! ", "Hello Pipe! "]


def test_run_watch_without_a_terminal_prints_events_as_json_lines_and_the_result(live: Flowgres) -> None:
    answer = live("run", "greet", "--watch")
    assert answer.code == 0, answer.err
    *events, result = answer.lines
    assert events[0]["type"] == "execution_started"
    assert events[-1]["type"] == "execution_completed"
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert (result["type"], result["output"]) == ("result", {"text": "Hello world! "})


def test_failed_execution_is_exit_7_and_names_the_step(live: Flowgres) -> None:
    answer = live("run", "break")
    assert answer.code == 7
    assert answer.json["status"] == "failed"
    assert "bad: expression_" in answer.err


def test_failure_of_a_definition_is_told_with_its_json_intact(live: Flowgres) -> None:
    answer = live("run", "break", "--watch")
    assert answer.code == 7
    assert answer.lines[-1]["status"] == "failed"


def test_sub_workflow_runs_to_the_end(live: Flowgres) -> None:
    assert live("run", "outer").code == 0


def test_id_is_printed_once(live: Flowgres) -> None:
    for more in ((), ("--wait",), ("--detach",)):
        (execution_id,) = live("run", "greet", "-o", "id", *more).out.split()
        assert live("executions", "show", execution_id).code == 0


def test_detach_prints_the_id_and_cancel_ends_it(live: Flowgres) -> None:
    execution_id = live("run", "sleep", "--detach", "-o", "id").out.strip()
    cancelled = live("executions", "cancel", execution_id, "--reason", "ordered twice")
    assert (cancelled.code, cancelled.json["status"]) == (0, "cancelled")
    watched = live("executions", "watch", execution_id)
    assert watched.code == 8
    assert "ordered twice" in watched.err
    finished = live("run", "greet").json["execution_id"]
    assert live("executions", "cancel", finished).code == 6


def test_wait_that_times_out_is_exit_124_and_the_execution_goes_on(live: Flowgres) -> None:
    answer = live("run", "sleep", "--timeout", "0.5", "--wait")
    assert answer.code == 124
    assert "goes on" in answer.err
    running = live("executions", "list", "--workflow", "sleep", "--limit", "1").json[0]
    assert running["finished_at"] is None
    live("executions", "cancel", running["id"])


def test_interrupt_is_exit_130_and_the_execution_goes_on(live: Flowgres) -> None:
    process = subprocess.Popen(
        live.command("run", "sleep", "--watch"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=live.environment,
        cwd=live.folder,
    )
    with process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "goes on" in err
    assert "Traceback" not in err
    assert live("executions", "show", first["execution_id"]).json["finished_at"] is None
    live("executions", "cancel", first["execution_id"])


def test_idempotency_key_starts_once_and_refuses_another_payload(live: Flowgres) -> None:
    first = live("run", "greet", "--idempotency-key", "k1").json["execution_id"]
    assert live("run", "greet", "--idempotency-key", "k1").json["execution_id"] == first
    assert live("run", "greet", "--idempotency-key", "k1", "-f", "name=Bo").code == 6


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "nowhere"),
        ("workflows", "show", "nowhere"),
        ("workflows", "activate", "nowhere"),
        ("workflows", "delete", "nowhere", "--yes"),
        ("workflows", "show", "greet", "--version", "99"),
        ("executions", "show", "01900000-0000-7000-8000-000000000000"),
        ("executions", "events", "01900000-0000-7000-8000-000000000000"),
        ("executions", "cancel", "01900000-0000-7000-8000-000000000000"),
        ("logs", "01900000-0000-7000-8000-000000000000"),
        ("secrets", "delete", "NOWHERE", "--yes"),
    ],
    ids=" ".join,
)
def test_what_does_not_exist_is_exit_3(live: Flowgres, arguments: tuple[str, ...]) -> None:
    answer = live(*arguments)
    assert answer.code == 3, answer.err
    assert answer.out == ""


def test_mistyped_workflow_comes_with_a_suggestion(live: Flowgres) -> None:
    assert "Did you mean 'greet'?" in live("workflows", "show", "gret").err


@pytest.mark.parametrize("name", ["a,b", "x)&select=*", "'; --", "ü", "%00", "a" * 5000])
def test_strange_names_are_only_names(live: Flowgres, name: str) -> None:
    assert live("workflows", "show", name).code in (1, 3)


@pytest.mark.parametrize("given", [("-d", '{"times": "many"}'), ("-f", "times:=[]"), ("-f", "name:=12")])
def test_input_that_breaks_the_declaration_is_bad_usage_and_named(live: Flowgres, given: tuple[str, str]) -> None:
    answer = live("run", "greet", *given)
    assert answer.code == 2
    assert ("times" if "times" in given[1] else "name") in answer.err
    assert "input_invalid" in answer.err
    assert "flowgres workflows show greet" in answer.err
    assert "definition" not in answer.err


def test_lists_come_in_every_form(live: Flowgres) -> None:
    names = {row["name"] for row in live("workflows", "list").json}
    assert {"greet", "sleep", "outer"} <= names
    assert set(live("workflows", "list", "-o", "id").out.split()) >= {"greet", "sleep"}
    assert len(live("workflows", "list", "-o", "jsonl").lines) == len(names)
    table = live("workflows", "list", "-o", "table").out
    assert table.split()[:3] == ["NAME", "KIND", "STATUS"]
    assert "Greets somebody" in table
    assert "name: greet" in live("workflows", "list", "-o", "yaml").out


def test_workflow_is_shown_with_its_steps(live: Flowgres) -> None:
    shown = live("workflows", "show", "greet").json
    assert [(step["step"], step["depends_on"]) for step in shown["steps"]] == [("hello", []), ("tell", ["hello"])]
    assert shown["inputs"]["times"]["type"] == "integer"
    table = live("workflows", "show", "greet", "-o", "table").out
    assert "hello" in table
    assert re.search(r"^times +integer +1 *$", table, re.MULTILINE)


def test_executions_are_filtered(live: Flowgres) -> None:
    live("run", "break")
    failed = live("executions", "list", "--workflow", "break", "--status", "failed").json
    assert failed
    assert {row["status"] for row in failed} == {"failed"}
    assert live("executions", "list", "--workflow", "break", "--status", "completed").json == []


def test_execution_is_shown_as_a_tree_or_as_json(live: Flowgres) -> None:
    execution_id = live("run", "outer").json["execution_id"]
    assert live("executions", "show", execution_id).json["steps"][0]["step"] == "call"
    tree = live("executions", "show", execution_id, "-o", "table").out
    assert "inner v1" in tree
    assert "deep" in tree


def test_events_and_logs_tell_what_happened(live: Flowgres) -> None:
    execution_id = live("run", "greet", "-f", "name=Zoe").json["execution_id"]
    events = live("executions", "events", execution_id).json
    assert events[-1]["type"] == "execution_completed"
    warnings = live("logs", execution_id, "--level", "warning", "-o", "json").lines
    assert [(line["type"], line["message"]) for line in warnings] == [("log", "greeted Zoe")]
    piped = live("logs", execution_id).out.splitlines()
    assert len(piped) == len(events)
    assert [line for line in piped if "greeted Zoe" in line and "warning" in line and "tell" in line]
    assert not [line for line in piped if "{" in line or "\x1b" in line]
    followed = live("logs", execution_id, "-f", "-o", "table")
    assert followed.code == 0
    assert "greeted Zoe" in followed.out


def test_secret_goes_in_by_stdin_and_never_comes_out(live: Flowgres) -> None:
    stored = live("secrets", "set", "API_TOKEN", stdin="s3cr3t-value\n")
    assert (stored.code, stored.out) == (0, "")
    listed = live("secrets", "list")
    assert [row["name"] for row in listed.json] == ["API_TOKEN"]
    assert "s3cr3t" not in listed.out
    assert live("secrets", "delete", "API_TOKEN", "--yes").code == 0
    assert live("secrets", "list").json == []


def test_empty_secret_is_exit_2(live: Flowgres) -> None:
    assert live("secrets", "set", "EMPTY", stdin="\n").code == 2


def test_secret_has_no_option_for_its_value(live: Flowgres) -> None:
    answer = live("secrets", "set", "NAME", "value-on-the-command-line")
    assert answer.code == 2


def test_key_of_a_viewer_reads_and_does_not_start(live: Flowgres) -> None:
    created = live("keys", "create", "reader", "--role", "viewer").json
    reader = live.with_environment(FLOWGRES_API_KEY=created["api_key"])
    assert reader("workflows", "list").code == 0
    refused = reader("run", "greet")
    assert refused.code == 5
    assert "role" in refused.err


def test_token_works_in_place_of_the_key(live: Flowgres) -> None:
    token = live("token").out.strip()
    assert token.count(".") == 2
    by_token = Flowgres(live.folder, {**live.environment, "FLOWGRES_API_KEY": "", "FLOWGRES_TOKEN": token})
    assert by_token("workflows", "list").code == 0
    assert by_token("token").code == 5


def test_keys_are_listed_rotated_and_revoked_and_the_last_one_only_by_force(live: Flowgres) -> None:
    made = live("keys", "create", "second", "--role", "admin").json
    by_second = live.with_environment(FLOWGRES_API_KEY=made["api_key"])
    rotated = by_second("keys", "rotate", made["prefix"], "--grace-seconds", "0").json
    assert by_second("workflows", "list").code == 5
    by_third = live.with_environment(FLOWGRES_API_KEY=rotated["api_key"])
    listed = {row["prefix"]: row["status"] for row in by_third("keys", "list").json}
    assert (listed[made["prefix"]], listed[rotated["prefix"]]) == ("expired", "active")
    assert by_third("keys", "revoke", rotated["prefix"]).code == 0
    mine = live.environment["FLOWGRES_API_KEY"].split("_")[-1][:8]
    refused = live("keys", "revoke", mine)
    assert refused.code == 6
    assert "last_admin_key" in refused.err
    assert "--force" in refused.err
    assert live("keys", "list").code == 0


def test_tenant_whose_slug_is_taken_is_told_so(anonymous: Flowgres, module_database: Database) -> None:
    register = ("tenants", "register", "Twice", "--dsn", module_database.dsn("operator"))
    first, second = anonymous(*register), anonymous(*register)
    assert (first.json["slug"], first.json["slug_taken"]) == ("twice", None)
    assert "another tenant has the slug twice" in second.err
    assert second.json["slug"] in second.err
    third = anonymous(*register, "--slug", "twice")
    assert third.code == 6
    assert "--slug" in third.err
    listed = anonymous("tenants", "list", "--dsn", module_database.dsn("operator")).json
    assert {first.json["slug"], second.json["slug"]} <= {row["slug"] for row in listed}


def test_what_a_service_answered_is_shown_with_the_error(live: Flowgres, module_api: Api) -> None:
    (live.folder / "call.yaml").write_text(
        "name: call\nsteps:\n"
        f"  - {{id: ask, type: http, config: {{url: '{module_api.url}/rpc/nothing'}}, retry: {{attempts: 1}}}}\n"
    )
    assert live("import", "call.yaml").code == 0
    ran = live("run", "call")
    assert ran.code == 7
    shown = live("executions", "show", ran.json["execution_id"], "-o", "table")
    for text in (ran.err, shown.out, live("logs", ran.json["execution_id"]).out):
        assert "it answered: {" in text
        assert "PGRST202" in text


def test_runner_is_listed(live: Flowgres) -> None:
    assert any(row["status"] in ("idle", "working") for row in live("runner", "list").json)


def test_doctor_finds_nothing_wrong(live: Flowgres, module_database: Database) -> None:
    answer = live("doctor", DATABASE_URL=module_database.dsn())
    results: dict[str, Any] = {finding["check"]: finding for finding in answer.json}
    assert answer.code == 0, answer.json
    assert {"API", "front", "runners", "credentials", "clock", "database", "versions"} <= set(results)


def test_doctor_tells_of_accounts_that_are_missing_and_calls_it_no_problem(live: Flowgres) -> None:
    assert live("secrets", "set", "SMTP_URL", stdin="smtp://mail.example").code == 0
    answer = live("doctor")
    found = {finding["check"]: finding for finding in answer.json}
    assert answer.code == 0, answer.json
    assert (found["notify, email"]["result"], found["llm, anthropic"]["result"]) == ("ok", "note")
    assert found["llm, anthropic"]["fix"] == "flowgres secrets set ANTHROPIC_API_KEY"
    assert "mail.example" not in str(answer.json)
    assert live("secrets", "delete", "SMTP_URL", "--yes").code == 0


def test_doctor_and_status_name_a_right_that_is_missing(live: Flowgres, module_database: Database) -> None:
    with module_database.connect() as db:
        db.run("revoke select on flowgres.audit_log from flowgres_admin")
    try:
        found = {finding["check"]: finding for finding in live("doctor", DATABASE_URL=module_database.dsn()).json}
        assert "table flowgres.audit_log flowgres_admin may not select" in str(found["database"])
        answer = live("db", "status", "--dsn", module_database.dsn(), "-o", "json")
        assert (answer.code, answer.json["is_current"]) == (1, False)
        assert answer.json["problems"] == ["table flowgres.audit_log flowgres_admin may not select"]
    finally:
        assert live("db", "install", "--dsn", module_database.dsn()).code == 0
    assert live("db", "status", "--dsn", module_database.dsn()).code == 0


def test_doctor_says_how_to_fix_what_is_wrong(live: Flowgres) -> None:
    answer = live("doctor", "-o", "table", FLOWGRES_API_KEY="fg_live_wrong", FLOWGRES_FRONT_URL="http://127.0.0.1:1")
    assert answer.code == 1
    assert "problem  front" in answer.out
    assert "problem  credentials" in answer.out
    assert "\x1b" not in answer.out
