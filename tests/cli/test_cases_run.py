"""`flowgres test`: cases on the real engine, with mocked answers and a virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server

from . import cases
from .conftest import Answer, Flowgres

FILES = {
    "orders.yaml": cases.ORDERS,
    "shipping.yaml": cases.SHIPPING,
    "each.yaml": cases.EACH,
    "way.yaml": cases.WAY,
    "mark.yaml": cases.MARK,
    "bounded.yaml": cases.BOUNDED,
    "limited.yaml": cases.LIMITED,
    "passing/orders.test.yaml": cases.ORDER_CASES.replace(": orders.yaml", ": ../orders.yaml").replace(
        ": shipping.yaml", ": ../shipping.yaml"
    ),
    "passing/deeper/each.test.yaml": cases.EACH_CASES.replace(": each.yaml", ": ../../each.yaml"),
    "passing/way.test.yaml": cases.WAY_CASES.replace(": way.yaml", ": ../way.yaml"),
    "passing/mark.test.yaml": cases.MARK_CASES.replace(": mark.yaml", ": ../mark.yaml"),
    "passing/bounded.test.yaml": cases.BOUNDED_CASES.replace(": bounded.yaml", ": ../bounded.yaml"),
    "passing/limited.test.yaml": cases.LIMITED_CASES.replace(": limited.yaml", ": ../limited.yaml"),
    "failing.test.yaml": cases.FAILING_CASES,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def passing(folder: Path) -> Answer:
    """All that pass, in one run on a PostgreSQL of its own."""
    return Flowgres(folder)("test", "passing", "--format", "json")


@pytest.fixture(scope="module")
def failing(folder: Path, server: Server) -> Answer:
    """All that fail, in a database of their own on a server that was named."""
    return Flowgres(folder)("test", "failing.test.yaml", "--database-url", server.superuser_dsn)


def test_all_cases_pass(passing: Answer) -> None:
    assert passing.code == 0, passing.out
    assert [case["failures"] for case in passing.json["cases"] if not case["passed"]] == []
    assert passing.json["passed"] == sum(text.count("- name: ") for name, text in FILES.items() if "passing" in name)


@pytest.mark.slow
def test_a_hundred_cases_are_run_at_once(folder: Path) -> None:
    head = cases.ORDER_CASES.partition("cases:\n")[0]
    case = "  - {{name: case {0}, input: {{amount: {0}}}, expect: {{outputs: {{shipment: 1Z, said: null}}}}}}\n"
    text = f"{head}cases:\n{''.join(case.format(number) for number in range(51, 151))}"
    (folder / "hundred.test.yaml").write_text(text)
    answer = Flowgres(folder)("test", "hundred.test.yaml", "--format", "json")
    assert (answer.code, answer.json["passed"], answer.json["failed"]) == (0, 100, 0)


def test_days_of_the_virtual_clock_take_no_time(passing: Answer) -> None:
    waited: dict[str, Any] = next(case for case in passing.json["cases"] if "thirty days" in case["name"])
    assert waited["virtual_seconds"] == 30 * 86_400
    assert waited["seconds"] < 60


def test_request_without_a_mock_is_told(failing: Answer) -> None:
    assert failing.code == 1
    told = failing.out.split("FAILED ")
    nothing = next(part for part in told if part.startswith("failing.test.yaml: nothing answers"))
    assert "failing.test.yaml:7:5: no mock answers GET https://carrier.example/book/5 of book" in nothing
    # It failed as it was expected to, and that is no excuse.
    assert "expected" not in nothing


def test_differences_are_told_by_path_and_place(failing: Answer) -> None:
    told = next(part for part in failing.out.split("FAILED ") if "differences" in part)
    lines = [line.strip() for line in told.splitlines()[1:] if line.startswith("  ")]
    found = list(zip(lines[::3], lines[1::3], lines[2::3], strict=True))
    assert found == [
        ("failing.test.yaml:15:7: status", "expected  failed", "got       completed"),
        ("failing.test.yaml:16:17: outputs.shipment", 'expected  "2Z"', 'got       "1Z"'),
        ("failing.test.yaml:16:31: outputs.more", "expected  1", "got       nothing"),
        ("failing.test.yaml:16:7: outputs.said", "expected  nothing", 'got       "***"'),
        ("failing.test.yaml:18:9: steps.small", "expected  skipped", "got       completed"),
        ("failing.test.yaml:19:16: steps.ship.attempts", "expected  2", "got       1"),
        ("failing.test.yaml:20:18: branches.check_amount", "expected  true", "got       false"),
        ("failing.test.yaml:23:26: requests[0].method", 'expected  "GET"', 'got       "POST"'),
        ("failing.test.yaml:23:46: requests[0].json.amount", "expected  6", "got       5"),
        (
            "failing.test.yaml:23:68: requests[0].headers.authorization",
            'expected  "Bearer none"',
            'got       "Bearer ***"',
        ),
        ("failing.test.yaml:24:11: requests[1]", 'expected  {"step": "ship"}', "got       no more requests"),
        ("failing.test.yaml:21:7: duration", "expected  1h", "got       0s"),
    ]


def test_secrets_are_in_no_report(failing: Answer) -> None:
    assert "***" in failing.out
    assert "secret_1" not in failing.out
    assert "secret_2" not in failing.out


def test_mock_of_a_case_that_nobody_asked_is_noted(failing: Answer) -> None:
    assert [line.strip() for line in failing.out.splitlines() if "  note  " in line] == [
        "note  failing.test.yaml:29:51: nobody asked this mock"
    ]


def test_sum_and_exit_code_tell_of_failures(failing: Answer) -> None:
    assert failing.out.splitlines()[-1].startswith("0 passed, 3 failed in ")
    assert "error: 3 of 3 cases failed" in failing.err
    assert "\x1b" not in failing.out
