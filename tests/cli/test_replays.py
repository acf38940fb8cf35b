"""flowgres executions replay, fork and diff, and flowgres backtest, on a real server."""

from __future__ import annotations

import json

import pytest

from .conftest import Flowgres

TOTALS = """\
name: totals
inputs: {amount: {type: number, default: 5}}
steps:
  - {id: ask, type: delay, config: {seconds: 0.01}}
  - {id: double, type: transform, depends_on: [ask], config: {expression: "{{ input.amount * 2 }}"}}
  - id: large
    type: condition
    depends_on: [double]
    config: {expression: "{{ steps.double.output > 100 }}", true_branch: [review], false_branch: [accept]}
  - {id: review, type: log, depends_on: [large], config: {message: review}}
  - {id: accept, type: log, depends_on: [large], config: {message: accept}}
outputs: {total: "{{ steps.double.output }}"}
"""


@pytest.fixture(scope="module")
def original(live: Flowgres) -> str:
    """An execution that has completed, with the amount 30."""
    (live.folder / "totals.yaml").write_text(TOTALS)
    assert live("import", "totals.yaml").code == 0
    run = live("run", "totals", "-f", "amount=30", "--wait", "-o", "id")
    assert run.code == 0, run.err
    return run.out.strip()


def _replayed(live: Flowgres, *arguments: str) -> str:
    answer = live("executions", *arguments, "--watch", "-o", "id")
    assert answer.code == 0, answer.err
    return answer.out.split()[0]


def test_replay_with_another_field_and_diff(live: Flowgres, original: str) -> None:
    again = _replayed(live, "replay", original, "--reason", "once more")
    same = live("executions", "diff", original, again, "-o", "json")
    assert same.code == 0, same.out
    assert same.json["b"]["replayed_from"] == original

    other = _replayed(live, "replay", original, "-f", "amount=70")
    answer = live("executions", "diff", original, other, "-o", "json")
    assert answer.code == 1
    assert answer.json["input"]["differences"] == [{"path": "$.amount", "a": 30, "b": 70}]
    assert answer.json["output"]["differences"] == [{"path": "$.total", "a": 60, "b": 140}]
    differs = {step["step"]: step["differs"] for step in answer.json["steps"]}
    assert differs == {
        "ask": [], "double": ["output"], "large": ["output", "branch"], "review": ["status"], "accept": ["status"],
    }  # fmt: skip
    table = live("executions", "diff", original, other, "-o", "table").out
    assert "$.total: 60 | 140" in table
    assert "completed (false)" in table


def test_fork_with_an_override(live: Flowgres, original: str) -> None:
    fork = _replayed(live, "fork", original, "large", "--override", "double=500")
    shown = live("executions", "show", fork, "-o", "json").json
    assert shown["output"] == {"total": 500}
    assert {step["step"]: step["status"] for step in shown["steps"]}["review"] == "completed"
    wrong = live("executions", "fork", original, "larg")
    assert wrong.code == 3
    assert 'Did you mean "large"?' in wrong.err
    assert live("executions", "fork", original, "large", "--override", "double").code == 2


def test_diff_of_an_unknown_execution_is_exit_3(live: Flowgres, original: str) -> None:
    assert live("executions", "diff", original, "00000000-0000-7000-8000-000000000000").code == 3


def test_replay_with_a_field_keeps_every_digit_of_the_others(live: Flowgres) -> None:
    (live.folder / "exact.yaml").write_text("name: exact\nsteps: [{id: say, type: log, config: {message: done}}]\n")
    assert live("import", "exact.yaml").code == 0
    data = '{"price": 0.1000000000000000055511151231257827, "large": 12345678901234567890.5, "n": 1}'
    run = live("run", "exact", "-d", data, "-f", "rate:=1.00000000000000000001", "--wait", "-o", "id")
    assert run.code == 0, run.err
    other = _replayed(live, "replay", run.out.strip(), "-f", "n:=2")
    # Compared by the database: read here, they would be alike anyhow.
    answer = live("executions", "diff", run.out.strip(), other, "-o", "json")
    assert answer.json["input"]["differences"] == [{"path": "$.n", "a": 1, "b": 2}]


def _repaired(live: Flowgres) -> str:
    """An execution of the same workflow, of which somebody skipped a step that waited."""
    (live.folder / "slow.yaml").write_text(TOTALS.replace("seconds: 0.01", "seconds: 600"))
    assert live("import", "slow.yaml").code == 0
    run = live("run", "totals", "-f", "amount=30", "--detach", "-o", "id")
    id = run.out.strip()
    assert live("steps", "skip", id, "ask").code == 0
    live("executions", "watch", id)
    (live.folder / "totals.yaml").write_text(TOTALS)
    assert live("import", "totals.yaml").code == 0
    return id


def test_backtest_tells_what_another_version_would_do(live: Flowgres, original: str) -> None:
    fork = _replayed(live, "fork", original, "large", "--override", "double=500")
    repaired = _repaired(live)
    same = live("backtest", "totals", "-o", "json")
    assert same.code == 0, same.err + same.out
    verdicts = {row["execution_id"]: row["verdict"] for row in same.json}
    assert verdicts[original] == "same"
    # A fork has outputs that nothing computes, and of a repaired one somebody said what came of it.
    assert (verdicts[fork], verdicts[repaired]) == ("unknown", "unknown")
    (row,) = [row for row in same.json if row["execution_id"] == repaired]
    assert "repaired" in row["reasons"][0]
    (live.folder / "other.yaml").write_text(TOTALS.replace("totals", "others"))
    assert live("backtest", "totals", "--file", "other.yaml").code == 2

    draft = live.folder / "draft.yaml"
    draft.write_text(TOTALS.replace("amount * 2", "amount * 4"))
    differs = live("backtest", "totals", "--file", "draft.yaml", "-o", "json")
    assert differs.code == 1, differs.err
    (row,) = [row for row in differs.json if row["execution_id"] == original]
    assert row["verdict"] == "differs"
    told = {one["what"]: (one["recorded"], one["now"]) for one in row["differences"]}
    assert any("total" in what and (json.loads(old), json.loads(new)) == (60, 120) for what, (old, new) in told.items())
    assert any("large" in what and values == ("false", "true") for what, values in told.items())

    draft.write_text(TOTALS.replace("type: log, depends_on: [large], config: {message: accept}",
        'type: http, depends_on: [large], config: {url: "https://example.com"}'))  # fmt: skip
    unknown = live("backtest", "totals", "--file", "draft.yaml", "-o", "json")
    (row,) = [row for row in unknown.json if row["execution_id"] == original]
    assert row["verdict"] == "unknown"
    assert "accept" in row["reasons"][0]


def test_backtest_of_nothing_says_so(live: Flowgres) -> None:
    assert live("backtest", "totals", "--version", "99").code == 3
    assert live("backtest", "totals", "--since", "2999-01-01").code == 2
    assert live("backtest", "totals", "--version", "1", "--file", "x.yaml").code == 2
