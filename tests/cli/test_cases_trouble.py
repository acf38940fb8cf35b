"""`flowgres test` where cases cannot go on, are chosen, or cannot even be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from junitparser import JUnitXml
from psycopg.conninfo import make_conninfo

from tests.support.packages import beside, install_example, install_module
from tests.support.server import INSTALLER, ROLE_PASSWORD, Server

from . import cases
from .conftest import Flowgres

NAP = "name: nap\nsteps:\n  - {id: nap, type: delay, config: {seconds: 1}}\n"
NAPS = """\
workflow: nap.yaml
cases:
  - {name: one sleeps, expect: {duration: 1s}}
  - {name: two fails, expect: {duration: 2s}}
  - {name: three sleeps}
"""
SHOUTS = """\
workflow: shouts.yaml
secrets: {CRM: token-of-the-customer}
cases:
  - name: what is not mocked does nothing
    expect: {status: failed, error: {code: step_not_mocked}}
  - name: its output can be given
    mocks:
      - {step: shout, output: hey}
      - {step: customer, error: {code: crm_down, class: connect}}
    expect: {status: failed, error: {code: crm_down}, steps: {shout: {output: hey}}}
  - name: so can what its requests are answered with
    mocks:
      - {step: shout, output: hey}
      - {step: customer, status: 200, body: {name: Ada}}
    expect: {status: failed, error: {code: step_not_mocked}}
"""
SHOUTS_RUN = """\
workflow: shouts.yaml
run_types: [shout, customer]
secrets: {CRM: token-of-the-customer}
mocks: [{url: "https://crm.example/*", body: {name: Ada}}]
cases:
  - name: the code of a package runs when it is asked for
    expect:
      outputs: {said: "QUIET!!!", customer: Ada}
      requests: [{step: customer, headers: {authorization: {$matches: "token-of-the-customer"}}}]
  - name: and its requests are mocked by step as well
    mocks: [{step: customer, status: 404}]
    expect: {status: failed, error: {step: customer}}
