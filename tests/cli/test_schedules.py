"""Schedules at the command line, against the real server and a real runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .conftest import Flowgres
from .texts import GREET

CRON = "triggers: [{type: cron, cron: '0 6 * * 1-5', timezone: Europe/Berlin, input: {name: Ann}}]\n"


def test_schedule_is_listed_previewed_paused_triggered_and_backfilled(
    live: Flowgres, write: Callable[..., Path]
) -> None:
    imported = live("import", str(write("early.yaml", CRON + GREET.replace("name: greet", "name: early"))))
    assert imported.code == 0, imported.err
    (row,) = live("schedules", "list", "--workflow", "early").json
    assert (row["status"], row["in_words"]) == ("active", "at 06:00 on Monday to Friday, Europe/Berlin")
    table = live("schedules", "list", "-o", "table")
    assert "at 06:00 on Monday to Friday" in table.out

    preview = live("schedules", "preview", "early", "-o", "table")
    assert len([line for line in preview.out.splitlines() if " 06:00:00 " in line]) == 10
    free = live("schedules", "preview", "--cron", "@hourly", "--count", "3").json
    assert len(free["slots"]) == 3

    assert live("schedules", "pause", "early").json["status"] == "paused"
    assert live("schedules", "list", "--status", "paused", "-o", "id").out.split() == [row["id"]]
    assert live("schedules", "resume", row["id"]).json["status"] == "active"

    execution = live("schedules", "trigger", "early", "-o", "id").out.strip()
    assert live("executions", "watch", execution).code == 0
    past = ("--since", "2026-01-05", "--until", "2026-01-11T00:00:00Z")
    assert live("schedules", "backfill", "early", *past).json["started"] == 5
    assert live("schedules", "backfill", "early", *past).json["passed_over"] == 5


def test_mistakes_at_a_schedule_have_their_exit_codes(live: Flowgres, write: Callable[..., Path]) -> None:
    missing = live("schedules", "pause", "nobody")
    assert (missing.code, "flowgres schedules list" in missing.err) == (3, True)
    assert live("schedules", "preview").code == 2
    assert live("schedules", "preview", "greet", "--timezone", "UTC").code == 2
    assert live("schedules", "preview", "--cron", "0 0 31 2 *").code == 2
    twice = CRON.replace("[", "[{type: cron, cron: '@daily', input: {name: Ann}}, ", 1)
    live("import", str(write("twice.yaml", twice + GREET.replace("name: greet", "name: twice"))))
    ambiguous = live("schedules", "trigger", "twice")
    assert (ambiguous.code, "--workflow twice" in ambiguous.err) == (6, True)
    assert live("schedules", "backfill", "twice", "--since", "soon", "--until", "later").code == 2