"""


def test_cases_can_be_chosen_and_stop_at_the_first_failure(
    flowgres: Flowgres, server: Server, write: Callable[..., Path]
) -> None:
    write("nap.yaml", NAP)
    write("nap.test.yaml", NAPS)
    on = ("--database-url", server.superuser_dsn)
    chosen = flowgres("test", ".", "-k", "sleeps", "--format", "json", *on)
    assert chosen.code == 0, chosen.err
    assert sorted(case["name"] for case in chosen.json["cases"]) == ["one sleeps", "three sleeps"]
    nobody = flowgres("test", ".", "-k", "sleepz", *on)
    assert (nobody.code, nobody.out) == (2, "")
    assert "'sleepz'" in nobody.err
    kept = flowgres("test", ".", "-k", "sleeps", "--format", "junit", "--output-file", "report.xml", *on)
    assert kept.code == 0
    assert "ok     nap.test.yaml: one sleeps" in kept.out
    assert JUnitXml.fromfile(str(flowgres.folder / "report.xml")).tests == 2
    fast = flowgres("test", ".", "-k", "two", "--fail-fast", "--format", "json", *on)
    assert (fast.code, fast.json["failed"], fast.json["passed"]) == (1, 1, 0)


@pytest.mark.slow
def test_case_that_takes_too_long_is_given_up(flowgres: Flowgres, server: Server, write: Callable[..., Path]) -> None:
    write("nap.yaml", NAP)
    write("nap.test.yaml", NAPS)
    answer = flowgres("test", ".", "-k", "one", "--timeout", "0.000001", "--database-url", server.superuser_dsn)
    assert answer.code == 1
    assert "nap.test.yaml:3:5: 1e-06 s of real time were not enough; the execution is " in answer.out


@pytest.mark.slow
def test_step_type_of_a_package_is_mocked_or_asked_for(
    flowgres: Flowgres, server: Server, write: Callable[..., Path], tmp_path: Path
) -> None:
    with_package = flowgres.with_environment(**beside(install_example(tmp_path / "package")))
    write(
        "shouts.yaml",
        "name: shouts\nsteps:\n"
        "  - {id: shout, type: shout, config: {text: quiet, times: 3}}\n"
        "  - id: customer\n    type: customer\n    retry: {attempts: 1}\n"
        '    config: {service: "https://crm.example", id: 7, token: "{{ secrets.CRM }}"}\n'
        'outputs: {said: "{{ steps.shout.output }}", customer: "{{ steps.customer.output.name }}"}\n',
    )
    write("a.test.yaml", SHOUTS)
    mocked = with_package("test", "a.test.yaml", "--format", "json", "--database-url", server.superuser_dsn)
    told = {case["name"]: [failure["message"] for failure in case["failures"]] for case in mocked.json["cases"]}
    refused = "no mock is for the step {0}, and its type {0} would do what it does for real"
    assert told == {
        "what is not mocked does nothing": [refused.format("shout")],
        "its output can be given": [],
        "so can what its requests are answered with": [refused.format("customer")],
    }
    write("b.test.yaml", SHOUTS_RUN)
    run = with_package("test", "b.test.yaml", "--database-url", server.superuser_dsn)
    assert run.code == 0, run.out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "workflow: orders.yaml\ncases:\n  - nam: x\n",
            [
                '3:5: cases[0].nam: the key "nam" is not known here (Did you mean "name"?)',
                '3:5: cases[0].name: "name" is missing',
            ],
        ),
        (
            "workflow: order.yaml\ncases: [{name: x}]\n",
            ["1:1: workflow: there is no file order.yaml (Paths are relative to this file.)"],
        ),
        (
            "workflow: orders.yaml\ncases:\n  - name: x\n    mocks: [{step: chrage, status: 200}]\n",
            ['4:14: cases[0].mocks[0].step: the workflow "orders" has no step "chrage" (Did you mean "charge"?)'],
        ),
        (
            "workflow: orders.yaml\nalso: [shipping.yaml]\ncases:\n  - name: x\n    mocks: [{step: book, output: 1}]\n",
            ['5:14: cases[0].mocks[0].step: the workflow "orders" has no step "book" (It is one of shipping: say'],
        ),
        (
            "workflow: orders.yaml\ncases:\n  - name: x\n    expect:\n"
            "      steps: {smal: skipped, 'ship[1]': skipped}\n      branches: {check_amount: yes, charge: true}\n"
            "      error: {step: nowhere}\n      requests: [{step: none}]\n",
            [
                '5:15: cases[0].expect.steps.smal: the workflow "orders" has no step "smal"',
                '5:30: cases[0].expect.steps["ship[1]"]: the step "ship" has no items',
                '6:18: cases[0].expect.branches.check_amount: "yes" is no branch of it (One of: true, false.)',
                "6:37: cases[0].expect.branches.charge: steps of the type http have no branches",
                '7:15: cases[0].expect.error.step: the workflow "orders" has no step "nowhere"',
                '8:19: cases[0].expect.requests[0].step: the workflow "orders" has no step "none"',
            ],
        ),
        (
            "workflow: orders.yaml\ncases:\n  - name: x\n    mocks:\n"
            "      - {step: ship, output: 1, error: {code: a}}\n      - {output: 1}\n"
            "      - {step: charge, status: 200, takes: soon}\n"
            "      - {step: charge, status: 99, answers: [{status: 200}]}\n",
            [
                "5:9: cases[0].mocks[0]: an answer is one of output, error, and an answer of HTTP",
                "6:9: cases[0].mocks[1]: a mock is for a step or for a url",
                '7:37: cases[0].mocks[2].takes: "soon" is no duration',
                "8:9: cases[0].mocks[3]: the answer stands here or below `answers`, not both",
                "8:24: cases[0].mocks[3].status: 99 is out of range",
            ],
        ),
        (
            "workflow: orders.yaml\ncases:\n  - name: x\n    mocks:\n      - {step: check_amount, output: {}}\n"
            "      - {step: ship, status: 200}\n      - {step: ship}\n"
            "      - {step: ship, when: {item: 1}, output: 1}\n      - {workflow: ships, step: ship, output: 1}\n"
            "      - {url: 'http://a.b', output: 1}\n      - {step: charge, body: '?', body_encoding: base64}\n"
            "      - {step: charge, when: {json: 1}, status: 200}\n"
            "  - {name: x, expect: {status: refused, outputs: {}}}\n",
            [
                "5:10: cases[0].mocks[0].step: a step of the type condition decides for itself",
                "6:22: cases[0].mocks[1].status: a step of the type sub_workflow gets no answer of HTTP",
                "7:9: cases[0].mocks[2]: this mock answers nothing",
                '8:29: cases[0].mocks[3].when.item: the step "ship" has no items',
                '9:10: cases[0].mocks[4].workflow: no workflow here has the name "ships" (One of: orders.)',
                "10:29: cases[0].mocks[5].output: a request is answered with a body, no output",
                "11:35: cases[0].mocks[6].body_encoding: the body is no base64",
                "12:31: cases[0].mocks[7].when.json: only requests have a body",
                "13:6: cases[1].name: the name is that of cases[0] already",
                "13:24: cases[1].expect.status: what does not start has nothing but an error",
            ],
        ),
        ("workflow: orders.yaml\ncases: []\n", ["2:1: cases: there is no case to run"]),
        ("workflow: orders.yaml\ncases: [{name: x, expect: {outputs: {a: {$any: thing}}}}]\n", ["$any takes one of"]),
        ("workflow: [\n", ["2:1"]),
    ],
)
def test_wrong_file_is_told_with_its_place(
    flowgres: Flowgres, write: Callable[..., Path], text: str, told: list[str]
) -> None:
    write("orders.yaml", cases.ORDERS)
    write("shipping.yaml", cases.SHIPPING)
    write("x.test.yaml", text)
    answer = flowgres("test", ".")
    assert (answer.code, answer.out) == (4, "")
    assert "nothing was run" in answer.err.splitlines()[-1]
    lines = answer.err.splitlines()[:-1]
    assert len(lines) == len(told), answer.err
    for line, part in zip(lines, told, strict=True):
        assert line.startswith("x.test.yaml:")
        assert part in line


def test_broken_workflow_is_told_as_validate_does(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("orders.yaml", cases.ORDERS.replace("type: notify", "type: notfy"))
    write("x.test.yaml", "workflow: orders.yaml\ncases: [{name: x}]\n")
    answer, validated = flowgres("test", "x.test.yaml"), flowgres("validate", "orders.yaml")
    assert (answer.code, validated.code) == (4, 4)
    assert answer.err.splitlines()[:-1] == validated.err.splitlines()[:-1]


def test_usage_is_told(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("nap.yaml", NAP)
    for arguments, part in (
        ((), "name a file of cases"),
        ((".",), "no file of cases in ."),
        (("nowhere",), "nowhere: no such file or directory"),
        ((".", "--workflow", "nap.yaml"), "--workflow goes with --record"),
        ((".", "--record", "3f2504e0-4f89-71d3-9a0c-0305e82c3301"), "--record writes a file"),
        (("--record", "seven"), "'seven' is no execution id"),
    ):
        answer = flowgres("test", *arguments)
        assert (answer.code, answer.out) == (2, ""), arguments
        assert part in answer.err


def test_files_of_cases_are_no_definitions(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("nap.yaml", NAP)
    write("nap.test.yaml", NAPS)
    answer = flowgres("validate", ".")
    assert answer.code == 0, answer.err
    assert "1 file valid" in answer.err
    by_shell = flowgres("validate", "nap.test.yaml", "nap.yaml")
    assert by_shell.code == 0, by_shell.err
    assert "passed over, as there is no workflow in it: nap.test.yaml" in by_shell.err


def test_schema_of_cases_is_printed(flowgres: Flowgres) -> None:
    answer = flowgres("schema", "--tests")
    assert answer.code == 0
    assert answer.json["title"] == "flowgres test"


@pytest.mark.slow
def test_case_that_waits_for_nothing_that_is_due_is_told(
    flowgres: Flowgres, server: Server, write: Callable[..., Path], tmp_path: Path
) -> None:
    code = (
        "from flowgres_runner.steps import StepType, Suspended\n"
        "class Sleeper(StepType):\n"
        "    type = 'sleeper'\n"
        "    def run(self, task):\n"
        "        return Suspended(None)\n"
    )
    with_package = flowgres.with_environment(
        **beside(install_module(tmp_path / "package", "sleepy", code, sleeper="Sleeper"))
    )
    write(
        "asleep.yaml",
        "name: asleep\nsteps:\n  - {id: nap, type: delay, config: {seconds: 60}}\n  - {id: bed, type: sleeper}\n",
    )
    write(
        "asleep.test.yaml", "workflow: asleep.yaml\nrun_types: sleeper\nnow: 2026-03-01T08:00:00Z\ncases: [{name: x}]\n"
    )
    answer = with_package("test", ".", "--database-url", server.superuser_dsn)
    assert answer.code == 1
    assert (
        "asleep.test.yaml:4:9: it cannot go on: nothing that it waits for is due; the execution is waiting: "
        "bed (sleeper) is waiting since 2026-03-01T08:01:00" in answer.out
    )


@pytest.mark.slow
def test_login_that_is_no_superuser_will_do(flowgres: Flowgres, server: Server, write: Callable[..., Path]) -> None:
    write("nap.yaml", NAP)
    write("nap.test.yaml", NAPS)
    dsn = make_conninfo(server.superuser_dsn, user=INSTALLER, password=ROLE_PASSWORD)
    answer = flowgres("test", ".", "-k", "one", "--database-url", dsn)
    assert answer.code == 0, answer.err
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        left = connection.execute("select datname from pg_database where datname like 'flowgres\\_test\\_%'").fetchall()
    assert left == []


def test_server_that_cannot_be_used_is_told(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("nap.yaml", NAP)
    write("nap.test.yaml", NAPS)
    answer = flowgres("test", ".", "--database-url", "postgresql://nobody@127.0.0.1:1/none")
    assert (answer.code, answer.out) == (9, "")
    assert "Traceback" not in answer.err
